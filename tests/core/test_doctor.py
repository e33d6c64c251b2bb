"""The wiring that is printed is accepted by a real Postfix, and the doctor names each way to spoil it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from restante.cli import cli
from restante.credentials import Credential
from restante.doctor import check
from restante.init import Answers, initialise
from restante.postconf import Postconf
from restante.postfix import Site, milters, render, site_of
from restante.settings import Settings, load_settings
from restante.store import epochs, migrate
from restante.store.engine import Store
from restante.store.ring import KeyRing
from restante.tls import netstring
from tests.migrated import upgrade
from tests.portal.clamd import FakeClamd


@dataclass(frozen=True)
class Installation:
    """Restante and a Postfix configuration, both in a folder of the test's own; nothing of it runs."""

    folder: Path

    @property
    def settings_path(self) -> Path:
        return self.folder / "restante.toml"

    @property
    def postfix(self) -> Path:
        return self.folder / "postfix"

    @property
    def settings(self) -> Settings:
        return load_settings(self.settings_path)

    def postconf(self, *arguments: str) -> None:
        subprocess.run(["postconf", "-c", self.postfix, *arguments], check=True, timeout=30)
        self.settle()

    def settle(self) -> None:
        """Make the files look old: Postfix waits two seconds before it reads one that has just changed."""
        for path in self.postfix.iterdir():
            os.utime(path, (1, 1))

    def names(self) -> set[str]:
        self.settle()
        return {finding.name for finding in check(self.settings_path, self.postfix)}


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    found = Installation(tmp_path)
    queue = tmp_path / "queue"
    (queue / "restante").mkdir(parents=True)
    initialise(
        tmp_path,
        Answers(
            hostname="mta.site.example",
            organisation="Site",
            portal_url="https://pickup.site.example",
            notice_sender="restante@site.example",
            database=f"sqlite:///{tmp_path}/restante.db",
            internal_domains=("site.example",),
            extra=(
                ("milter.socket", str(queue / "restante/m")),
                ("worker.socketmap", str(queue / "restante/w")),
                ("worker.intake", f"127.0.0.1:{_free_port()}"),
                ("tls.trust_ad", "no"),
            ),
        ),
    )
    upgrade(found.settings.database)
    KeyRing.create(found.settings.ring_path)
    _configure_postfix(found, queue)
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _configure_postfix(found: Installation, queue: Path) -> None:
    found.postfix.mkdir()
    shutil.copy("/usr/share/postfix/master.cf.dist", found.postfix / "master.cf")
    shutil.copy("/etc/postfix/dynamicmaps.cf", found.postfix)
    shutil.copytree("/etc/postfix/dynamicmaps.cf.d", found.postfix / "dynamicmaps.cf.d")
    data = found.folder / "data"
    data.mkdir()
    shutil.chown(data, "postfix")
    (found.postfix / "main.cf").write_text(
        f"compatibility_level = 3.6\nmyhostname = mta.site.example\nqueue_directory = {queue}\n"
        f"data_directory = {data}\nmeta_directory = {found.postfix}\n"
    )
    found.settle()
    wiring = render(found.settings, site_of(Postconf(found.postfix), found.settings))
    with (found.postfix / "main.cf").open("a") as main:
        main.write(wiring.main_cf_text)
    with (found.postfix / "master.cf").open("a") as master:
        master.write(wiring.master_cf)
    for path, text in wiring.files.items():
        path.write_text(text)
    found.postconf("-P", *(f"{option}={value}" for option, value in wiring.master_options.items()))


@pytest.fixture
def running(installation: Installation) -> Iterator[Installation]:
    """The same, with somebody answering where milter, worker and intake should."""
    settings = installation.settings
    with (
        _listening(str(settings.milter.socket)),
        _listening(str(settings.worker.socketmap), b"OK none"),
        _listening(settings.worker.intake),
    ):
        yield installation


@contextmanager
def _listening(address: str | tuple[str, int], answer: bytes | None = None) -> Iterator[None]:
    server = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    server.bind(address)
    server.listen()
    thread = threading.Thread(target=_serve, args=(server, answer))
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        server.close()


def _serve(server: socket.socket, answer: bytes | None) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            if answer is not None:
                connection.recv(4096)
                connection.sendall(netstring.encode(answer))


@pytest.mark.behaviour("N5")
def test_the_printed_wiring_has_no_mistake(running: Installation) -> None:
    assert [str(finding) for finding in check(running.settings_path, running.postfix)] == []


def test_a_real_postfix_accepts_the_wiring(installation: Installation) -> None:
    def warnings(*command: str | Path) -> list[str]:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return [line for line in (done.stdout + done.stderr).splitlines() if "warning" in line or "fatal" in line]

    # postconf names every parameter that this Postfix does not know.
    assert warnings("postconf", "-c", installation.postfix, "-n") == []
    assert warnings("postconf", "-c", installation.postfix, "-M") == []
    services = {(one.name, one.kind) for one in Postconf(installation.postfix).services}
    assert {
        ("restante-tls", "unix"),
        ("restante-auth", "unix"),
        ("restante-cleanup", "unix"),
        ("127.0.0.1:10026", "inet"),
        ("127.0.0.1:10027", "inet"),
        ("127.0.0.1:10028", "inet"),
    } <= services


@pytest.mark.parametrize(
    ("header", "answer"),
    [
        ("X-Restante-Route: tls level=encrypted otherwise=portal", "FILTER restante-tls:"),
        ("X-Restante-Route: tls level=authenticated otherwise=portal", "FILTER restante-auth:"),
        ("X-Restante-Route: something newer", "FILTER restante-auth:"),
        ("Subject: X-Restante-Route: tls level=encrypted", None),
    ],
)
def test_header_checks_pick_the_transport(installation: Installation, header: str, answer: str | None) -> None:
    table = f"pcre:{installation.postfix}/restante_header_checks"
    assert Postconf(installation.postfix).lookup(table, header) == answer


def _main(*settings: str) -> Callable[[Installation], None]:
    return lambda found: found.postconf("-e", *settings)


def _service(path: str, value: str) -> Callable[[Installation], None]:
    return lambda found: found.postconf("-P", f"{path}={value}")


def _without(service: str) -> Callable[[Installation], None]:
    return lambda found: found.postconf("-MX", service)


def _chroot(found: Installation) -> None:
    found.postconf("-F", "smtp/inet/chroot=y")


def _socket_elsewhere(found: Installation) -> None:
    text = found.settings_path.read_text()
    elsewhere = found.folder / "m"
    found.settings_path.write_text(text.replace(str(found.settings.milter.socket), str(elsewhere)))
    found.postconf("-e", f"smtpd_milters=unix:{elsewhere}")
    _chroot(found)


def _no_checks_file(found: Installation) -> None:
    (found.postfix / "restante_header_checks").unlink()


def _old_schema(found: Installation) -> None:
    Path(found.settings.database.removeprefix("sqlite:///")).unlink()
    migrate.upgrade(found.settings.database, "base")


def _ring_beside_the_database(found: Installation) -> None:
    with found.settings_path.open("a") as file:
        file.write(f'[ring]\npath = "{found.folder}/ring/ring.db"\n')
    KeyRing.create(found.settings.ring_path)


def _ring_of_another(found: Installation) -> None:
    _tended(found, KeyRing.create(found.folder / "other" / "ring.db"), time.time())


def _damaged_ring(found: Installation) -> None:
    ring = KeyRing(found.settings.ring_path)
    _tended(found, ring, time.time())
    ring.path.write_bytes(bytes(4096))


def _tended(found: Installation, ring: KeyRing, now: float) -> None:
    store = Store(found.settings.database)
    epochs.tend(store, ring, use=True, seconds=3600, now=now)
    store.close()


def _exposed_key(found: Installation) -> None:
    (found.settings.credentials / Credential.VAULT).chmod(0o644)


def _wrong_key(found: Installation) -> None:
    worker, vault = (found.settings.credentials / name for name in (Credential.WORKER, Credential.VAULT))
    vault.write_bytes(worker.read_bytes())


def _edit_settings(old: str, new: str) -> Callable[[Installation], None]:
    def edit(found: Installation) -> None:
        text = found.settings_path.read_text()
        assert old in text
        found.settings_path.write_text(text.replace(old, new))

    return edit


def _own_filter(found: Installation) -> None:
    checks = found.postfix / "site_checks"
    checks.write_text("# FILTER in a comment means nothing\n/^Subject: x/ FILTER smtp:[127.0.0.1]:9\n")
    found.postconf("-e", f"header_checks=pcre:{checks}")


def _mapped(entry: str) -> Callable[[Installation], None]:
    def map_domain(found: Installation) -> None:
        table = found.postfix / "transport"
        table.write_text(f"site.example smtp:[192.0.2.1]\nmx.example smtp:\nbob@x.example smtp:[192.0.2.1]\n{entry}\n")
        found.postconf("-e", f"transport_maps=hash:{table}")
        subprocess.run(["postmap", f"hash:{table}"], check=True, timeout=30)

    return map_domain


MISTAKES: dict[str, tuple[str, Callable[[Installation], object]]] = {
    "socket outside the chroot": ("socket-outside-chroot", _socket_elsewhere),
    "milter not attached": ("milter-not-attached", _main("smtpd_milters=")),
    "local mail not attached": ("local-mail-bypasses", _main("non_smtpd_milters=")),
    "milter attached elsewhere": ("milter-not-attached", _main("smtpd_milters=unix:other/socket")),
    "milter_default_action accept": ("milter-default-action", _main("milter_default_action=accept")),
    "default action of the entry": (
        "milter-default-action",
        _main("smtpd_milters={ unix:restante/m, default_action=accept }"),
    ),
    "milters switched off": ("milter-bypassed", _main("receive_override_options=no_milters")),
    "no header checks": ("header-checks-missing", _main("milter_header_checks=")),
    "header checks' file missing": ("header-checks-wrong", _no_checks_file),
    "no transport": ("transport-missing", _without("restante-tls/unix")),
    "no authenticated transport": ("transport-missing", _without("restante-auth/unix")),
    "transport allows clear text": (
        "transport-without-mandatory-tls",
        _service("restante-tls/unix/smtp_tls_security_level", "may"),
    ),
    "authenticated transport only encrypts": (
        "transport-without-mandatory-tls",
        _service("restante-auth/unix/smtp_tls_security_level", "encrypt"),
    ),
    "transport allows TLS 1.0": (
        "transport-with-old-tls",
        _service("restante-tls/unix/smtp_tls_mandatory_protocols", ">=TLSv1"),
    ),
    "policy maps not ours": (
        "policy-maps-foreign",
        _service("restante-tls/unix/smtp_tls_policy_maps", "hash:/etc/postfix/tls_policy"),
    ),
    "no fallback": ("fallback-missing", _service("restante-tls/unix/smtp_fallback_relay", "")),
    "fallback not ours": ("fallback-foreign", _service("restante-tls/unix/smtp_fallback_relay", "[192.0.2.1]")),
    "listener missing": ("listener-missing", _without("127.0.0.1:10027/inet")),
    "listener without its filter": ("listener-filter", _service("127.0.0.1:10026/inet/content_filter", "")),
    "listener asks the milter": (
        "listener-with-milter",
        _service("127.0.0.1:10026/inet/smtpd_milters", "unix:restante/m"),
    ),
    "listener queues like the site": (
        "listener-cleanup",
        _service("127.0.0.1:10026/inet/cleanup_service_name", "cleanup"),
    ),
    "no cleanup": ("cleanup-missing", _without("restante-cleanup/unix")),
    "cleanup adds copies": ("cleanup-wrong", _service("restante-cleanup/unix/always_bcc", "archive@site.example")),
    "bounces queued like the site's mail": (
        "report-in-clear",
        _service("bounce/unix/cleanup_service_name", "cleanup"),
    ),
    "warnings unchecked": ("report-in-clear", _service("defer/unix/internal_mail_filter_classes", "")),
    "reports sent on in the ordinary way": (
        "report-in-clear",
        _service("127.0.0.1:10027/inet/smtpd_recipient_restrictions", "permit_mynetworks,reject"),
    ),
    "a domain that became internal": (
        "report-misrouted",
        _edit_settings('internal_domains = ["site.example"', 'internal_domains = ["site.example", "new.example"'),
    ),
    "a domain that the policy made internal": (
        "report-misrouted",
        lambda found: (found.folder / "policy.toml").write_text('[[domain]]\nname = "x.example"\nmode = "internal"\n'),
    ),
    "no transport for reports under an agreement": ("transport-missing", _without("restante-return-auth/unix")),
    "no transport for reports": ("transport-missing", _without("restante-return/unix")),
    "no cleanup for reports": ("cleanup-missing", _without("restante-returned/unix")),
    "reports with headers alone unchecked": ("cleanup-wrong", _service("restante-returned/unix/body_checks", "")),
    "pickup queues like the site": ("requeued-in-clear", _service("pickup/unix/cleanup_service_name", "cleanup")),
    "no cleanup for pickup": ("cleanup-missing", _without("restante-pickup/unix")),
    "requeued mail unchecked": ("cleanup-wrong", _service("restante-pickup/unix/header_checks", "")),
    "relayhost": ("relayhost-set", _main("relayhost=[relay.site.example]")),
    "a domain mapped elsewhere": ("transport-bypassed", _mapped("partner.example relay:[192.0.2.1]:587")),
    "content filter": ("content-filter-set", _main("content_filter=smtp:[127.0.0.1]:10024")),
    "FILTER in the site's header checks": ("content-filter-set", _own_filter),
    "always_bcc": ("bcc-set", _main("always_bcc=archive@site.example")),
    "queue lifetime below the deadline": ("queue-lifetime-short", _main("maximal_queue_lifetime=3h")),
    "schema missing": ("migration-not-applied", _old_schema),
    "database missing": (
        "migration-not-applied",
        _edit_settings("/restante.db", "/another.db"),
    ),
    "database unreachable": (
        "database-unreachable",
        lambda found: _edit_settings(found.settings.database, f"postgresql+psycopg://x@/x?host={found.folder}")(found),
    ),
    "ring lost": ("ring-missing", lambda found: found.settings.ring_path.unlink()),
    "ring readable by others": ("ring-exposed", lambda found: found.settings.ring_path.chmod(0o644)),
    "ring in a folder for everybody": ("ring-exposed", lambda found: found.settings.ring_path.parent.chmod(0o755)),
    "ring where the database is": ("ring-not-separate", _ring_beside_the_database),
    "ring of another database": ("ring-of-another", _ring_of_another),
    "ring damaged": ("ring-unreadable", _damaged_ring),
    "ring that nobody tends": (
        "ring-not-tended",
        lambda found: _tended(found, KeyRing(found.settings.ring_path), time.time() - 7200),
    ),
    "key readable by others": ("key-exposed", _exposed_key),
    "key missing": ("key-missing", lambda found: (found.settings.credentials / Credential.ROUTE).unlink()),
    "key garbled": ("key-bad", lambda found: (found.settings.credentials / Credential.ROUTE).write_bytes(b"x")),
    "key of another pair": ("key-mismatch", _wrong_key),
    "settings readable by everyone": ("settings-exposed", lambda found: found.settings_path.chmod(0o644)),
    "every visitor one client": (
        "portal-proxy-not-trusted",
        _edit_settings("trusted_proxies = 1", "trusted_proxies = 0"),
    ),
    "a scanner of replies that is not there": (
        "clamd-unreachable",
        _edit_settings("trusted_proxies = 1", 'trusted_proxies = 1\nclamd = "unix:/nonexistent/clamd.sock"'),
    ),
    "settings with an unknown key": ("settings-bad", _edit_settings("log_level", "loglevel")),
    "policy with an unknown action": (
        "policy-bad",
        lambda found: (found.folder / "policy.toml").write_text('[[rule]]\nname = "x"\naction = "y"\n'),
    ),
}


@pytest.mark.behaviour("N5")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_doctor_names_the_mistake(running: Installation, mistake: str) -> None:
    name, make = MISTAKES[mistake]
    assert name not in running.names()
    make(running)
    assert name in running.names()


@pytest.mark.behaviour("D4")
def test_a_mapped_domain_is_no_mistake_where_the_policy_knows_its_next_hop(running: Installation) -> None:
    _mapped("partner.example relay:[192.0.2.1]:587")(running)
    assert "transport-bypassed" in running.names()
    agreed = '[[domain]]\nname = "partner.example"\nnext_hop = "[192.0.2.1]:587"\n'
    (running.folder / "policy.toml").write_text(agreed)
    assert running.names() == set()


def test_a_scanner_of_replies_that_answers_is_no_mistake(running: Installation) -> None:
    path = running.folder / "clamd.sock"
    _edit_settings("trusted_proxies = 1", f'trusted_proxies = 1\nclamd = "unix:{path}"')(running)
    assert running.names() == {"clamd-unreachable"}
    with FakeClamd(path) as clamd:
        assert running.names() == set()
        clamd.answer = b"stream: UNKNOWN ERROR\0"
        assert running.names() == {"clamd-unreachable"}


def test_doctor_names_services_that_do_not_run(installation: Installation) -> None:
    assert installation.names() == {"milter-silent", "worker-silent"}


def test_doctor_names_a_worker_that_would_not_take_the_fallback(installation: Installation) -> None:
    with _listening(str(installation.settings.worker.socketmap), b"OK encrypt"):
        assert {"worker-confused", "intake-silent"} <= installation.names()


def test_doctor_without_a_postfix_says_so(running: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(running.folder))
    assert running.names() == {"postfix-missing"}


def test_the_command_lists_findings_and_fails(installation: Installation) -> None:
    arguments = ["--settings", str(installation.settings_path), "doctor", "--config-directory"]
    result = CliRunner().invoke(cli, [*arguments, str(installation.postfix)])
    assert result.exit_code == 1
    assert "worker-silent: " in result.output


def test_the_site_is_read_from_postfix(installation: Installation) -> None:
    installation.postconf("-e", "smtpd_milters=unix:restante/m inet:127.0.0.1:8891, { unix:o, default_action=accept }")
    _chroot(installation)
    site = site_of(Postconf(installation.postfix), installation.settings)
    assert site.queue_directory == installation.folder / "queue"
    assert site.smtpd_chrooted
    assert site.other_milters == ("inet:127.0.0.1:8891", "{ unix:o, default_action=accept }")
    wiring = render(installation.settings, site)
    assert milters(wiring.main_cf["smtpd_milters"])[0] == "unix:restante/m"
    # The listeners keep the site's milters and leave out ours, in a form that master(5) reads as one setting.
    assert "-o { smtpd_milters = inet:127.0.0.1:8891,{ unix:o, default_action=accept } }" in wiring.master_cf


def test_a_newer_postfix_ignores_senders_who_opt_out(installation: Installation) -> None:
    assert "tls_required_enable" not in render(installation.settings, Site(version=(3, 7, 11))).master_cf
    assert render(installation.settings, Site(version=(3, 10, 0))).master_cf.count("tls_required_enable=no") == 2


def test_the_command_prints_the_wiring(installation: Installation) -> None:
    arguments = ["--settings", str(installation.settings_path), "postfix", "--config-directory"]
    result = CliRunner().invoke(cli, [*arguments, str(installation.postfix)])
    assert result.exit_code == 0
    wiring = render(installation.settings, site_of(Postconf(installation.postfix), installation.settings))
    for path, text in wiring.files.items():
        assert text in result.output
        assert os.fspath(path) in result.output
    for part in (wiring.main_cf_text, wiring.master_cf, *wiring.master_options):
        assert part in result.output


@pytest.mark.behaviour("N5")
@pytest.mark.parametrize(
    ("nameserver", "name"), [("192.0.2.1", "resolver-not-validating"), ("127.0.0.1@1", "resolver-not-tested")]
)
def test_a_resolver_that_dane_cannot_rest_on_is_named(installation: Installation, nameserver: str, name: str) -> None:
    assert name not in installation.names()
    settings = installation.settings_path.read_text(encoding="utf-8")
    asked = f'trust_ad = "auto"\nnameservers = ["{nameserver}"]\ndns_seconds = 0.5'
    installation.settings_path.write_text(settings.replace('trust_ad = "no"', asked), encoding="utf-8")
    assert name in installation.names()
