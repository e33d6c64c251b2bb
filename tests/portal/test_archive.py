"""All attachments as one archive: each byte by byte, under a name of its own, in pieces, and for the window alone."""

from __future__ import annotations

import io
import zipfile
from urllib.parse import quote

import pytest
from sqlalchemy import select, update

from restante.store.models import AuditRecord, BlobSegment
from tests.portal import letters
from tests.portal.conftest import URL, Browser, Post

FILES = (
    ("report.pdf", b"one"),
    ("Report.PDF", b"two"),
    ("report.pdf", b"three"),
    ("../../etc/passwd", b"four"),
    ("Röntgen\u202egpj.exe", b"five"),
    ("empty", b""),
    ("large.bin", bytes(range(256)) * 4000),
)
NAMES = ["report.pdf", "Report (2).PDF", "report (3).pdf", "passwd", "Röntgen gpj.exe", "empty", "large.bin"]


def _letter(*files: tuple[str, bytes]) -> bytes:
    parts = b"".join(
        b"--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment;\r\n filename*=utf-8''%b\r\n"
        b"Content-Transfer-Encoding: binary\r\n\r\n%b\r\n" % (quote(name, safe="").encode(), content)
        for name, content in files
    )
    head = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    return head + b"--b\r\n\r\nhello\r\n" + parts + b"--b--\r\n"


@pytest.mark.behaviour("P7")
def test_all_attachments_come_as_one_archive(post: Post, browser: Browser) -> None:
    browser.open(post.waiting(_letter(*FILES)))
    page = browser.get("/message").text
    assert "Save all attachments (ZIP)" in page
    answer = browser.get("/message/attachments.zip")
    assert answer.status_code == 200
    assert answer.mimetype == "application/zip"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="attachments.zip"')
    assert int(answer.headers["Content-Length"]) == len(answer.data)
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == NAMES
        assert [archive.read(name) for name in NAMES] == [content for _, content in FILES]
    sizes = browser.client.head("/message/attachments.zip", base_url=URL).headers["Content-Length"]
    assert int(sizes) == len(answer.data)
    with post.store.read() as session:
        told = session.scalars(select(AuditRecord.detail).where(AuditRecord.action == "downloaded")).all()
    assert [one["part"] for one in told] == [-1]


def test_it_is_made_while_it_is_sent(post: Post, browser: Browser) -> None:
    browser.open(post.waiting(_letter(*FILES)))
    answer = browser.get("/message/attachments.zip", buffered=False)
    sizes = [len(piece) for piece in answer.response]
    assert sum(sizes) > 1_000_000
    assert max(sizes) <= 1 << 16


def test_one_attachment_needs_no_archive(post: Post, browser: Browser) -> None:
    browser.open(post.waiting(_letter(("a.pdf", b"one"))))
    assert "ZIP" not in browser.get("/message").text


def test_a_message_without_attachments_has_no_archive(post: Post, browser: Browser) -> None:
    browser.open(post.waiting())
    assert browser.get("/message/attachments.zip").status_code == 404


def test_nobody_else_gets_it(post: Post, browser: Browser) -> None:
    browser.open(post.waiting(letters.RICH))
    stranger = Browser(browser.client.application)
    assert stranger.get("/message/attachments.zip").status_code == 403


def test_a_damaged_message_is_an_error_page_and_no_broken_archive(post: Post, browser: Browser) -> None:
    browser.open(post.waiting(_letter(*FILES)))
    browser.get("/message")
    with post.store.write() as session:
        session.execute(update(BlobSegment).values(data=b"\0" * 70_000))
    answer = browser.get("/message/attachments.zip")
    assert answer.status_code == 503
    assert b"PK" not in answer.data
