"""The command line: lazy, one line for what an operator can mend, and the forms that scripts rely on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from restante.cli import cli
from restante.commands.evidence import Memory, ReadOnly
from restante.init import Answers, initialise
from restante.store.engine import Store
from restante.store.evidence import StoredEvidence
from restante.store.schema import require_current
from restante.tls.evidence import Evidence, Level

COMMANDS = (
    "admin",
    "db",
    "delivered",
    "dictionary",
    "doctor",
    "domain",
    "enrolled",
    "explain",
    "init",
    "milter",
    "phrase",
    "policy",
    "portal",
    "postfix",
    "replay",
    "ring",
    "sendmail",
    "worker",
)
RESTANTE = Path(sys.executable).with_name("restante")
NOW = 4_000_000_000.0
SENSITIVE = (
    b"From: Anna <anna@site.example>\r\nTo: bob@there.example\r\nSubject: [secure] invoice\r\n\r\n"
    b"Card 4111 1111 1111 1111\r\n"
)


@pytest.fixture
def settings_path(tmp_path: Path) -> Path:
    initialise(
        tmp_path,
        Answers(
            hostname="mta.site.example",
            organisation="Site",
            portal_url="https://pickup.site.example",
            notice_sender="restante@site.example",
            database=f"sqlite:///{tmp_path}/restante.db",
            internal_domains=("site.example",),
        ),
    )
    return tmp_path / "restante.toml"


def restante(settings_path: Path, *arguments: str, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli, ["--settings", str(settings_path), *arguments], input=given, catch_exceptions=False)


def test_every_command_is_there() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    assert ", ".join(COMMANDS) in " ".join(result.output.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, tmp_path: Path) -> None:
    result = restante(tmp_path / "none.toml", command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_an_unknown_command_is_refused() -> None:
    assert CliRunner().invoke(cli, ["deliver"]).exit_code == 2


@pytest.mark.parametrize("command", ["explain", "doctor", "postfix", "sendmail"])
def test_a_core_command_loads_neither_pymilter_nor_flask(command: str) -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom restante.cli import cli\n"
        f"assert CliRunner().invoke(cli, [{command!r}, '--help']).exit_code == 0\n"
        "print(*sorted(sys.modules.keys() & {'Milter', 'flask', 'aiosmtpd', 'gunicorn'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


def test_no_service_loads_what_changes_schemas() -> None:
    modules = "restante_milter.command, restante_milter.server, restante_milter.worker, restante_portal.command"
    code = f"import sys, {modules}; print(*sorted(sys.modules.keys() & {{'alembic', 'mako'}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


def test_what_an_operator_can_mend_is_one_line(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    done = subprocess.run(
        [RESTANTE, "--settings", missing, "postfix"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"restante: {missing}:1: file: does not exist. Run: restante init, or name the file with --settings"
    ]


def test_the_settings_file_may_be_named_by_the_environment(settings_path: Path) -> None:
    done = subprocess.run(
        [RESTANTE, "db", "upgrade"],
        env={"RESTANTE_SETTINGS": str(settings_path), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "up to date" in done.stdout
    require_current(f"sqlite:///{settings_path.parent}/restante.db")


def test_the_database_is_not_for_everyone(settings_path: Path) -> None:
    restante(settings_path, "db", "upgrade")
    restante(settings_path, "db", "upgrade")
    assert (settings_path.parent / "restante.db").stat().st_mode & 0o777 == 0o660


def test_init_through_the_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    arguments = ["init", "--directory", str(folder), "--hostname", "mta.site.example", "--set", "milter.processes=5"]
    assert restante(tmp_path / "none.toml", *arguments).exit_code == 0
    text = (folder / "restante.toml").read_text()
    assert 'url = "https://mta.site.example"' in text
    assert 'sender = "restante@site.example"' in text
    assert "processes = 5" in text
    assert restante(tmp_path / "none.toml", "init", "--set", "nonsense").exit_code == 2


@pytest.mark.parametrize(
    ("options", "given", "said"),
    [((), None, "Password: "), (("--password-stdin",), "a long password\n", "Added anna")],
)
def test_an_administrator_is_added_once(
    settings_path: Path, options: tuple[str, ...], given: str | None, said: str
) -> None:
    restante(settings_path, "db", "upgrade")
    result = restante(settings_path, "admin", "add", "anna", *options, given=given)
    assert result.exit_code == 0
    assert said in result.output
    assert "a long password" not in result.output
    again = subprocess.run(
        [RESTANTE, "--settings", settings_path, "admin", "add", "anna"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (again.returncode, again.stderr) == (1, "restante: there is an administrator anna already\n")


def _remember(settings_path: Path, level: Level) -> None:
    restante(settings_path, "db", "upgrade")
    store = Store(f"sqlite:///{settings_path.parent}/restante.db")
    try:
        evidence = Evidence("there.example", level, "seen before", NOW - 10, NOW + 10, NOW + 20, 2)
        StoredEvidence(store).put(evidence)
    finally:
        store.close()


@pytest.mark.behaviour("C6")
@pytest.mark.parametrize(("level", "route"), [(Level.PKIX, "tls"), (Level.NONE, "portal"), (Level.UNKNOWN, "tls")])
def test_explain_decides_by_stored_evidence(settings_path: Path, level: Level, route: str) -> None:
    _remember(settings_path, level)
    arguments = ["explain", "-", "--sender", "anna@site.example", "--recipient", "bob@there.example"]
    arguments += ["--recipient", "carl@site.example", "--json", "--no-network"]
    result = restante(settings_path, *arguments, given=SENSITIVE)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert [(one["address"], one["route"], one["rule"]) for one in found["recipients"]] == [
        ("bob@there.example", route, "default"),
        ("carl@site.example", "relay", "default"),
    ]
    assert found["recipients"][0]["reason"] == "seen before"
    assert found["recipients"][0]["evidence"]["level"] == level
    assert {one["detector"] for one in found["findings"]} == {"trigger-subject", "payment-card"}
    assert "4111 1111" not in result.stdout
    assert {"detector", "place", "match", "confidence", "reason", "readings"} == set(found["findings"][0])


@pytest.mark.behaviour("C6")
def test_explain_without_settings_uses_the_built_in_policy(tmp_path: Path) -> None:
    message = tmp_path / "message.eml"
    message.write_bytes(SENSITIVE.replace(b"[secure] ", b"").replace(b"4111", b"4112"))
    arguments = ["explain", str(message), "--sender", "", "--recipient", "bob@there.example", "--no-network"]
    result = restante(tmp_path / "none.toml", *arguments)
    assert result.exit_code == 0
    assert "bob@there.example -> relay (rule none): no rule matched" in result.stdout


@pytest.mark.behaviour("C6")
def test_explain_can_try_another_policy(settings_path: Path) -> None:
    policy = settings_path.parent / "other.toml"
    policy.write_text('[[rule]]\nname = "stop"\naction = "reject"\nwhen = [{ detectors = ["payment-card"] }]\n')
    arguments = ["explain", "-", "--sender", "a@site.example", "--recipient", "b@there.example", "--no-network"]
    result = restante(settings_path, *arguments, "--policy", str(policy), given=SENSITIVE)
    assert "b@there.example -> reject (rule stop)" in result.stdout


@pytest.mark.behaviour("C6")
def test_explain_asks_nobody_and_writes_nothing(settings_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _remember(settings_path, Level.PKIX)
    policy = settings_path.parent / "cards.toml"
    policy.write_text('[[rule]]\nname = "cards"\nwhen = [{ detectors = ["payment-card"] }]\n')
    database = settings_path.parent / "restante.db"
    before = {path: path.read_bytes() for path in settings_path.parent.glob("*") if path.is_file()}

    def no_network(*_arguments: object) -> None:
        raise AssertionError("the network was asked")

    for name in ("connect", "sendto", "connect_ex"):
        monkeypatch.setattr(f"socket.socket.{name}", no_network)
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    elsewhere = SENSITIVE.replace(b"there.example", b"elsewhere.example")
    result = restante(settings_path, "explain", "-", "--no-network", "--policy", str(policy), given=elsewhere)
    assert result.exit_code == 0
    assert "bob@elsewhere.example -> tls (rule cards): nothing is known of the domain yet" in result.stdout
    assert "[payment-card: **** **** **** 1111]" in result.stdout
    assert database in before
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.behaviour("C6")
def test_what_a_probe_of_explain_learns_is_not_kept() -> None:
    known = Memory()
    cache = ReadOnly(known)
    seen = Evidence("there.example", Level.PKIX, "seen now", NOW, NOW, NOW)
    cache.put(seen)
    assert (cache.get("there.example"), known.get("there.example")) == (seen, None)


def test_explain_refuses_what_is_no_address(settings_path: Path) -> None:
    result = restante(settings_path, "explain", "-", "--sender", "a@b", "--recipient", "x\x01@y", given=SENSITIVE)
    assert result.exit_code == 2


def test_domain_shows_what_is_stored(settings_path: Path) -> None:
    _remember(settings_path, Level.NONE)
    result = restante(settings_path, "domain", "There.Example", "--json", "--no-network")
    assert Evidence.from_dict(json.loads(result.stdout)).level is Level.NONE
    assert "seen before" in restante(settings_path, "domain", "there.example", "--no-network").stdout
    unknown = restante(settings_path, "domain", "elsewhere.example", "--json", "--no-network")
    assert Evidence.from_dict(json.loads(unknown.stdout)).level is Level.UNKNOWN


def test_a_look_does_not_make_the_database(settings_path: Path) -> None:
    restante(settings_path, "domain", "there.example", "--no-network")
    assert not (settings_path.parent / "restante.db").exists()


def test_secrets_are_not_logged() -> None:
    code = (
        "import logging, structlog\nfrom restante.log import configure\nconfigure('info')\n"
        "structlog.get_logger('a').info('said', code='7KQM-3XRT', token='hunter2', domain='there.example')\n"
        "logging.getLogger('b').warning('library', extra={'password': 'hunter3'})\n"
        "structlog.get_logger('a').debug('quiet')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    records = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(record["event"], record["logger"], record["level"]) for record in records] == [
        ("said", "a", "info"),
        ("library", "b", "warning"),
    ]
    assert records[0]["domain"] == "there.example"
    for secret in ("7KQM", "hunter2", "hunter3"):
        assert secret not in done.stderr
