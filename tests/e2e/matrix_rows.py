"""The table of peers: what each does, what Restante learns of it, and what becomes of mail to it.

The table is for Postfix; :data:`ON_SENDMAIL` says where Sendmail does otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.lab.behaviours import BEHAVIOURS, Behaviour, behaviour
from tests.lab.certificates import CertificateKind
from tests.lab.crowd import Member
from tests.lab.dns import Record

TLS, CLEAR, PORTAL, QUEUE = "over TLS", "in clear", "portal", "kept in the queue"
RETURNED = "back to the sender"

Publish = Callable[["Place"], Sequence[Record]]


@dataclass(frozen=True, slots=True)
class Place:
    """A row's own peer, first, and what else stands beside it.  ``digest`` gives the pin of a certificate."""

    members: tuple[Member, ...]
    digest: Callable[[CertificateKind], str]

    @property
    def first(self) -> Member:
        return self.members[0]

    def hosts(self) -> list[Record]:
        return [Record(one.mx, "A", one.address) for one in self.members]

    def pinned(self, *data: str) -> list[Record]:
        return [*plain(self), *(Record(f"_25._tcp.{self.first.mx}", "TLSA", one) for one in data)]


def plain(place: Place) -> list[Record]:
    """The members as MX hosts, best first."""
    exchanges = [
        Record(place.first.domain, "MX", f"{10 * rank} {one.mx}.") for rank, one in enumerate(place.members, 1)
    ]
    return [*exchanges, *place.hosts()]


def dead_first(place: Place) -> list[Record]:
    """Before the host that answers, a name without an address: nolisting, or a mistake."""
    return [*plain(place), Record(place.first.domain, "MX", f"5 dead.{place.first.domain}.")]


def refusing_first(place: Place) -> list[Record]:
    """Before the host that answers, an address at which nobody listens."""
    return [
        *plain(place),
        Record(place.first.domain, "MX", f"5 dead.{place.first.domain}."),
        Record(f"dead.{place.first.domain}", "A", "10.77.0.53"),
    ]


def ipv6_only(place: Place) -> list[Record]:
    return [
        Record(place.first.domain, "MX", f"10 {place.first.mx}."),
        Record(place.first.mx, "AAAA", place.first.address6),
    ]


def alias(place: Place) -> list[Record]:
    name = f"alias-{place.first.mx}"
    return [
        Record(place.first.domain, "MX", f"10 {name}."),
        Record(name, "CNAME", f"{place.first.mx}."),
        *place.hosts(),
    ]


def twenty(place: Place) -> list[Record]:
    """Twenty names for one address."""
    names = [f"h{number}.{place.first.domain}" for number in range(19)]
    return [
        *plain(place),
        *(Record(place.first.domain, "MX", f"{20 + rank} {name}.") for rank, name in enumerate(names)),
        *(Record(name, "A", place.first.address) for name in names),
    ]


def address_alone(place: Place) -> list[Record]:
    return [Record(place.first.domain, "A", place.first.address)]


@dataclass(frozen=True, slots=True)
class Row:
    """``level`` is the evidence; then the fates of a sensitive message, of one to a peer that must prove its name, and
    of an ordinary one.  ``beside`` are more hosts; ``sts`` names a policy of :data:`tests.e2e.matrix.POLICIES`."""

    name: str
    level: str
    sensitive: str
    proved: str
    ordinary: str
    conduct: Behaviour = BEHAVIOURS["tls"]
    publish: Publish = plain
    beside: tuple[Behaviour, ...] = ()
    sts: str = ""
    marks: tuple[str, ...] = ("F13",)

    @property
    def fates(self) -> tuple[str, str, str]:
        """Of the sensitive message, of the one to a peer that must prove its name, of the ordinary one."""
        return self.sensitive, self.proved, self.ordinary

    @property
    def binding(self) -> bool:
        """Whether the domain publishes something that binds the delivery."""
        return bool(self.sts) or isinstance(self.publish, Pins)


@dataclass(frozen=True, slots=True)
class Pins:
    """TLSA records for the first member; ``{}`` in ``data`` is the digest of its certificate of ``kind``."""

    data: tuple[str, ...]
    kind: CertificateKind = CertificateKind.VALID

    def __call__(self, place: Place) -> list[Record]:
        return place.pinned(*(one.format(place.digest(self.kind)) for one in self.data))


def _does(name: str, **changes: object) -> Behaviour:
    return behaviour(name, changes)


def _pins(*data: str, kind: CertificateKind = CertificateKind.VALID) -> Publish:
    return Pins(data, kind)


SELF_SIGNED = CertificateKind.SELF_SIGNED
CLEAR_PEER = _does("clear")
ROWS = (
    Row("TLS 1.3 and a good certificate", "pkix", TLS, TLS, TLS, marks=("F1", "F6")),
    Row("no STARTTLS", "none", PORTAL, PORTAL, CLEAR, CLEAR_PEER, marks=("F3", "F13")),
    Row("STARTTLS answered with 502", "none", PORTAL, PORTAL, CLEAR, _does("starttls-unknown"), marks=("F5", "F7")),
    Row("STARTTLS answered with 454", "unknown", PORTAL, PORTAL, CLEAR, _does("starttls-refused"), marks=("F8",)),
    Row("STARTTLS answered with the end of the connection", "unknown", PORTAL, PORTAL, QUEUE, _does("starttls-closed")),
    Row("STARTTLS answered with noise", "none", PORTAL, PORTAL, CLEAR, _does("starttls-garbage"), marks=("F5", "F7")),
    Row("the handshake ends with an alert", "none", PORTAL, PORTAL, CLEAR, _does("handshake-fails"), marks=("F5",)),
    Row("TLS 1.0 alone", "none", PORTAL, PORTAL, TLS, _does("tls1.0-only"), marks=("F4",)),
    Row("TLS 1.1 alone", "none", PORTAL, PORTAL, TLS, _does("tls1.1-only"), marks=("F4",)),
    Row("anonymous ciphers alone", "none", PORTAL, PORTAL, TLS, _does("anonymous-ciphers"), marks=("F4",)),
    Row("expired certificate", "encrypted", TLS, PORTAL, TLS, _does("expired"), marks=("F6",)),
    Row("self-signed certificate", "encrypted", TLS, PORTAL, TLS, _does("self-signed"), marks=("F6",)),
    Row("certificate of another name", "encrypted", TLS, PORTAL, TLS, _does("wrong-name"), marks=("F6",)),
    Row("intermediate certificate missing", "encrypted", TLS, PORTAL, TLS, _does("no-intermediate"), marks=("F6",)),
    Row("a client certificate is demanded", "unknown", PORTAL, PORTAL, CLEAR, _does("client-certificate")),
    Row("the greeting comes byte by byte", "pkix", TLS, TLS, TLS, _does("drip-banner"), marks=("F8",)),
    Row("the greeting comes after three seconds", "pkix", TLS, TLS, TLS, _does("slow-banner"), marks=("F8",)),
    Row("421 to all but the first connection", "pkix", PORTAL, PORTAL, QUEUE, _does("busy-after-one"), marks=("F8",)),
    Row("421 to everybody", "unknown", PORTAL, PORTAL, QUEUE, _does("tempfail-421"), marks=("F8",)),
    Row("greylisting, for one attempt", "pkix", TLS, TLS, TLS, _does("greylist"), marks=("F8",)),
    Row(
        "greylisting beyond the deadline", "pkix", PORTAL, PORTAL, QUEUE,
        _does("greylist", greylist_seconds=600), marks=("F8",),
    ),
    Row("the answer to EHLO is cut off", "unknown", PORTAL, PORTAL, QUEUE, _does("truncated-ehlo"), marks=("F7",)),
    Row("STARTTLS overwritten in the answer to EHLO", "none", PORTAL, PORTAL, CLEAR, _does("mangled-ehlo")),
    Row("EHLO is not known", "none", PORTAL, PORTAL, CLEAR, _does("refused-ehlo"), marks=("F7",)),
    Row(
        "plain text injected behind the answer to STARTTLS", "none", PORTAL, PORTAL, TLS,
        _does("starttls-injection"), marks=("F7",),
    ),
    Row("STARTTLS is offered to the prober alone", "pkix", PORTAL, PORTAL, CLEAR, _does("drops-tls"), marks=("F7",)),
    Row("nobody listens", "unknown", PORTAL, PORTAL, QUEUE, publish=lambda place: [
        Record(place.first.domain, "MX", f"10 {place.first.mx}."), Record(place.first.mx, "A", "10.77.0.53"),
    ], marks=("F8",)),
    Row("the first MX has no address", "pkix", TLS, TLS, TLS, publish=dead_first, marks=("F10",)),
    Row("nobody listens at the first MX", "pkix", TLS, TLS, TLS, publish=refusing_first, marks=("F10",)),
    Row("a backup MX without TLS", "pkix", TLS, TLS, TLS, beside=(CLEAR_PEER,), marks=("F10",)),
    Row("a first MX without TLS, a backup with it", "pkix", TLS, TLS, CLEAR, CLEAR_PEER, beside=(_does("tls"),),
        marks=("F10",)),
    Row("IPv6 alone", "pkix", TLS, TLS, TLS, publish=ipv6_only),
    Row("no MX, an address alone", "pkix", TLS, TLS, TLS, publish=address_alone),
    Row("MX that is an alias", "pkix", TLS, TLS, TLS, publish=alias),
    Row("twenty MX", "pkix", TLS, TLS, TLS, publish=twenty),
    Row("DANE, valid pin of a self-signed certificate", "dane", TLS, TLS, TLS, _does("self-signed"),
        _pins("3 1 1 {}", kind=SELF_SIGNED), marks=("F6",)),
    Row("DANE, a wrong digest", "unknown", PORTAL, PORTAL, TLS, publish=_pins(f"3 1 1 {'00' * 32}"), marks=("F6",)),
    Row("DANE, a wrong digest beside a right one", "dane", TLS, TLS, TLS,
        publish=_pins(f"3 1 1 {'00' * 32}", "3 1 1 {}"), marks=("F6",)),
    Row("DANE for the first MX alone", "pkix", TLS, TLS, TLS, publish=_pins("3 1 1 {}"), beside=(_does("tls"),),
        marks=("F6",)),
    Row("DANE, unusable records alone", "pkix", TLS, TLS, TLS, publish=_pins("1 1 1 {}"), marks=("F6",)),
    Row("DANE without STARTTLS", "unknown", PORTAL, PORTAL, CLEAR, CLEAR_PEER, _pins("3 1 1 {}"), marks=("F6", "F7")),
    Row("MTA-STS, enforce", "mta-sts", TLS, TLS, TLS, sts="enforce", marks=("F6",)),
    Row("MTA-STS, enforce, self-signed certificate", "unknown", PORTAL, PORTAL, TLS, _does("self-signed"),
        sts="enforce", marks=("F6",)),
    Row("MTA-STS, enforce, without STARTTLS", "unknown", PORTAL, PORTAL, CLEAR, CLEAR_PEER,
        sts="enforce", marks=("F6",)),
    Row("MTA-STS, testing, self-signed certificate", "encrypted", TLS, PORTAL, TLS, _does("self-signed"),
        sts="testing", marks=("F6",)),
    Row("MTA-STS, the host is not in the policy", "unknown", PORTAL, PORTAL, TLS, sts="mismatch", marks=("F6",)),
    Row("MTA-STS, the policy is behind a redirect", "pkix", TLS, TLS, TLS, sts="redirect", marks=("F6",)),
    Row("MTA-STS, a huge policy", "pkix", TLS, TLS, TLS, sts="huge", marks=("F6",)),
    Row("MTA-STS, the policy comes byte by byte", "pkix", TLS, TLS, TLS, sts="slow", marks=("F6",)),
)  # fmt: skip

SENDMAIL_ROWS = tuple(row for row in ROWS if not row.binding)
# What becomes of ordinary mail on Sendmail, where that differs.
ON_SENDMAIL = {
    # Debian's OpenSSL does not let Sendmail do less than TLS 1.2, so the handshake fails.
    "TLS 1.0 alone": CLEAR,
    "TLS 1.1 alone": CLEAR,
    "anonymous ciphers alone": CLEAR,
    # A session that ends after the handshake is no failed handshake: Sendmail tries again the same way.
    "a client certificate is demanded": QUEUE,
}


def fates_on_sendmail(row: Row) -> tuple[str, str, str, str]:
    """As ``Row.fates``, and last that of a sensitive message whose rule knows no other way than TLS."""
    exclusive = TLS if row.sensitive == TLS else RETURNED
    return row.sensitive, row.proved, ON_SENDMAIL.get(row.name, row.ordinary), exclusive
