"""``make demo``: the whole of Restante in a lab, with a table of what each peer received and where each copy is.

Stays up until Ctrl-C, with a pickup and an administrator's sign-in to try in a browser on this machine.  With
``DEMO_EXIT=1`` it leaves at once, with status 0 when the table is as expected and 1 when it is not.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from http import HTTPStatus

from sqlalchemy import select

from restante.store import admins
from restante.store.engine import Store
from restante.store.models import Delivery, DeliveryState, Message
from tests.lab import mail
from tests.lab.lab import Lab
from tests.lab.peers import Peer
from tests.lab.services import RestanteServices
from tests.lab.waiting import LabError, wait_until

SETTLE_SECONDS = 60.0
MARKER = "TOP-SECRET-CONTENT"
NOTHING = "nothing"
CODE = re.compile(r"\b[2-9A-HJKMNP-TV-Z]{4}-[2-9A-HJKMNP-TV-Z]{4}\b")

PLACES = {
    DeliveryState.HELD: "portal",
    DeliveryState.OPENED: "portal",
    DeliveryState.QUARANTINED: "quarantine",
    DeliveryState.HANDOVER: "on its way",
    DeliveryState.HANDED_OVER: "on its way",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one recipient's copy: what the peer received, and where the copy is now."""

    received: str
    copy: str


TLS = Outcome("TLSv1.3", "peer")
CLEAR = Outcome("clear", "peer")
PORTAL = Outcome(NOTHING, "portal")
QUARANTINE = Outcome(NOTHING, "quarantine")


@dataclass(frozen=True, slots=True)
class Case:
    """One message of the demo, and what must become of it."""

    title: str
    build: Callable[[Sequence[str]], EmailMessage]
    expected: dict[str, Outcome]


CASES = (
    Case("newsletter", lambda to: mail.newsletter(to=to), {"news@clear.example": CLEAR, "news@tls.example": TLS}),
    Case("sensitive, peer with TLS", lambda to: mail.triggered(MARKER, to=to), {"bob@tls.example": TLS}),
    Case("sensitive, peer without TLS", lambda to: mail.triggered(MARKER, to=to), {"carol@clear.example": PORTAL}),
    Case(
        "sensitive, one of each",
        lambda to: mail.with_card(MARKER, to=to),
        {"erin@tls.example": TLS, "dave@clear.example": PORTAL},
    ),
    Case("for review", lambda to: mail.for_review(to=to), {"frank@tls.example": QUARANTINE}),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    case: str
    recipient: str
    expected: Outcome
    seen: Outcome

    @property
    def right(self) -> bool:
        """Whether what was seen is what was expected."""
        return self.expected == self.seen


@dataclass(frozen=True, slots=True)
class Sent:
    """A message of the demo that Postfix has accepted."""

    case: Case
    message_id: str


def send_all(lab: Lab) -> list[Sent]:
    """Send every case.  Raises :class:`LabError` when Postfix does not accept one."""
    sent = []
    for case in CASES:
        content = case.build(tuple(case.expected))
        submission = lab.send(content, tuple(case.expected))
        if not submission.accepted or submission.refused:
            raise LabError(f"{case.title}: Postfix said {submission.code} {submission.reply} {submission.refused}")
        sent.append(Sent(case, content["Message-ID"]))
    return sent


def table(lab: Lab, store: Store, sent: Sequence[Sent]) -> list[Row]:
    """What the peers have received so far, and where the database says that the copies are."""
    held = _held(store)
    rows = []
    for one in sent:
        for recipient, expected in one.case.expected.items():
            received = _received(lab.peer(recipient.rpartition("@")[2]), one.message_id, recipient)
            place = "peer" if received != NOTHING else held.get((one.message_id, recipient), "nowhere yet")
            rows.append(Row(one.case.title, recipient, expected, Outcome(received, place)))
    return rows


def _received(peer: Peer, message_id: str, recipient: str) -> str:
    """How the peer got this message for this recipient; every copy is named, so that one too many shows."""
    ways = [
        received.tls_version or "clear"
        for received in peer.mails()
        if recipient in received.recipients and received.message["Message-ID"] == message_id
    ]
    return " and ".join(ways) or NOTHING


def _held(store: Store) -> dict[tuple[str, str], str]:
    query = select(Message.header_message_id, Delivery.recipient, Delivery.state).join(Delivery.message)
    with store.read() as session:
        return {
            (f"<{message_id.strip('<>')}>", recipient): PLACES.get(DeliveryState(state), state)
            for message_id, recipient, state in session.execute(query)
        }


def settled(lab: Lab, store: Store, sent: Sequence[Sent]) -> list[Row]:
    """The table once it is as expected, or as it is when the time is up."""
    try:
        wait_until(lambda: all(row.right for row in table(lab, store, sent)), SETTLE_SECONDS, "the expected table")
    except LabError:
        return table(lab, store, sent)
    # One copy too many would come late: the queue must be empty before the table counts.
    lab.postfix.wait_empty()
    return table(lab, store, sent)


def leaks(lab: Lab) -> list[str]:
    """The peers that read a sensitive byte in clear."""
    return [domain for domain in ("tls.example", "clear.example") if MARKER.encode() in lab.peer(domain).clear_bytes()]


@dataclass(frozen=True, slots=True)
class Pickup:
    """What a recipient has in hand: the link from the notice, and the code that the sender passed on."""

    recipient: str
    link: str
    code: str


def pickup(lab: Lab, services: RestanteServices, recipient: str, seconds: float = 30) -> Pickup:
    """Wait for both notices about the copy of ``recipient`` and read them.  Raises :class:`LabError`."""
    link = re.compile(re.escape(services.portal_url) + r"/p/[A-Za-z0-9_-]{20,}")
    peer = lab.peer(recipient.rpartition("@")[2])

    def find_link() -> str:
        notices = [text(received.message) for received in peer.mails() if recipient in received.recipients]
        found = [match.group() for notice in notices if (match := link.search(notice))]
        return found[-1] if found else ""

    def find_code() -> str:
        for received in lab.mailboxes.mails():
            _, named, after = text(received.message).rpartition(recipient)
            if named and (match := CODE.search(after)):
                return match.group()
        return ""

    return Pickup(
        recipient,
        wait_until(find_link, seconds, f"the notice to {recipient}"),
        wait_until(find_code, seconds, f"the sender's notice with the code for {recipient}"),
    )


def text(message: EmailMessage) -> str:
    """The plain text of a notice."""
    part = message.get_body(("plain", "html"))
    return str(part.get_content()) if part else ""


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows under their headings."""
    heads = ("message", "recipient", "expected", "peer received", "copy is at", "")
    lines = [
        (
            row.case,
            row.recipient,
            f"{row.expected.received}, {row.expected.copy}",
            row.seen.received,
            row.seen.copy,
            "ok" if row.right else "WRONG",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (heads, *lines)) for column in range(len(heads))]
    for line in (heads, tuple("-" * width for width in widths), *lines):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def run(*, leave: bool) -> int:
    """Run the demo; returns the exit status."""
    begun = time.monotonic()
    print("Starting the lab: DNS, peers, a private Postfix and Restante ...", flush=True)
    with Lab() as lab:
        services = lab.services
        if services is None:
            raise LabError("the lab has no Restante")
        print(f"Up after {time.monotonic() - begun:.1f} s.  Sending {len(CASES)} messages ...\n", flush=True)
        store = Store(services.settings.database)
        try:
            rows = settled(lab, store, send_all(lab))
            print_table(rows)
            leaked = leaks(lab)
            print(f"\nSensitive bytes that a peer read in clear: {', '.join(leaked) or 'none'}")
            dead = _print_pickups(lab, services, rows)
            if leave:
                print(f"Done after {time.monotonic() - begun:.1f} s.")
                return 0 if all(row.right for row in rows) and not leaked and not dead else 1
            _print_administrator(services, store)
        finally:
            store.close()
        print("\nCtrl-C stops the demo and removes all that it created.", flush=True)
        signal.pause()
    return 0


def _print_pickups(lab: Lab, services: RestanteServices, rows: Sequence[Row]) -> list[str]:
    """Print the links and codes; returns the links that the portal does not answer.

    Looking at a link opens nothing: only the form on its page does.
    """
    links = []
    for row in rows:
        if row.seen.copy == "portal":
            found = pickup(lab, services, row.recipient)
            links.append(found.link)
            print(f"\nPickup for {found.recipient}: {found.link}\n  access code: {found.code}")
    dead = [link for link in links if not answers(link)]
    for link in dead:
        print(f"The portal does not answer {link}")
    return dead


def answers(address: str) -> bool:
    """Whether a GET of ``address`` is answered with 200."""
    try:
        with urllib.request.urlopen(address, timeout=10) as response:
            return bool(response.status == HTTPStatus.OK)
    except OSError:
        return False


def _print_administrator(services: RestanteServices, store: Store) -> None:
    password = secrets.token_urlsafe(15)
    admins.add(store, "admin", password, now=time.time())
    print(f"\nReview: {services.portal_url}/admin/\n  name: admin\n  password: {password}", flush=True)


def main() -> int:
    """Run with the environment's choices.  Errors of the lab are one line, without a traceback."""
    if os.geteuid() != 0:
        print("The demo needs root: it creates network namespaces.", file=sys.stderr)
        return 1
    try:
        return run(leave=os.environ.get("DEMO_EXIT") == "1")
    except KeyboardInterrupt:
        print("\nAll removed.")
        return 0
    except LabError as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
