"""Rules that look at more than content, through the milter: whom a message goes to, what it carries, its size."""

from __future__ import annotations

import base64
import zipfile
from collections.abc import Iterator
from io import BytesIO

import pytest
from sqlalchemy import select

from restante.credentials import Credential, read_credential
from restante.envelope import Address
from restante.store.correspondents import Digests, learn
from restante.store.models import Correspondent, Delivery, Message
from tests.lab.waiting import wait_until
from tests.milter.client import ACCEPT, DISCARD, REPLY, Answer, ask
from tests.milter.conftest import SENDER, Installation, install

POLICY = """
[[group]]
name = "ward"
members = ["nurse@site.example", "ward.site.example"]

[[rule]]
name = "public"
when = [{ subject_tags = ["public"] }]
action = "relay"

[[rule]]
name = "strict"
when = [{ subject_tags = ["strict"] }]
view_only = true

[[rule]]
name = "mistaken"
when = [{ detectors = ["trigger-*"], lookalike = true }]
action = "quarantine"
four_eyes = true

[[rule]]
name = "freemail"
when = [{ detectors = ["payment-card"], freemail = true, not = { recipients = ["known@gmail.com"] } }]
action = "reject"

[[rule]]
name = "sheets"
when = [{ attachment_names = ["*.xlsx", "*.csv"], recipients = [".partners.example"], senders = ["group:ward"] }]
action = "reject"

[[rule]]
name = "large"
when = [{ min_size = "200 kB", min_recipients = 3 }, { header = { name = "X-Class", matches = "^(?i)internal$" } }]
action = "reject"

[[rule]]
name = "stranger"
when = [{ detectors = ["id-*", "payment-card"], first_contact = true }]
action = "quarantine"

[[rule]]
name = "unreadable"
when = [{ detectors = ["cannot-inspect", "ambiguous-mime"] }]

[[domain]]
name = "portal-only.example"
mode = "portal-only"
"""

CARD = "Card 4111 1111 1111 1111, valid until 12/29."


@pytest.fixture(scope="module")
def site() -> Iterator[Installation]:
    settings = {
        "correspondents.learn": "true",
        "correspondents.frequent_days": "2",
        "correspondents.flush_seconds": "0.05",
        "milter.processes": "1",
    }
    for installation in install(settings):
        installation.policy.write_text(POLICY, encoding="utf-8")
        installation.start()
        yield installation


def letter(text: str = "Hello", *, subject: str = "news", head: str = "", number: object = 0) -> bytes:
    lines = [f"From: ann@site.example\r\nSubject: {subject}\r\nMessage-ID: <{number}@site.example>\r\n{head}"]
    return "".join([*lines, "\r\n", text, "\r\n"]).encode()


def with_attachment(name: str, data: bytes, kind: str = "application/octet-stream") -> bytes:
    encoded = base64.encodebytes(data).replace(b"\n", b"\r\n").decode()
    head = 'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n'
    part = f'Content-Type: {kind}\r\nContent-Disposition: attachment; filename="{name}"\r\n'
    body = f"--b\r\n\r\nSee there.\r\n--b\r\n{part}Content-Transfer-Encoding: base64\r\n\r\n{encoded}--b--"
    return letter(body, head=head, number=name)


def rules_of_held(site: Installation, recipient: str) -> list[tuple[str, str]]:
    with site.store.read() as session:
        query = select(Message.rule, Delivery.state).join(Delivery).where(Delivery.recipient == recipient)
        return [(row.rule, row.state) for row in session.execute(query)]


@pytest.mark.behaviour("A4")
def test_what_a_rule_asks_of_reviewer_and_reader_is_kept_with_the_message(site: Installation) -> None:
    assert site.ask(letter(subject="[strict] a", number="strict"), "carol@portal-only.example").letter == DISCARD
    with site.store.read() as session:
        marks = {row.rule: (row.four_eyes, row.view_only) for row in session.scalars(select(Message))}
    assert marks["strict"] == (False, True)
    assert marks.get("mistaken", (True, False)) == (True, False)


def known(site: Installation) -> list[tuple[bytes, int]]:
    with site.store.read() as session:
        return [(row.digest, row.days) for row in session.scalars(select(Correspondent))]


def sent(answer: Answer) -> bool:
    return answer.letter == ACCEPT and not answer.deleted


@pytest.mark.behaviour("C5")
def test_a_slip_in_a_frequent_domain_stops_what_is_sensitive(site: Installation) -> None:
    before = len(known(site))
    assert sent(site.ask(letter(), "bob@clinic-partner.example"))
    wait_until(lambda: len(known(site)) >= before + 3, 20, "the correspondents to be written down")
    # Once is not often: the domain is not frequent yet, and what resembles it is only unknown.
    assert sent(site.ask(letter(subject="[secure] a", number=1), "bob@clinic-partnr.example"))
    # The next day.
    learn(site.store, [digest for digest, _ in known(site)], now=4_000_000_000.0)
    for slip in ("clinic-partnr", "clinic-partneer", "clinic-pattner", "clinic-partenr", "cllnic-partner"):
        answer = site.ask(letter(subject="[secure] a", number=slip), f"eve@{slip}.example")
        assert answer.letter == DISCARD, slip
        assert rules_of_held(site, f"eve@{slip}.example") == [("mistaken", "quarantined")]
    homograph = "eve@" + "cl\u0456nic-partner.example".encode("idna").decode()
    assert site.ask(letter(subject="[secure] a", number="homograph"), homograph).letter == DISCARD
    # The right one, another one, and what is not sensitive go their way.
    assert sent(site.ask(letter(subject="[secure] a", number=2), "bob@clinic-partner.example"))
    assert sent(site.ask(letter(subject="[secure] a", number=3), "bob@other-domain.example"))
    assert sent(site.ask(letter(number=4), "bob@clinic-pattner.example"))


@pytest.mark.behaviour("C5")
def test_what_is_remembered_holds_no_address(site: Installation) -> None:
    site.ask(letter(), "very-special-person@remembered-domain.example")
    wait_until(lambda: known(site), 20, "the correspondents to be written down")
    for path in site.database.parent.iterdir():
        assert b"very-special-person" not in path.read_bytes()
        assert b"remembered-domain" not in path.read_bytes()


@pytest.mark.behaviour("C5")
def test_sensitive_content_to_a_freemail_domain_is_a_condition(site: Installation) -> None:
    answer = site.ask(letter(CARD, number=5), "bob@gmail.com")
    assert (answer.letter, answer.text[:9]) == (REPLY, "550 5.7.1")
    assert "freemail" in answer.text
    assert sent(site.ask(letter(number=6), "bob@gmail.com"))
    assert site.ask(letter(CARD, number=7), "known@gmail.com").letter == DISCARD  # a stranger as yet


@pytest.mark.behaviour("C5")
def test_the_first_contact_with_somebody_is_a_condition(site: Installation) -> None:
    digests = Digests(read_credential(site.credentials, Credential.ROUTE))
    contact = digests.contact(Address.parse(SENDER), Address.parse("carl@first.example"))
    assert site.ask(letter(CARD, number=8), "carl@first.example").letter == DISCARD
    assert rules_of_held(site, "carl@first.example") == [("stranger", "quarantined")]
    assert sent(site.ask(letter(number=9), "carl@first.example"))
    wait_until(lambda: contact in dict(known(site)), 20, "the contact to be written down")
    assert sent(site.ask(letter(CARD, number=10), "carl@first.example"))


@pytest.mark.behaviour("C3")
def test_names_of_attachments_groups_and_what_lies_below_a_domain(site: Installation) -> None:
    sheet = with_attachment("Salaries.XLSX", b"\0\1\2")
    for sender, recipient, refused in (
        ("nurse@site.example", "b@north.partners.example", True),
        ("x@ward.site.example", "b@north.partners.example", True),
        ("ann@site.example", "b@north.partners.example", False),
        ("nurse@site.example", "b@partners.example", False),
    ):
        answer = ask(site.socket, sheet, sender, [recipient])
        assert (answer.letter == REPLY) == refused, (sender, recipient)


@pytest.mark.behaviour("C3")
def test_size_number_of_recipients_and_header_fields(site: Installation) -> None:
    many = [f"r{number}@large.example" for number in range(3)]
    large = letter("x" * 70 + ("\r\n" + "x" * 70) * 3000, number=11)
    assert site.ask(large, *many).letter == REPLY
    assert sent(site.ask(large, *many[:2]))
    assert sent(site.ask(letter(number=12), *many))
    assert site.ask(letter(head="X-Class: Internal\r\n", number=13), many[0]).letter == REPLY
    assert sent(site.ask(letter(head="X-Class: not internal\r\n", number=14), many[0]))


@pytest.mark.behaviour("C2")
def test_a_subject_tag_of_one_rule_is_removed_before_sending(site: Installation) -> None:
    answer = site.ask(letter(CARD, subject="[Public] the card of the fair", number=15), "bob@gmail.com")
    assert sent(answer)
    assert answer.changed == [("Subject", "the card of the fair")]
    answer = site.ask(letter(CARD, subject="[secure] the card [public] of the fair", number=16), "bob@gmail.com")
    assert answer.changed == [("Subject", "the card of the fair")]


def locked_zip() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "secret" * 100)
    data = bytearray(buffer.getvalue())
    for at in (data.find(b"PK\3\4") + 6, data.find(b"PK\1\2") + 8):
        data[at] |= 1
    return bytes(data)


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.mark.behaviour("C4")
@pytest.mark.parametrize(
    ("content", "protected"),
    [
        (with_attachment("a.zip", locked_zip(), "application/zip"), True),
        (with_attachment("smime.p7m", b"\x30\x80" + bytes(100), "application/pkcs7-mime"), True),
        (letter("x", head="Content-Transfer-Encoding: base64\r\nContent-Transfer-Encoding: 7bit\r\n"), True),
        (letter("\r\n".join(["--a\r\n\r\nx"] * 1100), head="Content-Type: multipart/mixed; boundary=a\r\n"), True),
        (with_attachment("logo.png", PNG, "image/png"), False),
    ],
    ids=["encrypted-zip", "s-mime", "ambiguous", "too-many-parts", "image"],
)
def test_what_cannot_be_inspected_never_passes_as_clean(site: Installation, content: bytes, protected: bool) -> None:  # noqa: FBT001
    before = len(site.held())
    answer = site.ask(content, "carol@portal-only.example")
    assert answer.letter == (DISCARD if protected else ACCEPT)
    assert len(site.held()) == before + protected
