"""Attachments on their way through the milter: what they hold decides, and what nobody can read goes by the policy."""

from __future__ import annotations

import base64
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.attachment_samples import PLAIN, encrypted_zip, letter, zipped
from tests.lab.waiting import wait_until
from tests.milter.client import ACCEPT, DISCARD, PROGRESS, MilterClient
from tests.milter.conftest import HELD_RECIPIENT, SENDER, Installation, install

POLICY = """
[[rule]]
name = "cards"
when = [{ detectors = ["payment-card"], confidence = "high" }]

[[rule]]
name = "unreadable"
when = [{ detectors = ["cannot-inspect"] }]
tls = "encrypted"
otherwise = "quarantine"

[[domain]]
name = "portal-only.example"
mode = "portal-only"
"""


@pytest.fixture(scope="module")
def fresh() -> Iterator[tuple[Installation, set[int]]]:
    """A running milter, and the extractors that it had started after mail without attachments."""
    for installation in install({"milter.processes": "1"}):
        installation.policy.write_text(POLICY, encoding="utf-8")
        installation.start()
        answer = installation.ask(b"From: ann@site.example\r\nSubject: a\r\n\r\nb\r\n", HELD_RECIPIENT)
        assert answer.letter == ACCEPT
        yield installation, extractors(installation)


@pytest.fixture
def running(fresh: tuple[Installation, set[int]]) -> Installation:
    return fresh[0]


def message(number: int, name: str, content: bytes) -> bytes:
    head = (
        f"From: {SENDER}\r\nSubject: files\r\nMessage-ID: <attached-{number}@site.example>\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: application/octet-stream; name="{name}"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    )
    return head.encode() + base64.encodebytes(content).replace(b"\n", b"\r\n")


def descendants(pid: int) -> set[int]:
    """The processes below ``pid``, grandchildren included: extractors, where children of the milter are given."""
    words = Path(f"/proc/{pid}/task").glob("*/children")
    children = {int(word) for path in words for word in path.read_text(encoding="ascii").split()}
    return children.union(*map(descendants, children))


def extractors(installation: Installation) -> set[int]:
    return set().union(*map(descendants, installation.children()))


@pytest.mark.behaviour("C1")
def test_a_card_number_in_a_document_in_an_archive_is_held(running: Installation) -> None:
    document = letter(lambda one: one.add_paragraph("Card number: 4111 1111 1111 1111"))
    answer = running.ask(message(1, "files.zip", zipped(("letter.docx", document))), HELD_RECIPIENT)
    assert answer.letter == DISCARD
    assert answer.deleted == [f"<{HELD_RECIPIENT}>".encode()]
    assert HELD_RECIPIENT in running.held()


@pytest.mark.behaviour("C4")
def test_an_archive_with_a_password_goes_by_the_policy(running: Installation) -> None:
    before = running.held()
    answer = running.ask(message(2, "files.zip", encrypted_zip()), HELD_RECIPIENT)
    assert answer.letter == DISCARD
    assert len(running.held()) == len(before) + 1


def test_an_ordinary_attachment_passes(running: Installation) -> None:
    answer = running.ask(message(3, "files.zip", zipped(("a.txt", b"nothing of note"))), HELD_RECIPIENT)
    assert (answer.letter, answer.deleted) == (ACCEPT, [])


def test_no_extractor_is_started_for_mail_without_attachments(fresh: tuple[Installation, set[int]]) -> None:
    assert fresh[1] == set()


@pytest.mark.behaviour("C4")
def test_the_milter_outlives_an_extractor_and_keeps_the_mta_patient(running: Installation) -> None:
    running.ask(message(4, "files.zip", zipped(("a.txt", b"nothing"))), HELD_RECIPIENT)
    (extractor,) = extractors(running)
    os.kill(extractor, signal.SIGSTOP)
    held = len(running.held())
    with MilterClient(running.socket) as client:
        client.open()
        client.envelope(SENDER, [HELD_RECIPIENT])
        client.content(message(5, "files.zip", zipped(("a.txt", PLAIN))))
        client.packet(b"E")
        letter_, _ = client.read()
        assert letter_ == PROGRESS
        os.kill(extractor, signal.SIGKILL)
        assert client.answer().letter == DISCARD
    assert len(running.held()) == held + 1
    wait_until(lambda: not Path(f"/proc/{extractor}").exists(), 10, "the end of the extractor")
    again = running.ask(message(6, "files.zip", zipped(("a.txt", b"nothing"))), HELD_RECIPIENT)
    assert again.letter == ACCEPT
