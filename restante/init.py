"""A fresh installation: settings, policy and keys, in one folder.

Keys are never replaced: mail that was sealed to a lost key cannot be opened again.  The settings file is written
last, so that an interrupted run leaves nothing that a service would start on.
"""

from __future__ import annotations

import base64
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import ParseError
from tomlkit.items import Item, Table

from restante.classify.pack_loader import built_in
from restante.credentials import SECRET_BYTES, Credential, write_credential
from restante.errors import RestanteError
from restante.policy import load_policy
from restante.settings import EXAMPLE_NAMES, MilterSettings, Settings, WorkerSettings, load_settings
from restante.toml_source import BadFile
from restante.vault import generate_keypair

SETTINGS_NAME = "restante.toml"
POLICY_NAME = "policy.toml"
_LISTEN = "127.0.0.1:8080"
CANARIES = ("gmail.com", "outlook.com")


class CannotInit(RestanteError):
    """The folder cannot become a fresh installation; nothing that was there has been changed."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What only the operator knows.  ``extra`` holds further settings as ``section.key`` and TOML values."""

    hostname: str
    organisation: str
    portal_url: str
    notice_sender: str
    database: str
    internal_domains: tuple[str, ...] = ()
    extra: tuple[tuple[str, str], ...] = ()


def initialise(directory: Path, answers: Answers) -> Settings:
    """Write keys, policy and settings into ``directory``, owner-only; give the settings as a service will read them.

    An existing policy is kept.  Raises :class:`CannotInit` when settings or keys are already there, or when the
    answers do not make valid settings; either way no file of an earlier run was changed.
    """
    settings_path = directory / SETTINGS_NAME
    keys = directory / "credentials"
    if settings_path.exists():
        raise CannotInit(f"{settings_path} exists already: edit it, or name another --directory")
    present = [name for name in Credential if (keys / name).exists()]
    if present:
        raise CannotInit(
            f"{keys / present[0]} exists already, and mail sealed to it could never be opened again without it: "
            "keep it, or name another --directory"
        )
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        keys.mkdir(mode=0o700, exist_ok=True)
        vault, worker = generate_keypair(), generate_keypair()
        text = settings_text(answers, vault_public=vault[1], worker_public=worker[1])
        policy_path = directory / POLICY_NAME
        if not policy_path.exists():
            _write(policy_path, _policy())
        settings = _checked(settings_path, text)
        for name, secret in (
            (Credential.VAULT, vault[0]),
            (Credential.WORKER, worker[0]),
            (Credential.ROUTE, secrets.token_bytes(SECRET_BYTES)),
            (Credential.PORTAL, secrets.token_bytes(SECRET_BYTES)),
        ):
            write_credential(keys, name, secret)
        _draft(settings_path).replace(settings_path)
    except OSError as error:
        raise CannotInit(f"{error.filename or directory}: {error.strerror}") from error
    return settings


def _draft(settings_path: Path) -> Path:
    return settings_path.with_name(f".{settings_path.name}.new")


def _checked(settings_path: Path, text: str) -> Settings:
    """Write ``text`` beside ``settings_path`` and validate it there, with the policy it names."""
    draft = _draft(settings_path)
    draft.unlink(missing_ok=True)
    _write(draft, text)
    try:
        settings = load_settings(draft)
        load_policy(settings.policy)
    except BadFile as error:
        draft.unlink()
        where = error.path if error.path != draft else "settings"
        raise CannotInit(f"{where}: {error.field}: {error.problem}") from error
    return settings


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def settings_text(answers: Answers, *, vault_public: bytes, worker_public: bytes) -> str:
    """The settings file for ``answers``, with a comment beside each key.

    Raises :class:`CannotInit` for an example name or an ``extra`` that is not ``section.key`` and a TOML value.
    """
    if answers.hostname in EXAMPLE_NAMES or "." not in answers.hostname:
        raise CannotInit(f"{answers.hostname!r} is not this host's full name: give it with --hostname")
    document = tomlkit.document()
    document.add(tomlkit.comment("Restante's settings.  Restart the services after a change."))
    document.add(tomlkit.nl())
    for key, value, comment in (
        ("hostname", answers.hostname, "the name said in EHLO and in Message-ID"),
        ("organisation", answers.organisation, "what notices and the portal call you"),
        ("database", answers.database, "sqlite:////path, or postgresql+psycopg://user@host/name for several hosts"),
        ("internal_domains", list(answers.internal_domains), "mail to these never leaves this site"),
        ("credentials", "credentials", "the folder of the keys; systemd's LoadCredential comes first"),
        ("policy", POLICY_NAME, "rules, domains and lexicons"),
        ("log_level", "info", "debug, info, warning or error"),
    ):
        document.add(key, _commented(value, comment))
    for name, rows in _sections(answers, vault_public, worker_public).items():
        table = tomlkit.table()
        for key, value, comment in rows:
            table.add(key, _commented(value, comment))
        document.add(tomlkit.nl())
        document.add(name, table)
    for path, value in answers.extra:
        _set(document, path, value)
    return tomlkit.dumps(document)


def _commented(value: Any, comment: str) -> Item:
    item: Item = tomlkit.item(value)
    return item.comment(comment)


def _sections(answers: Answers, vault_public: bytes, worker_public: bytes) -> dict[str, list[tuple[str, Any, str]]]:
    milter, worker = MilterSettings(), WorkerSettings()
    listen = dict(answers.extra).get("portal.listen", _LISTEN).strip("\"'")
    # The portal itself speaks no HTTPS.  A portal that others can reach must not believe what they say of themselves.
    proxied = answers.portal_url.startswith("https:") and listen.startswith(("127.", "[::1]:", "localhost:"))
    return {
        "vault": [
            ("key_id", "v1", "names the key below, so that it can be followed by another"),
            ("public_key", base64.b64encode(vault_public).decode(), "seals held mail; only the portal can open it"),
            ("worker_public_key", base64.b64encode(worker_public).decode(), "seals what the worker hands to the MTA"),
        ],
        "milter": [
            ("socket", str(milter.socket), "inside Postfix's queue directory: its smtpd runs in a chroot"),
            ("processes", milter.processes, "about twice the number of cores: the kernel spreads sessions unevenly"),
        ],
        "worker": [
            ("socketmap", str(worker.socketmap), "where Postfix asks for the TLS policy of a domain"),
            ("intake", str(worker.intake), "what mandatory TLS could not deliver comes back here"),
            ("reinject_tls", str(worker.reinject_tls), "smtpd with content_filter=restante-tls:"),
            ("submit", str(worker.submit), "smtpd for our own notices"),
            ("reinject_authenticated", str(worker.reinject_authenticated), "smtpd with content_filter=restante-auth:"),
        ],
        "portal": [
            ("url", answers.portal_url, "the address that recipients see; links are made from it alone"),
            ("listen", _LISTEN, "behind a web server that does HTTPS"),
            ("trusted_proxies", int(proxied), "how many proxies in front may say X-Forwarded-For; 0 believes none"),
        ],
        "tls": [
            ("canaries", list(CANARIES), "surely do TLS: while they seem not to, nobody is believed to do none"),
        ],
        "notice": [
            ("sender", answers.notice_sender, "From: of notices; its mailbox gets what bounces"),
            ("contact", "", "how a recipient can check that a notice is true, such as a telephone number"),
        ],
    }


def _set(document: tomlkit.TOMLDocument, path: str, text: str) -> None:
    """Set one ``section.key``; a value that is not TOML is taken as a string, as a shell user would mean it."""
    try:
        value: Any = tomlkit.value(text)
    except ParseError:
        value = tomlkit.string(text)
    *sections, key = path.split(".")
    table: tomlkit.TOMLDocument | Table = document
    for name in sections:
        if name not in table:
            table.add(name, tomlkit.table())
        below = table[name]
        if not isinstance(below, Table):
            raise CannotInit(f"--set {path}: {name} is a value, not a section")
        table = below
    if not key:
        raise CannotInit(f"--set {path!r}: write it as section.key=value")
    table[key] = value


def _policy() -> str:
    packs = "".join(f'    {{ pack = "{pack.name}" }},\n' for pack in built_in().packs if pack.default)
    return _POLICY.replace("@PACKS@", packs)


_POLICY = """\
# Restante's policy.  The first rule that matches a message decides; a message that no rule matches is not sensitive.
# `restante explain FILE --sender A --recipient B` shows what a message would do.  SIGHUP makes the services read it
# again; a file with a mistake is refused, and the policy in force stays.

# What holds without this file: a sender's own trigger, what a pack finds, and whatever cannot be looked into make a
# message sensitive.  It leaves over TLS; where the domain has none, it waits in the portal.
[[rule]]
name = "default"
action = "protect"        # protect (mandatory TLS), relay, quarantine or reject
tls = "encrypted"         # or "authenticated": the peer must also prove its name
otherwise = "portal"      # where the domain cannot do TLS: portal, quarantine or reject
expires_days = 14         # how long a held message waits for its recipient
deadline_hours = 24       # how long delivery over TLS is tried before the portal
always_code = false       # true: an access code even where the notice went over TLS
when = [
    { detectors = ["trigger-*"] },
    { detectors = ["ambiguous-mime", "cannot-inspect"] },
@PACKS@]

# Words that make a subject a trigger when they stand in square brackets, and headers that do.
[triggers]
subject_tags = ["secure"]
headers = ["X-Restante-Secure"]
sensitivity = true        # Sensitivity: anything but normal

# A rule for ten or more distinct cards: nobody sends those without a second look.  Place it before "default".
#[[rule]]
#name = "many-cards"
#action = "quarantine"
#when = [{ detectors = ["payment-card"], confidence = "medium", count = 10 }]

# Words of your own, found whole and in any case; a rule names them as "lexicon:health".
#[[lexicon]]
#name = "health"
#confidence = "medium"
#words = ["diagnosis", "patient record"]

# What is agreed with a partner.  mode: auto, portal-only (never tries TLS) or internal (never leaves this site).
#[[domain]]
#name = "partner.example"
#mode = "auto"
#tls = "authenticated"
"""
