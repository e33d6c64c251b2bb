"""Files without a structure of their own: text in any charset, messages, and what nobody can read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from restante.classify.extract.job import Job, Part

_RUN = re.compile(rb"[\x20-\x7e\t\r\n\x80-\xff]{6,}")
_WIDE_RUN = re.compile(rb"(?:[\x20-\x7e\t\r\n]\x00){6,}")
_XMP = re.compile(rb"<x:xmpmeta.{1,262144}?</x:xmpmeta>", re.DOTALL)
_BEYOND = bytes(range(128, 256))
_EDGE = 16 << 10
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


def read_text(job: Job, part: Part, *, markup: bool) -> None:
    """Text: its bytes as they are, for the service knows the readings of charsets."""
    job.output.text(part.place, wide_charsets(part.content[:4096]), markup=markup)
    job.output.data(part.content)


def read_message(job: Job, part: Part) -> None:
    """A message goes back whole: the service walks messages."""
    job.output.message(part.place)
    job.output.data(part.content)


def read_unknown(job: Job, part: Part) -> None:
    """Text in UTF-16 or UTF-32 without a mark, or nothing that anybody knows."""
    charsets = wide_charsets(part.content[:4096])
    if charsets:
        job.output.text(part.place, charsets)
        job.output.data(part.content)
        return
    say_runs(job, part.place, part.content)
    job.output.sealed(part.place, "unknown format")


def read_mute(job: Job, part: Part) -> None:
    """Sound, film, programs, fonts: metadata, which stand at either end, and XMP wherever it is."""
    content = part.content
    edges = content if len(content) <= 2 * _EDGE else content[:_EDGE] + b"\n" + content[-_EDGE:]
    say_runs(job, part.place, edges)
    say_xmp(job, part.place, content)


def say_xmp(job: Job, place: str, content: bytes) -> None:
    """Metadata in XMP (ISO 16684-1), which any format may carry."""
    for packet in _XMP.findall(content)[:20]:
        job.output.text(place, markup=True)
        job.output.data(packet)


def say_runs(job: Job, place: str, content: bytes) -> None:
    """Whatever in ``content`` looks like text, one run a line."""
    # In noise, every other byte is beyond ASCII; in text of most charsets with letters of ASCII, few are.
    runs = [run.strip() for run in _RUN.findall(content) if 4 * len(run.translate(None, _BEYOND)) > 3 * len(run)]
    runs += [run.replace(b"\0", b"").strip() for run in _WIDE_RUN.findall(content)]
    text = b"\n".join(run for run in runs if run)
    if text:
        job.output.text(place)
        job.output.data(text)


def wide_charsets(head: bytes) -> tuple[str, ...]:
    """Charsets of more than one byte a character that ``head`` looks like, by where its zero bytes stand."""
    for mark, charset in _MARKS:
        if head.startswith(mark):
            return (charset,)
    size = len(head) // 4
    zeros = [head[at : size * 4 : 4].count(0) / max(size, 1) for at in range(4)]
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    found = (
        ("utf-32-be", min(zeros[0], zeros[1]) > 0.9 and zeros[3] < 0.1),
        ("utf-32-le", min(zeros[2], zeros[3]) > 0.9 and zeros[0] < 0.1),
        ("utf-16-le", odd > 0.6 and even < 0.1),
        ("utf-16-be", even > 0.6 and odd < 0.1),
    )
    return tuple(charset for charset, looks in found if looks and size > 1)[:1]
