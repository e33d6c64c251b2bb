"""The message on its way through the milter: whole, readable from any offset, and on disk only sealed."""

from __future__ import annotations

import hashlib
import hmac
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restante.vault import CHUNK, DataKey
from restante_milter.message import SPOOL_ABOVE, MessageBuffer

HEADERS = [("Subject", b"one\n two"), ("X-Odd", b"\xff\xfe\x00"), ("From", b"a@b.example")]
HEAD = b"Subject: one\r\n two\r\nX-Odd: \xff\xfe\x00\r\nFrom: a@b.example\r\n\r\n"


def _buffer(body: bytes, piece: int = 65_535) -> MessageBuffer:
    message = MessageBuffer()
    for name, value in HEADERS:
        message.add_header(name, value)
    for start in range(0, len(body), piece):
        message.add_body(body[start : start + piece])
    return message


SIZES = [0, 1, CHUNK, SPOOL_ABOVE - 1, SPOOL_ABOVE, SPOOL_ABOVE + 1, SPOOL_ABOVE + CHUNK, 3 * SPOOL_ABOVE + 17]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [1000, 65_535])
def test_what_was_added_comes_back(size: int, piece: int) -> None:
    body = random.Random(size).randbytes(size)
    message = _buffer(body, piece)
    assert b"".join(message.pieces()) == HEAD + body
    assert message.size == len(HEAD) + size
    with message.open() as file:
        assert file.read() == HEAD + body
    # Twice: classification, digest and sealing each read it from the start.
    assert b"".join(message.pieces()) == HEAD + body
    message.close()


@given(st.lists(st.tuples(st.integers(0, 2_200_000), st.integers(0, 200_000)), max_size=6))
@settings(max_examples=40, deadline=None)
def test_any_part_of_a_spooled_message_can_be_read(parts: list[tuple[int, int]]) -> None:
    body = random.Random(7).randbytes(2_000_000)
    message = _buffer(body)
    with message.open() as file:
        for start, length in parts:
            file.seek(start)
            assert file.read(length) == (HEAD + body)[start : start + length]
    message.close()


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:  # the one that listed the folder
        return ""


def test_above_the_limit_the_disk_holds_no_plain_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    message = _buffer(b"TOP-SECRET-CONTENT\r\n" * 150_000)
    assert list(tmp_path.iterdir()) == []  # unlinked as soon as it was made
    spools = [path for path in Path("/proc/self/fd").iterdir() if str(tmp_path) in _target(path)]
    assert len(spools) == 1
    raw = spools[0].read_bytes()
    assert len(raw) > SPOOL_ABOVE
    assert b"TOP-SECRET" not in raw
    message.close()


def test_a_header_is_found_in_any_case_and_the_first_one_is_replaced() -> None:
    message = MessageBuffer()
    for value in (b"one", b"two"):
        message.add_header("Subject", value)
    assert message.header("sUBJECT") == b"one"
    assert message.header("From") is None
    message.replace_header("SUBJECT", b"three")
    assert message.head() == b"Subject: three\r\nSubject: two\r\n\r\n"


@pytest.mark.parametrize("size", SIZES)
def test_sealing_gives_the_whole_message_and_the_digest_is_that_of_its_bytes(size: int) -> None:
    body = random.Random(size).randbytes(size)
    message = _buffer(body)
    key = DataKey.fresh("blob")
    chunks = list(message.sealed(key))
    plain = b"".join(key.open_chunk(chunk, index, last=index == len(chunks) - 1) for index, chunk in enumerate(chunks))
    assert plain == HEAD + body
    assert message.digest(b"k") == hmac.new(b"k", HEAD + body, hashlib.sha256).digest()
    message.close()
