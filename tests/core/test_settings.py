"""Settings and policy: written by `restante init`, refused with file, line, field and remedy when they are wrong."""

from __future__ import annotations

import base64
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from restante.credentials import BadCredential, Credential, read_credential
from restante.init import Answers, CannotInit, initialise
from restante.policy import Policy, load_policy
from restante.settings import Settings, load_settings
from restante.toml_source import BadFile
from restante.vault import DataKey, Opener, Sealer

ANSWERS = Answers(
    hostname="mta.site.example",
    organisation='A "quoted" name',
    portal_url="http://localhost:8123",
    notice_sender="restante@site.example",
    database="sqlite:////var/lib/restante/restante.db",
    internal_domains=("site.example", "bücher.example"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    initialise(tmp_path, ANSWERS)
    return tmp_path


def test_init_writes_what_a_service_reads(folder: Path) -> None:
    settings = load_settings(folder / "restante.toml")
    assert (settings.hostname, settings.organisation) == (ANSWERS.hostname, ANSWERS.organisation)
    assert settings.portal.url == ANSWERS.portal_url
    assert settings.internal_domains == ("site.example", "xn--bcher-kva.example")
    assert settings.credentials == folder / "credentials"
    assert settings.policy == folder / "policy.toml"


def test_init_is_for_the_owner_alone(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 2 + len(Credential)
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in files} == {
        path.name: "0o600" for path in files
    }
    assert stat.S_IMODE((folder / "credentials").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("credential", "public"),
    [(Credential.VAULT, "public_key"), (Credential.WORKER, "worker_public_key")],
)
def test_what_is_sealed_to_the_settings_opens_with_the_key_beside_them(
    folder: Path, credential: Credential, public: str
) -> None:
    settings = load_settings(folder / "restante.toml")
    key = DataKey.fresh("blob")
    wrapped = Sealer("v1", base64.b64decode(getattr(settings.vault, public))).wrap(key)
    opened = Opener(read_credential(settings.credentials, credential)).unwrap("blob", wrapped)
    assert opened == key


def test_each_installation_has_keys_of_its_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        initialise(tmp_path / name, ANSWERS)
    keys = [read_credential(tmp_path / name / "credentials", one) for name in ("a", "b") for one in Credential]
    assert len(set(keys)) == 2 * len(Credential)


def test_the_written_policy_is_the_built_in_one(folder: Path) -> None:
    assert load_policy(folder / "policy.toml").model_dump() == Policy.default().model_dump()


def test_further_settings_are_toml_values_or_plain_text(tmp_path: Path) -> None:
    extra = (
        ("milter.socket", "/tmp/x.sock"),
        ("milter.processes", "3"),
        ("tls.nameservers", '["192.0.2.53@5353"]'),
        ("worker.poll_seconds", "0.2"),
        ("log_level", "debug"),
    )
    settings = initialise(tmp_path, replace(ANSWERS, extra=extra))
    assert settings.milter.socket == Path("/tmp/x.sock")
    assert settings.milter.processes == 3
    assert settings.tls.nameservers == ("192.0.2.53@5353",)
    assert settings.worker.poll_seconds == 0.2
    assert settings.log_level == "debug"


def test_nothing_is_replaced(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(CannotInit, match="exists already"):
        initialise(folder, ANSWERS)
    (folder / "restante.toml").rename(folder / "moved.toml")
    with pytest.raises(CannotInit, match="could never be opened again"):
        initialise(folder, ANSWERS)
    (folder / "moved.toml").rename(folder / "restante.toml")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("url", "extra", "expected"),
    [
        ("https://pickup.site.example", (), 1),
        ("https://pickup.site.example", (("portal.listen", "[::1]:8080"),), 1),
        ("https://pickup.site.example", (("portal.listen", '"0.0.0.0:8080"'),), 0),
        ("https://pickup.site.example", (("portal.trusted_proxies", "2"),), 2),
        ("http://localhost:8080", (), 0),
    ],
)
def test_a_proxy_is_believed_where_there_must_be_one(
    tmp_path: Path, url: str, extra: tuple[tuple[str, str], ...], expected: int
) -> None:
    settings = initialise(tmp_path, replace(ANSWERS, portal_url=url, extra=extra))
    assert settings.portal.trusted_proxies == expected


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (replace(ANSWERS, hostname="localhost"), "full name"),
        (replace(ANSWERS, hostname="mail.example.org"), "full name"),
        (replace(ANSWERS, portal_url="https://pickup.example.org"), "still the example"),
        (replace(ANSWERS, portal_url="http://pickup.site.example"), "https://"),
        (replace(ANSWERS, notice_sender="nobody"), "notice.sender"),
        (replace(ANSWERS, database="mysql://x"), "database"),
        (replace(ANSWERS, extra=(("milter.sockets", "/x"),)), "milter.sockets"),
        (replace(ANSWERS, extra=(("milter.processes", "many"),)), "milter.processes"),
        (replace(ANSWERS, extra=(("hostname.x", "1"),)), "not a section"),
        (replace(ANSWERS, extra=(("milter.", "1"),)), "section.key=value"),
    ],
)
def test_bad_answers_leave_nothing_that_a_service_would_start_on(tmp_path: Path, answers: Answers, said: str) -> None:
    with pytest.raises(CannotInit, match=said):
        initialise(tmp_path, answers)
    assert not (tmp_path / "restante.toml").exists()
    assert not any((tmp_path / "credentials" / name).exists() for name in Credential)
    # And the next try, with better answers, is not in its own way.
    initialise(tmp_path, ANSWERS)


def _replace(old: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return edit


BAD_SETTINGS: dict[str, tuple[Callable[[str], str], str, str]] = {
    "unknown key": (
        _replace("processes =", "proceses ="),
        "milter.proceses",
        "Remove the key, or correct its spelling",
    ),
    "unknown section": (_replace("[milter]", "[miltr]"), "miltr", "Remove the key, or correct its spelling"),
    "missing key": (_replace("hostname =", "#hostname ="), "hostname", "Add the key"),
    "wrong type": (_replace("processes = 2", 'processes = "two"'), "milter.processes", "Correct the value"),
    "out of range": (_replace("processes = 2", "processes = 0"), "milter.processes", "Correct the value"),
    "intake for everyone": (_replace("127.0.0.1:10025", "0.0.0.0:10025"), "worker.intake", "Correct the value"),
    "no port": (_replace("127.0.0.1:10025", "127.0.0.1"), "worker.intake", "Correct the value"),
    "example host": (_replace("mta.site.example", "mail.example.org"), "hostname", "Correct the value"),
    "not TOML": (_replace("[portal]", "[portal"), "syntax", "TOML"),
}


@pytest.mark.behaviour("D6")
@pytest.mark.parametrize("mistake", BAD_SETTINGS)
def test_bad_settings_are_refused_with_line_field_and_remedy(folder: Path, mistake: str) -> None:
    edit, field, remedy = BAD_SETTINGS[mistake]
    path = folder / "restante.toml"
    before = path.read_text()
    path.write_text(edit(before))
    with pytest.raises(BadFile) as caught:
        load_settings(path)
    error = caught.value
    assert (error.path, error.field) == (path, field)
    assert remedy in str(error)
    changed = [
        n
        for n, pair in enumerate(zip(before.splitlines(), path.read_text().splitlines(), strict=True), 1)
        if pair[0] != pair[1]
    ]
    # A key that is missing has no line of its own; anything else is named where it stands.
    assert error.line == (1 if mistake == "missing key" else changed[0])


@pytest.mark.parametrize("public", ["public_key", "worker_public_key"])
def test_a_default_key_is_refused(folder: Path, public: str) -> None:
    path = folder / "restante.toml"
    settings = load_settings(path)
    path.write_text(path.read_text().replace(getattr(settings.vault, public), "A" * 43 + "="))
    with pytest.raises(BadFile, match="not a fresh key"):
        load_settings(path)


def test_a_mistake_never_shows_the_value(folder: Path) -> None:
    path = folder / "restante.toml"
    path.write_text(path.read_text().replace("sqlite:////var", "mysql://user:hunter2@host/var"))
    with pytest.raises(BadFile) as caught:
        load_settings(path)
    assert "hunter2" not in str(caught.value)


def test_settings_are_frozen(folder: Path) -> None:
    settings: Settings = load_settings(folder / "restante.toml")
    with pytest.raises(ValueError, match="frozen"):
        settings.milter.processes = 9  # type: ignore[misc]


@pytest.mark.behaviour("D6")
@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ('[[rule]]\nname = "a"\naction = "protekt"\nwhen = [{ detectors = ["iban"] }]\n', 3, "rule.0.action"),
        ('[[rule]]\nname = "a"\nwhen = []\n', 3, "rule.0.when"),
        (
            '[[rule]]\nname = "a"\nwhen = [{ detectors = ["iban"], confidence = "sure" }]\n',
            3,
            "rule.0.when.0.confidence",
        ),
        ('\n[[domain]]\nname = "a.example"\n[[domain]]\nname = "b.example"\nmode = "sometimes"\n', 6, "domain.1.mode"),
        ('[[lexicon]]\nname = "Big"\nwords = ["word"]\n', 2, "lexicon.0.name"),
    ],
)
def test_a_bad_policy_is_refused_with_line_and_field(tmp_path: Path, text: str, line: int, field: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(BadFile) as caught:
        load_policy(path)
    assert (caught.value.line, caught.value.field) == (line, field)


@pytest.mark.behaviour("N1")
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.chmod(0o644), "others can read"),
        (lambda path: path.write_bytes(b"short"), "not a fresh key|not a base64 key"),
        (lambda path: path.write_bytes(b"A" * 43 + b"="), "not a fresh key"),
        (lambda path: path.write_bytes(b"\xff\x00"), "not a base64 key"),
    ],
)
def test_a_key_that_is_missing_exposed_or_a_default_is_refused(
    folder: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(folder / "credentials" / Credential.VAULT)
    with pytest.raises(BadCredential, match=said):
        read_credential(folder / "credentials", Credential.VAULT)


def test_a_key_that_systemd_grants_comes_first(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    granted = tmp_path / "granted"
    initialise(granted, ANSWERS)
    expected = read_credential(granted / "credentials", Credential.ROUTE)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(granted / "credentials"))
    assert read_credential(folder / "credentials", Credential.ROUTE) == expected
