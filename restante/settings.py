"""Settings: one TOML file, validated, frozen, passed to whoever needs it.

A file that does not validate is refused with file, line, field and remedy (:class:`restante.toml_source.BadFile`).
Secrets are not in it: they lie beside it as credentials, one file each (:mod:`restante.credentials`).
"""

from __future__ import annotations

import base64
import binascii
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from restante.brand import BrandSettings
from restante.envelope import BadAddress, a_label
from restante.languages import ENGLISH, LanguageName
from restante.receipts import CHOSEN, Receipt
from restante.tls.trust_mode import BROKEN_NAME, SIGNED_NAME, TrustAd
from restante.toml_source import load_model

_PLAIN_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_LOOPBACK = re.compile(r"127(\.\d{1,3}){3}")
EXAMPLE_NAMES = frozenset({"mail.example.org", "pickup.example.org", "example.org"})


def _a_label(domain: str) -> str:
    try:
        return a_label(domain)
    except BadAddress as error:
        raise ValueError(str(error)) from error


class HostPort(NamedTuple):
    """A TCP endpoint, written ``127.0.0.1:10025`` or ``[::1]:10025``."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this host can reach it."""
        return self.host in {"::1", "localhost"} or _LOOPBACK.fullmatch(self.host) is not None


def _host_port(value: object) -> object:
    if not isinstance(value, str):
        return value
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:10025")
    return HostPort(host.strip("[]"), int(port))


def _loopback(value: HostPort) -> HostPort:
    if not value.loopback:
        raise ValueError("must be a loopback address: this listener trusts whoever can reach it")
    return value


def _public_key(value: str) -> str:
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be a base64 key as restante init writes it") from None
    if len(raw) != 32 or len(set(raw)) < 8:
        raise ValueError("is not a fresh key: run restante init, or restante init --directory DIR for a new set")
    return value


def _clamd(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.startswith("unix:/"):
        return Path(value.removeprefix("unix:"))
    endpoint = _host_port(value)
    if not isinstance(endpoint, HostPort) or not endpoint.loopback:
        raise ValueError("must be unix:/PATH or a loopback address: files go there in clear")
    return endpoint


Endpoint = Annotated[HostPort, BeforeValidator(_host_port)]
LoopbackEndpoint = Annotated[Endpoint, AfterValidator(_loopback)]
PublicKey = Annotated[str, AfterValidator(_public_key)]


class Mta(StrEnum):
    """The mail server that Restante is attached to."""

    POSTFIX = "postfix"
    SENDMAIL = "sendmail"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class VaultSettings(_Frozen):
    """Public keys: what may be sealed, to whom.  ``key_id`` names the vault key, for rotation."""

    key_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,32}$")]
    public_key: PublicKey
    worker_public_key: PublicKey


class MilterSettings(_Frozen):
    """The milter service.  ``socket`` must lie where Postfix's chrooted smtpd can reach it."""

    socket: Path = Path("/var/spool/postfix/restante/milter.sock")
    processes: int = Field(default=2, ge=1, le=64)
    recycle_after: int = Field(default=20_000, ge=0, description="messages a child handles before it is replaced")
    timeout_seconds: int = Field(default=300, ge=10, le=7200)
    verdict_seconds: float = Field(default=20, gt=0, le=100)


class WorkerSettings(_Frozen):
    """The worker service: where Postfix finds it, and where it finds Postfix.

    ``submit`` is a smtpd without our milter; ``reinject_tls`` and ``reinject_authenticated`` are such with the
    content filters ``restante-tls:`` and ``restante-auth:``.  ``mail_log`` is Postfix's log, a file or
    ``journal``, read for evidence of delivery; empty reads none.  ``heal_seconds`` lie between two looks at the domain
    of a message that waits under a rule with ``heal``.
    """

    socketmap: Path = Path("/var/spool/postfix/restante/worker.sock")
    intake: LoopbackEndpoint = HostPort("127.0.0.1", 10025)
    reinject_tls: LoopbackEndpoint = HostPort("127.0.0.1", 10026)
    submit: LoopbackEndpoint = HostPort("127.0.0.1", 10027)
    reinject_authenticated: LoopbackEndpoint = HostPort("127.0.0.1", 10028)
    poll_seconds: float = Field(default=1.0, gt=0, le=60)
    retry_first_seconds: float = Field(default=10, gt=0, le=3600)
    retry_last_seconds: float = Field(default=1800, gt=0, le=86400)
    give_up_hours: float = Field(default=120, gt=0, le=720)
    message_size_limit: int = Field(default=104_857_600, ge=65_536)
    mail_log: Annotated[str, Field(pattern=r"^(|journal|/.+)$")] = ""
    heal_seconds: float = Field(default=900, gt=0, le=86_400)


class ClassifySettings(_Frozen):
    """What looking into attachments may cost; beyond it, and without ``extract``, the finding is ``cannot-inspect``.

    ``extract_processes`` are at work at once for each process of the milter, each of them in ``extract_memory_mib`` of
    address space.  ``extract_seconds`` is for one attachment, ``extract_message_seconds`` for all those of a message.
    ``extract_mib``, ``extract_files``, ``extract_depth`` and ``extract_ratio`` bound what comes out of archives.
    ``ocr`` reads pictures, too, with tesseract in ``ocr_languages`` ("eng+deu"), ``ocr_pictures`` of an attachment.
    """

    extract: bool = True
    extract_processes: int = Field(default=1, ge=1, le=16)
    extract_seconds: float = Field(default=20, gt=0, le=600)
    extract_message_seconds: float = Field(default=60, gt=0, le=1800)
    extract_memory_mib: int = Field(default=768, ge=256, le=16_384)
    extract_mib: int = Field(default=256, ge=1, le=4096)
    extract_files: int = Field(default=5_000, ge=1, le=1_000_000)
    extract_depth: int = Field(default=8, ge=1, le=50)
    extract_ratio: int = Field(default=200, ge=2, le=10_000)
    ocr: bool = False
    ocr_languages: Annotated[str, Field(pattern=r"^[A-Za-z_]{3,20}(\+[A-Za-z_]{3,20}){0,9}$")] = "eng"
    ocr_pictures: int = Field(default=20, ge=1, le=1000)


class RingSettings(_Frozen):
    """The key ring, without which no held message opens, and from which what was erased is gone.

    ``path`` must be in no backup of the main database, and on a file system that keeps no snapshots.  Without one:
    ``ring.db`` in the folder of the main database's name and ``-ring``.  A new epoch begins every half of
    ``epoch_minutes``; that long, at least, messages can be held while the worker is down.  ``use = false`` holds
    messages without it.
    """

    use: bool = True
    path: Path | None = None
    epoch_minutes: float = Field(default=60, ge=2, le=1440)


class PortalSettings(_Frozen):
    """The portal service.  ``url`` is the address in notices; links are never built from a request.

    ``files_url`` is another address of the same service, with a host of its own, at which files of messages are
    downloaded: nothing that a sender attached then comes from the origin that has the portal's pages and cookies.
    ``reply_max_bytes`` bounds the files of a reply together, which are larger by two fifths as mail; the default fits
    into Postfix's own ``message_size_limit``.  ``clamd`` looks at them: ``unix:/PATH`` or a loopback endpoint.
    """

    url: str
    files_url: str | None = None
    listen: Endpoint = HostPort("127.0.0.1", 8080)
    workers: int = Field(default=2, ge=1, le=64)
    threads: int = Field(default=4, ge=1, le=64)
    trusted_proxies: int = Field(default=0, ge=0, le=5, description="how many X-Forwarded-For hops are ours")
    pickup_window_minutes: int = Field(default=60, ge=5, le=1440)
    admin_session_minutes: int = Field(default=60, ge=5, le=720)
    reply_max_bytes: int = Field(default=7_000_000, ge=65_536, le=104_857_600)
    clamd: Annotated[Path | HostPort | None, BeforeValidator(_clamd)] = None

    @field_validator("url", "files_url")
    @classmethod
    def _https(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            plain = _PLAIN_HOST.fullmatch(parts.netloc) and parts.port != 0
        except ValueError:
            plain = None
        if not plain or not parts.hostname or value.removesuffix("/") != f"{parts.scheme}://{parts.netloc}":
            raise ValueError("must be an address without a path, such as https://pickup.example.org")
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1"}):
            raise ValueError("must begin with https:// (http:// only for localhost)")
        return value.removesuffix("/")

    @model_validator(mode="after")
    def _files_elsewhere(self) -> Self:
        if self.files_url:
            here, there = urlsplit(self.url), urlsplit(self.files_url)
            if (here.hostname or "").rstrip(".") == (there.hostname or "").rstrip("."):
                raise ValueError("files_url must have another host than url: cookies do not tell ports apart")
            if here.scheme != there.scheme:
                raise ValueError("files_url must begin as url does, with https://")
        return self


def _chosen(value: Receipt) -> Receipt:
    if value not in CHOSEN:
        raise ValueError(f"is always mailed: leave it out; there are {', '.join(CHOSEN)}")
    return value


ChosenReceipt = Annotated[Receipt, AfterValidator(_chosen)]


class NoticeSettings(_Frozen):
    """What notices say of themselves.

    ``language`` is for recipients whose domain tells none, and for pages when the browser asks for none that we have.
    ``english_below``: a notice in another language says the same in English below.  ``receipts`` are mailed to
    senders who have not chosen otherwise; ``remind_hours`` before its end a sender is told of what nobody has read.
    """

    sender: str = Field(pattern=r"^[^@\s<>]+@[^@\s<>]+$")
    contact: str = Field(default="", max_length=200, description="how a recipient can check that a notice is true")
    postmaster: str = Field(default="", pattern=r"^([^@\s<>]+@[^@\s<>]+)?$", description="who is told of strip alarms")
    language: LanguageName = ENGLISH
    english_below: bool = True
    receipts: frozenset[ChosenReceipt] = frozenset({Receipt.OPENED, Receipt.EXPIRING, Receipt.EXPIRED})
    remind_hours: float = Field(default=48, gt=0, le=720)


class CorrespondentsSettings(_Frozen):
    """What is remembered of whom this site writes to, for rules with ``first_contact`` and ``lookalike``.

    Kept as keyed digests, and nothing without ``learn``.  A domain is frequent once it was written to on
    ``frequent_days`` different days.  ``forget_days`` without mail, or more than ``most`` rows, and it is forgotten.
    ``flush_seconds`` lie between two writes of a process.
    """

    learn: bool = False
    frequent_days: int = Field(default=3, ge=1, le=365)
    forget_days: int = Field(default=400, ge=1, le=3650)
    most: int = Field(default=500_000, ge=1000, le=10_000_000)
    flush_seconds: float = Field(default=30, gt=0, le=3600)


class SmsSettings(_Frozen):
    """How access codes reach telephones, for rules with ``code = "sms"``.

    Either ``command`` is run, without a shell, ``{number}`` in its arguments standing for the telephone number and
    the text coming on standard input; or ``fields`` are sent to ``url`` in a POST, as JSON or as a form, ``{number}``
    and ``{text}`` in them replaced.  Beside the credentials, ``sms.token`` holds what follows ``authorization`` in the
    header of that name.  ``numbers`` is the address book: a recipient's address and telephone number on each line.
    """

    command: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    url: str = ""
    fields: dict[str, str] = Field(default={"to": "{number}", "text": "{text}"}, min_length=1, max_length=20)
    encoding: Annotated[str, Field(pattern=r"^(json|form)$")] = "json"
    authorization: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")] = "Bearer"
    numbers: Path
    seconds: float = Field(default=20, gt=0, le=120)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.command) == bool(self.url):
            raise ValueError("needs either command or url, and not both")
        if self.command and not self.command[0].startswith("/"):
            raise ValueError("command must begin with the program's whole path, such as /usr/local/bin/send-sms")
        parts = urlsplit(self.url)
        local = parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"}
        if self.url and not (parts.hostname and (parts.scheme == "https" or local)):
            raise ValueError("url must begin with https:// (http:// only for localhost)")
        return self


class TlsSettings(_Frozen):
    """How the worker learns what peers can do.

    An empty ``ca_file`` means the system's store; no ``nameservers``: the system's.  ``trust_ad`` tells whether DNSSEC
    validation by them is believed: ``auto`` tests resolvers on this host with ``dnssec_signed_name`` and
    ``dnssec_broken_name`` and believes no others; ``yes`` vouches for them and for the path to them.
    ``canaries`` are domains that surely do TLS: while they seem to do none, no other domain is believed to do none.
    """

    ca_file: Path | None = None
    nameservers: tuple[str, ...] = ()
    dns_seconds: float = Field(default=5, gt=0, le=60)
    connect_seconds: float = Field(default=10, gt=0, le=60)
    banner_seconds: float = Field(default=30, gt=0, le=300)
    total_seconds: float = Field(default=60, gt=0, le=600)
    confirm_pause_seconds: float = Field(default=1, ge=0, le=60)
    canaries: tuple[Annotated[str, AfterValidator(_a_label)], ...] = Field(default=(), max_length=10)
    max_probes: int = Field(default=50, ge=1, le=1000)
    port: int = Field(default=25, ge=1, le=65535)
    source_address: str = ""
    dane: bool = True
    trust_ad: TrustAd = TrustAd.AUTO
    dnssec_signed_name: str = Field(default=SIGNED_NAME, min_length=1, max_length=253)
    dnssec_broken_name: str = Field(default=BROKEN_NAME, min_length=1, max_length=253)
    mta_sts: bool = True
    sts_seconds: float = Field(default=10, gt=0, le=60)
    sts_private_addresses: bool = Field(default=False, description="fetch policies from private addresses too")
    sts_port: int = Field(default=443, ge=1, le=65535)


class Settings(_Frozen):
    """The whole file.  Relative paths are meant from the folder of the file."""

    hostname: str = Field(pattern=r"^[A-Za-z0-9.-]+\.[A-Za-z0-9-]+$")
    mta: Mta = Mta.POSTFIX
    organisation: str = Field(min_length=1, max_length=100)
    database: str = Field(pattern=r"^(sqlite|postgresql\+psycopg)://")
    internal_domains: tuple[str, ...] = ()
    credentials: Path = Path("credentials")
    policy: Path | None = None
    log_level: Annotated[str, Field(pattern=r"^(debug|info|warning|error)$")] = "info"
    vault: VaultSettings
    milter: MilterSettings = MilterSettings()
    classify: ClassifySettings = ClassifySettings()
    worker: WorkerSettings = WorkerSettings()
    ring: RingSettings = RingSettings()
    portal: PortalSettings
    brand: BrandSettings = BrandSettings()
    notice: NoticeSettings
    tls: TlsSettings = TlsSettings()
    correspondents: CorrespondentsSettings = CorrespondentsSettings()
    sms: SmsSettings | None = None

    @field_validator("internal_domains")
    @classmethod
    def _a_labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_a_label(domain) for domain in value)

    @field_validator("hostname")
    @classmethod
    def _not_the_example(cls, value: str) -> str:
        if value in EXAMPLE_NAMES:
            raise ValueError("is still the example: write this host's own name")
        return value

    @model_validator(mode="after")
    def _intake_fits_the_mta(self) -> Self:
        if self.mta is Mta.SENDMAIL and (self.worker.intake.port != 25 or ":" in self.worker.intake.host):
            raise ValueError("with mta = sendmail, worker.intake must be port 25 of 127.0.0.2 or the like")
        return self

    @model_validator(mode="after")
    def _portal_not_the_example(self) -> Self:
        if urlsplit(self.portal.url).hostname in EXAMPLE_NAMES:
            raise ValueError("portal.url is still the example: write the address that recipients will see")
        return self

    @property
    def ring_path(self) -> Path:
        """Where the key ring is."""
        if self.ring.path is not None:
            return self.ring.path
        if not self.database.startswith("sqlite:///"):
            return Path("/var/lib/restante-ring/ring.db")
        return Path(f"{Path(self.database.removeprefix('sqlite:///')).absolute().parent}-ring") / "ring.db"

    def resolved(self, folder: Path) -> Self:
        """A copy whose relative paths start at ``folder``."""
        changes: dict[str, Any] = {"credentials": folder / self.credentials, "brand": self.brand.resolved(folder)}
        if self.policy is not None:
            changes["policy"] = folder / self.policy
        if self.sms is not None:
            changes["sms"] = self.sms.model_copy(update={"numbers": folder / self.sms.numbers})
        if self.ring.path is not None:
            changes["ring"] = self.ring.model_copy(update={"path": folder / self.ring.path})
        if self.tls.ca_file is not None:
            changes["tls"] = self.tls.model_copy(update={"ca_file": folder / self.tls.ca_file})
        return self.model_copy(update=changes)


def load_settings(path: Path) -> Settings:
    """Read and validate the settings at ``path``.  Raises :class:`restante.toml_source.BadFile`."""
    return load_model(path, Settings).resolved(path.absolute().parent)
