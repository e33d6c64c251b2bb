"""A whole pickup in lynx and in w3m, as somebody without a screen, or without any other browser, does it.

Everything is pressed and typed; what is asserted stands on the screen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from restante.settings import HostPort
from restante.store.models import AuditRecord
from tests.lab.waiting import wait_until
from tests.portal import letters
from tests.portal.conftest import Post, make_post, make_settings
from tests.portal.server import PortalServer, free_port
from tests.portal.terminal import Terminal

# What is on a page for scripts, or hidden from those who see, and must not be read out as if it had happened.
NEVER = ("The connection broke off", "The files are on their way", "The passkey was not used", "[INLINE]", "[svg]")
SUBJECT = "Befund und Röntgenbild"


@pytest.fixture(scope="module")
def post(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    """A store behind a running portal."""
    folder = tmp_path_factory.mktemp("text")
    port = free_port()
    settings, worker_private = make_settings(
        folder, f"sqlite:///{folder}/restante.db", url=f"http://localhost:{port}",
        listen=HostPort("127.0.0.1", port), workers=1,
    )  # fmt: skip
    made = make_post(settings, worker_private)
    with PortalServer(settings, folder):
        yield made
    made.store.close()


# What its last lines say when it waits for a key, and not for an answer.  What is pressed before is thrown away.
_LYNX_WAITS = re.compile(r"\((NORMAL LINK|Form submit button)\)|Commands: Use arrow keys|Enter text")


class Lynx(Terminal):
    """Lynx, where one looks for a link to get onto it."""

    def __init__(self, folder: Path, address: str) -> None:
        super().__init__(folder, "lynx", "-accept_all_cookies", address)

    def page(self, *texts: str) -> str:
        """Wait for a page on which ``texts`` stand, and have lynx wait for a key."""
        read = self.read(*texts, ready=_LYNX_WAITS)
        assert not any(each in read for each in NEVER)
        return read

    def follow(self, link: str) -> None:
        self.type("/")
        self.read("Enter a whereis query")
        self.type(link)
        self.read(f"Enter a whereis query: {link}")
        self.press("Enter")
        self.page(link)
        self.press("Enter")

    def to_field(self) -> None:
        """From the top of a page, behind the link that leads to its content, to the first field."""
        self.press("Tab")
        self.read("Enter text")


def _downloads(post: Post) -> int:
    with post.store.read() as session:
        query = select(func.count()).select_from(AuditRecord).where(AuditRecord.action == "downloaded")
        return session.scalar(query) or 0


@pytest.mark.behaviour("P7")
@pytest.mark.behaviour("P9")
@pytest.mark.behaviour("P13")
def test_a_pickup_in_lynx(post: Post, tmp_path: Path) -> None:
    link = post.waiting(letters.RICH, code=True)
    with Lynx(tmp_path, f"{post.settings.portal.url}/p/{link.token}") as lynx:
        _open(lynx, str(link.code))
        _read(lynx)
        _save(lynx, post)
        _reply(lynx, post)
        _close(lynx)


def _open(lynx: Lynx, code: str) -> None:
    page = lynx.page("A message is waiting for you", "Change language")
    order = ("Skip to the content", "keeps a confidential message", "Access code The sender has it", "Open the message",
             "Is this page genuine?", "Send me a fresh link", "Change language")  # fmt: skip
    assert [page.index(each) for each in order] == sorted(page.index(each) for each in order)
    lynx.to_field()
    lynx.type("AAAA-AAAA")
    lynx.press("Down", "Enter")
    page = lynx.page("Problem: A message is waiting for you", "That is not the right code.")
    assert page.index("That is not the right code.") < page.index("Access code The sender")
    lynx.to_field()
    lynx.type(code)
    lynx.press("Down", "Enter")


def _read(lynx: Lynx) -> None:
    page = lynx.page(f"{SUBJECT} – Clinic Example", "Save the whole message")
    assert "From Jörg Arzt <joerg@clinic.example> sent by anna@clinic.example To rita@patients.example" in page
    assert "Attachments (2)" in page
    assert "Röntgen.bin 300.0 kB" in page
    lynx.follow("Text of the message")
    page = lynx.page("Der Befund ist unauffällig.", "Termin")
    assert "(Text)" not in page, "this is what the sender formatted"
    lynx.press("Left")
    lynx.page("Save the whole message")
    lynx.follow("Show it as plain text")
    lynx.page("Der Befund ist unauffällig (Text).", "Show it as formatted by the sender")


def _save(lynx: Lynx, post: Post) -> None:
    before = _downloads(post)
    for link, name, content in (
        ("Röntgen.bin", "Rontgen.bin", letters.ATTACHMENT),
        ("Save the whole message", "message.eml", letters.RICH),
    ):
        lynx.follow(link)
        lynx.read("D)ownload, or C)ancel")
        lynx.type("d")
        lynx.read("Save to disk")
        lynx.press("Down", "Enter")
        lynx.read(f"Enter a filename: {name}")
        lynx.press("Enter")
        _check_saved(lynx.folder / name, content)
        lynx.press("Left")
        lynx.page("Save the whole message")
    assert _downloads(post) == before + 2


def _check_saved(file: Path, content: bytes) -> None:
    wait_until(lambda: file.exists() and file.stat().st_size >= len(content), 60, file.name)
    assert file.read_bytes() == content


def _reply(lynx: Lynx, post: Post) -> None:
    lynx.follow("Reply")
    page = lynx.page("Reply – Clinic Example", "Your reply", "Attach files", "Send the reply", "Back to the message")
    assert "To anna@clinic.example Subject Re: Befund und Röntgenbild" in page
    (lynx.folder / "antwort.txt").write_text("Mit Dank zurück.", encoding="utf-8")
    for field, typed in (("Textarea", "Vielen Dank für den Befund."), ("File entry field", "antwort.txt")):
        lynx.press("Tab")
        lynx.read(f"({field})")
        lynx.type(typed)
        lynx.read(typed)
    lynx.press("Tab")
    lynx.read("(Form submit button)")
    lynx.press("Enter")
    lynx.page("Your reply is on its way – Clinic Example", "We send it to anna@clinic.example.")
    with post.store.read() as session:
        replied = session.scalars(select(AuditRecord).where(AuditRecord.action == "replied")).one()
    assert replied.detail == {"recipients": 1, "files": 1}
    lynx.follow("Back to the message")
    lynx.page("Save the whole message")


def _close(lynx: Lynx) -> None:
    lynx.press("Tab")
    lynx.read("(Form submit button)")
    lynx.press("Enter")
    page = lynx.page("Closed – Clinic Example")
    assert SUBJECT not in page


class W3m(Terminal):
    """w3m, where one looks for a link to get onto it."""

    def __init__(self, folder: Path, address: str) -> None:
        super().__init__(folder, "w3m", "-cookie", address)

    def page(self, *texts: str) -> str:
        """Wait for a page on which ``texts`` stand, and have w3m wait for a key."""
        read = self.read(*texts, "Viewing <")
        assert not any(each in read for each in NEVER)
        return read

    def follow(self, link: str) -> None:
        self.type("/")
        self.read("Forward:")
        self.type(link)
        self.press("Enter")
        self.page(link)
        self.press("Enter")


HTML_ONLY = (
    b"From: anna@clinic.example\r\nTo: rita@patients.example\r\nSubject: Termin\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/html; charset=utf-8\r\n\r\n<h1>Ihr Termin</h1><p>Am <b>Montag</b> um 9 Uhr.</p>"
)


@pytest.mark.behaviour("P7")
@pytest.mark.behaviour("P9")
@pytest.mark.behaviour("P13")
def test_a_pickup_in_w3m(post: Post, tmp_path: Path) -> None:
    link = post.waiting(HTML_ONLY)
    with W3m(tmp_path, f"{post.settings.portal.url}/p/{link.token}") as w3m:
        w3m.page("A message is waiting for you", "Number of your notice", "Change language")
        w3m.press("Tab", "Enter")
        w3m.read("TEXT:")
        w3m.type(link.number)
        w3m.press("Enter")
        w3m.page(f"[{link.number}")
        w3m.press("Tab", "Enter")
        w3m.page("Viewing <Termin – Clinic Example>", "From anna@clinic.example", "Save the whole message")
        w3m.follow("Text of the message")
        w3m.page("Ihr Termin", "Am Montag um 9 Uhr.")
        w3m.type("B")
        w3m.page("Save the whole message")
        w3m.follow("Save the whole message")
        w3m.read("message.eml")
        w3m.press("Enter")
        _check_saved(tmp_path / "message.eml", HTML_ONLY)
