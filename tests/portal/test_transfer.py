"""Encoded content from any offset on: what a download that goes on after a cut is made of."""

from __future__ import annotations

import base64
import quopri
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restante_portal.reading import Part
from restante_portal.transfer import STEP, decoded, decoded_range, measure

CHUNK = 65_536


class Blob:
    """The pieces that a blob's reader gives: they end where its chunks end, wherever they begin."""

    def __init__(self, content: bytes, chunk: int = CHUNK) -> None:
        self.content, self._chunk, self.given = content, chunk, 0

    def read(self, start: int, end: int) -> Iterator[bytes]:
        while start < end:
            behind = min(end, start - start % self._chunk + self._chunk)
            self.given += behind - start
            yield self.content[start:behind]
            start = behind


def part_of(encoding: str, start: int, end: int) -> Part:
    return Part(1, start, end, "application/x", "", encoding, "a.bin", "", attached=True, alternative=-1)


@pytest.mark.behaviour("P7")
@given(
    content=st.one_of(
        st.binary(max_size=600),
        st.binary(max_size=400).map(base64.encodebytes),
        st.binary(max_size=400).map(quopri.encodestring),
        st.text(alphabet="ABCDabcd01+/=-= \r\n\t\x80", max_size=600).map(lambda text: text.encode("latin-1")),
    ),
    encoding=st.sampled_from(["base64", "quoted-printable", "8bit", "x-unknown"]),
    chunk=st.integers(1, 90),
    step=st.integers(1, 60),
    numbers=st.tuples(st.integers(0, 700), st.integers(0, 700), st.integers(0, 9)),
)
@settings(max_examples=400, deadline=None)
def test_a_range_is_what_the_whole_has_there(
    content: bytes, encoding: str, chunk: int, step: int, numbers: tuple[int, int, int]
) -> None:
    blob = Blob(content, chunk)
    part = part_of(encoding, min(numbers[2], len(content)), len(content))
    whole = b"".join(decoded(blob.read, part))
    measured = measure(blob.read, part, step)
    start, end = sorted(min(number, len(whole)) for number in numbers[:2])
    assert measured.size == len(whole)
    assert b"".join(decoded_range(blob.read, part, measured, start, end)) == whole[start:end]


@pytest.mark.behaviour("P7")
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "binary"])
def test_resuming_costs_no_more_the_further_the_download_had_come(encoding: str) -> None:
    raw = random.Random(3).randbytes(3 * STEP).hex().encode()  # what survives quoted-printable as it is
    encoded = {"base64": base64.encodebytes, "quoted-printable": quopri.encodestring}
    blob = Blob(b"head" + (encoded[encoding](raw) if encoding in encoded else raw))
    part = part_of(encoding, 4, len(blob.content))
    measured = measure(blob.read, part)
    for start in (0, STEP, 3 * STEP + 17, 6 * STEP - 1):
        blob.given = 0
        got = b"".join(decoded_range(blob.read, part, measured, start, start + 1000))
        assert got == raw[start : start + 1000]
        assert blob.given <= STEP + 2 * CHUNK
