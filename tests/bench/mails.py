"""The mails that the bench sends: 8 kB of ordinary correspondence, the same with the sender's trigger, and large ones.

They are full of what detectors must look at and leave alone: order numbers, amounts, dates, telephone numbers.
Lines end in LF, as ``smtp-source -F`` wants them.
"""

from __future__ import annotations

import random
import re
from email.message import EmailMessage
from email.policy import EmailPolicy
from pathlib import Path

_PARAGRAPHS = (
    (
        "Thank you for your order 4711-2024-8830 of 17 March 2026. We have passed it on to the warehouse in "
        "Graz, and it will leave there on Thursday before 14:30. The parcel number is 00340434161094015902; "
        "you can follow it from then on."
    ),
    (
        "The invoice over 1,284.90 EUR (net 1,070.75, VAT 214.15) is due within thirty days. Please name "
        "customer 20391847 and invoice RE-2026-003381 when you pay. Our accounts department answers on +43 "
        "316 555 0142, extension 27."
    ),
    (
        "As we agreed on the telephone, Mrs Berger visits your plant in week 14 and measures the two lines "
        "again. She needs about three hours, a 400 V connection within 25 m, and someone who knows the PLC "
        "(version 5.12.1883 or later)."
    ),
    (
        "Last year's figures: 18,204 units in January, 17,955 in February, 19,870 in March; the scrap rate "
        "went from 2.31 to 1.87 percent. The table is attached to minutes 2025/117 and lies under "
        "\\\\files\\quality\\2025\\Q1\\report.xlsx."
    ),
    (
        "The meeting room on the second floor is booked from 09:00 to 11:15. Those who cannot come in person "
        "find the conference at https://meet.example.net/j/83920011847?pwd=c3VtbWVyLWV2ZW5pbmc and should "
        "dial in a little earlier."
    ),
    (
        "Zum Schluss noch eine Bitte: Die Schließfächer im Erdgeschoß werden bis Ende März geräumt. Wer dort "
        "noch Unterlagen hat, möge sie abholen; Schlüssel gibt es bei Frau Müller in Zimmer 204, täglich von "
        "8 bis 12 Uhr."
    ),
    (
        "I have read your draft of the maintenance agreement and like the new order of its sections. Two "
        "remarks: the list of exclusions should move to the annex, where it can be changed without signing "
        "again, and the paragraph about travel costs is still the old one that neither of us wanted to keep."
    ),
    (
        "Our colleagues in purchasing would be glad to hear a little earlier when a delivery is going to be "
        "late. A short note is enough, it need not have a reason in it. They then move the assembly of the "
        "other machines forward and nobody has to stand and wait."
    ),
    (
        "The training went well, thank you for asking. Most of the questions were about cleaning and about "
        "what the yellow lamp means, so we shall print a larger label for the inside of the door. If you have "
        "a photograph of the one that your people made themselves, please send it along."
    ),
    (
        "For the trade fair I suggest that we share one stand again, with the tall wall between us this time, "
        "because of the noise. The organisers want to know by the end of the month how much power and how "
        "many passes we need; last year's numbers will do, I think."
    ),
    (
        "Please remember that the gate in the south closes earlier during the holidays. Drivers who come "
        "later must go round by the main entrance and ring for the porter there, who knows about it and will "
        "let them in; the way is signposted."
    ),
    (
        "Herzlichen Dank auch für die freundliche Aufnahme in der vergangenen Woche. Die Kollegen erzählen "
        "noch immer vom Abendessen, und das Rezept für die Mehlspeise macht hier die Runde. Wir würden uns "
        "freuen, wenn Sie uns im Sommer besuchen; der Garten ist dann am schönsten."
    ),
)

_STYLE = "<style>body{font:14px/1.5 Arial,sans-serif;color:#222}td{padding:4px 9px;border:1px solid #ccd}</style>"


_SUBJECT = "Your order 4711-2024-8830 and next week's visit"


def ordinary(subject: str = _SUBJECT) -> bytes:
    """About 8 kB: a text and an HTML alternative, quoted-printable, with the header of a usual mail program."""
    return _ordinary(subject).as_bytes()


def short() -> bytes:
    """About 1 kB of text."""
    message = EmailMessage(policy=EmailPolicy(linesep="\n", max_line_length=76))
    message["From"], message["To"], message["Subject"] = "ann@site.example", "bob@partner.example", _SUBJECT
    message.set_content("\n\n".join(_PARAGRAPHS[:3]) + "\n")
    return message.as_bytes()


def with_attachment(content: bytes, file_name: str) -> bytes:
    """The same mail with one file."""
    message = _ordinary(_SUBJECT)
    message.add_attachment(content, maintype="application", subtype="octet-stream", filename=file_name)
    return message.as_bytes()


def varied(count: int, seed: int) -> list[bytes]:
    """``count`` mails like the ordinary one, of which no two are alike: other digits, the words in another order.

    An automaton that learns as it reads is quick with what it has read before.
    """
    draw = random.Random(seed)
    return [_ordinary(f"Your order {draw.randrange(10**8)}", varied_paragraphs(draw)).as_bytes() for _ in range(count)]


def varied_paragraphs(draw: random.Random) -> tuple[str, ...]:
    """The paragraphs, in another order, with other digits and their words in another order."""
    paragraphs = []
    for paragraph in draw.sample(_PARAGRAPHS, len(_PARAGRAPHS)):
        words = re.sub("[0-9]", lambda _: str(draw.randrange(10)), paragraph).split()
        paragraphs.append(" ".join(draw.sample(words, len(words))))
    return tuple(paragraphs)


def _ordinary(subject: str, paragraphs: tuple[str, ...] = _PARAGRAPHS) -> EmailMessage:
    message = EmailMessage(policy=EmailPolicy(linesep="\n", max_line_length=76))
    for name, value in (
        ("Date", "Tue, 17 Mar 2026 10:21:44 +0100"),
        ("From", "Ann Gruber <ann@site.example>"),
        ("To", "Bob Hofer <bob@partner.example>"),
        ("Cc", "Office <office@partner.example>, Sales <sales@site.example>"),
        ("Subject", subject),
        ("Message-ID", "<5f1c2b7e-8a44-4a3e-9c1d-2f6b8f0a7d11@site.example>"),
        ("In-Reply-To", "<CAK7x=fQ2nS8@mail.partner.example>"),
        ("References", "<CAK7x=fQ2nS8@mail.partner.example> <20260316081200.4711@site.example>"),
        ("User-Agent", "Mozilla Thunderbird"),
        ("Content-Language", "en-GB, de-AT"),
        ("Organization", "Gruber Maschinenbau GmbH"),
        ("X-Priority", "3 (Normal)"),
        ("Thread-Index", "AQHadPpJ2c0fUe5xkEuHk1b7fUu7Yg=="),
    ):
        message[name] = value
    message.set_content("\n\n".join(paragraphs) + "\n", cte="quoted-printable")
    rows = "".join(f"<tr><td>{number}</td><td><p>{text}</p></td></tr>" for number, text in enumerate(paragraphs, 1))
    message.add_alternative(
        f"<html><head>{_STYLE}</head><body><table>\n{rows}</table></body></html>\n",
        subtype="html",
        cte="quoted-printable",
    )
    return message


def sensitive() -> bytes:
    """The same mail with the sender's trigger in the subject."""
    return ordinary("[secure] Your order 4711-2024-8830 and next week's visit")


def write_large(path: Path, size: int, *, subject: str) -> None:
    """A mail of about ``size`` bytes, one long text, written piece by piece."""
    head = f"From: ann@site.example\nTo: bob@partner.example\nSubject: {subject}\nMIME-Version: 1.0\n"
    text = "\n".join(_PARAGRAPHS[:5]) + "\n"
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{head}Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n")
        for _ in range(size // len(text)):
            file.write(text)
