"""The doctor: what is wrong with an installation, each mistake by its name and with its remedy.

Only looks.  A check that cannot be made is a finding too: silence means that the check was made and found nothing.
"""

from __future__ import annotations

import base64
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from nacl.public import PrivateKey

from restante.clamd import Clamd, NotScanned
from restante.classify.extract.from_settings import NoTesseract, require_programs
from restante.credentials import BadCredential, Credential, read_credential
from restante.doctor_finding import Finding
from restante.doctor_postfix import postfix_findings
from restante.doctor_ring import ring_findings
from restante.doctor_sendmail import SENDMAIL_CF, sendmail_findings
from restante.doctor_tls import tls_findings
from restante.errors import RestanteError
from restante.policy import Policy, load_policy
from restante.settings import Mta, Settings, load_settings
from restante.tls import netstring
from restante.toml_source import BadFile

_SECONDS = 3.0


def check(settings_path: Path, postfix_config_dir: Path | None = None) -> list[Finding]:
    """Everything that is wrong with the installation behind ``settings_path`` and the MTA it is attached to.

    ``postfix_config_dir`` is the MTA's configuration folder, its usual one when ``None``.  An empty list
    means that nothing was found.  Never raises for what an operator can get wrong.
    """
    try:
        settings = load_settings(settings_path)
    except BadFile as error:
        return [Finding("settings-bad", str(error), "mend the line that is named")]
    policy, findings = _policy(settings)
    return [
        *_settings_file(settings_path),
        *findings,
        *_keys(settings),
        *_programs(settings),
        *_database(settings),
        *ring_findings(settings, busy_seconds=_SECONDS),
        *_portal(settings),
        *_scanner(settings),
        *_worker(settings),
        *tls_findings(settings.tls),
        *_milter(settings),
        *_mta(settings, policy, postfix_config_dir),
    ]


def _mta(settings: Settings, policy: Policy, folder: Path | None) -> list[Finding]:
    if settings.mta is Mta.SENDMAIL:
        return sendmail_findings(settings, policy, folder / SENDMAIL_CF.name if folder else None)
    return postfix_findings(settings, policy, folder)


def _settings_file(path: Path) -> Iterator[Finding]:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IWOTH | stat.S_IROTH | stat.S_IWGRP):
        yield Finding(
            "settings-exposed",
            f"{path} can be read by everyone or changed by its group (mode {mode:04o}); it may hold a password",
            f"chmod 0640 {path}",
        )


def _policy(settings: Settings) -> tuple[Policy, list[Finding]]:
    internal = frozenset(settings.internal_domains)
    try:
        return load_policy(settings.policy, internal), []
    except BadFile as error:
        return Policy.default(internal), [Finding("policy-bad", str(error), "mend the line that is named")]


def _keys(settings: Settings) -> Iterator[Finding]:
    """Keys that are missing, exposed, or that do not belong to the public keys in the settings."""
    publics = {
        Credential.VAULT: settings.vault.public_key,
        Credential.WORKER: settings.vault.worker_public_key,
    }
    for name in Credential:
        path = settings.credentials / name
        if not path.exists():
            yield Finding("key-missing", f"{path} does not exist", "restore it from a backup: a new one opens nothing")
            continue
        try:
            secret = read_credential(settings.credentials, name)
        except BadCredential as error:
            exposed = path.stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP)
            yield Finding("key-exposed" if exposed else "key-bad", str(error), "see the text")
            continue
        public = publics.get(name)
        if public and bytes(PrivateKey(secret).public_key) != base64.b64decode(public):
            yield Finding(
                "key-mismatch",
                f"{path} does not belong to the public key in the settings: what is sealed could never be opened",
                "put back the pair that belongs together",
            )


def _programs(settings: Settings) -> Iterator[Finding]:
    """Programs that the settings ask for and that are not there."""
    try:
        require_programs(settings.classify)
    except NoTesseract as error:
        yield Finding("tesseract-missing", str(error), "apt-get install tesseract-ocr, or set ocr = false")


def _portal(settings: Settings) -> Iterator[Finding]:
    """A portal that takes all strangers for one, because a proxy of ours is in front and is not believed."""
    portal = settings.portal
    if portal.url.startswith("https:") and portal.listen.loopback and not portal.trusted_proxies:
        yield Finding(
            "portal-proxy-not-trusted",
            "the portal is reached by https through a web server, and takes all who come that way for one client: "
            "wrong tries of one lock out the others",
            "let the web server set X-Forwarded-For, and set trusted_proxies = 1 in [portal]",
        )


def _scanner(settings: Settings) -> Iterator[Finding]:
    """A clamd that does not answer: replies with files wait as drafts until it does."""
    if settings.portal.clamd is None:
        return
    try:
        Clamd(settings.portal.clamd, connect_seconds=_SECONDS, answer_seconds=_SECONDS).scan((b"doctor",))
    except NotScanned as error:
        yield Finding(
            "clamd-unreachable",
            f"{error}; nobody can send a reply with files",
            "start clamd and let the portal's user connect to its socket, or take clamd out of [portal]",
        )


def _database(settings: Settings) -> Iterator[Finding]:
    """A database that does not answer, or has another version's schema."""
    from restante.store.engine import Store, StoreUnavailable
    from restante.store.schema import SchemaOutdated, require_current

    path = settings.database.removeprefix("sqlite:///") if settings.database.startswith("sqlite:///") else ""
    if path and not Path(path).exists():
        # Opening it would create it, with the wrong owner.
        yield Finding("migration-not-applied", f"there is no database at {path}", "restante db upgrade")
        return
    store = Store(settings.database, busy_seconds=_SECONDS)
    try:
        with store.read() as session:
            session.connection()
    except StoreUnavailable as error:
        yield Finding("database-unreachable", str(error), "start it, or correct `database` in the settings")
        return
    finally:
        store.close()
    try:
        require_current(settings.database)
    except SchemaOutdated as error:
        yield Finding("migration-not-applied", str(error), "restante db upgrade")
    except RestanteError as error:
        yield Finding("database-unreachable", str(error), "start it, or correct `database` in the settings")


def _worker(settings: Settings) -> Iterator[Finding]:
    """A worker that does not answer on its socketmap, or whose intake nobody listens on."""
    worker = settings.worker
    try:
        answer = _ask(worker.socketmap, f"policy [{worker.intake.host}]:{worker.intake.port}")
    except (OSError, ValueError) as error:
        yield Finding(
            "worker-silent", f"no answer on {worker.socketmap}: {error}", "start it: systemctl start restante-worker"
        )
        return
    if answer != "OK none":
        yield Finding(
            "worker-confused",
            f"the worker says {answer!r} about its own intake, so what TLS cannot deliver would never reach it",
            "give worker and Postfix the same `worker.intake`, and restart the worker",
        )
    try:
        socket.create_connection(worker.intake, timeout=_SECONDS).close()
    except OSError as error:
        yield Finding("intake-silent", f"nobody listens on {worker.intake}: {error}", "restart restante-worker")


def _ask(path: Path, question: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_SECONDS)
        connection.connect(os.fspath(path))
        connection.sendall(netstring.encode(question.encode()))
        buffer = bytearray()
        while (answer := netstring.take(buffer)) is None:
            data = connection.recv(4096)
            if not data:
                raise ConnectionError("it closed the connection")
            buffer += data
    return answer.decode("utf-8", "replace").strip()


def _milter(settings: Settings) -> Iterator[Finding]:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(os.fspath(settings.milter.socket))
    except OSError as error:
        yield Finding(
            "milter-silent",
            f"nobody listens on {settings.milter.socket}: {error}",
            "start it: systemctl start restante-milter",
        )
