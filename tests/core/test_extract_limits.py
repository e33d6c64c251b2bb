"""Attachments that are made to hurt: bounded time and memory, a finding each, and a service that goes on."""

from __future__ import annotations

import base64
import gzip
import io
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from restante.classify.engine import Classifier
from restante.classify.extract.limits import Limits, Meter, Unreadable
from restante.classify.extract.pool import ExtractorPool
from restante.classify.extract.wire import BadFrame, Frame, FrameReader, Kind, encode, encode_fields
from restante.classify.finding import Classification
from restante.policy import Policy
from tests.core.attachment_samples import FOUND, MESSAGE, PLAIN, pdf_of, tarred, zipped
from tests.core.test_extract_formats import cards, mail, sealed

MIB = 1 << 20
SMALL = Limits(seconds=60, size=8 * MIB, members=200)


class Notes:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.read = 0
        self.problems: dict[str, str] = {}
        self.on_data: Callable[[], None] = lambda: None

    def text(self, place: str, charsets: tuple[str, ...], *, markup: bool) -> None:
        self.begun.append(f"{place} {charsets} {markup}")

    def message(self, place: str) -> None:
        self.begun.append(place)

    def data(self, data: bytes) -> None:
        self.read += len(data)
        self.on_data()

    def sealed(self, place: str, reason: str) -> None:
        self.problems[place] = reason


def run(pool: ExtractorPool, content: bytes, notes: Notes | None = None, *, seconds: float = 60) -> Notes:
    notes = notes or Notes()
    descriptor = os.memfd_create("test")
    try:
        os.write(descriptor, content)
        pool.extract(descriptor, "a", notes, time.monotonic() + seconds, lambda: None)
    finally:
        os.close(descriptor)
    return notes


@pytest.fixture(scope="module")
def pool() -> Iterator[ExtractorPool]:
    pool = ExtractorPool(SMALL)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def classifier(pool: ExtractorPool) -> Classifier:
    return Classifier(Policy.default(), extractor=pool)


def classify(classifier: Classifier, name: str, content: bytes) -> Classification:
    return classifier.classify(io.BytesIO(mail(name, content)))


ZEROS = bytes(10 * MIB)


def _matryoshka(levels: int) -> bytes:
    content = zipped(("a.txt", PLAIN))
    for _ in range(levels):
        content = zipped(("next.zip", content))
    return content


def _forty_two() -> bytes:
    """Sixteen zips of sixteen zips of one file that unpacks to a lot."""
    content = zipped(("0.dll", ZEROS[: 5 * MIB]))
    for _ in range(2):
        content = zipped(*((f"{number}.zip", content) for number in range(16)))
    return content


def _laughs(place: str) -> bytes:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    xml = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "ha">{entities}]><x>&l9;</x>'.encode()
    return zipped(("[Content_Types].xml", b"<Types/>"), (place, xml))


def _pdf_loop() -> bytes:
    return pdf_of([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 9999999>>"])


def _quine() -> bytes:
    """A gzip file that unpacks to a tar archive with another in it, and so on, further than anybody packs."""
    content = PLAIN
    for _ in range(15):
        content = gzip.compress(tarred(("again.tgz", content)))
    return content


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "zeros.zip": (lambda: zipped(("zeros", ZEROS)), "unpacks to more than"),
    "zeros.gz": (lambda: gzip.compress(ZEROS), "unpacks to more than"),
    "line.zip": (lambda: zipped(("line.txt", b"a" * (10 * MIB))), "unpacks to more than"),
    "42.zip": (_forty_two, "unpacks to more than"),
    "deep.zip": (lambda: _matryoshka(12), "deep"),
    "quine.tgz": (_quine, "deep"),
    "many.zip": (lambda: zipped(*((f"{n}.txt", b"x") for n in range(300))), "more than 200 files"),
    "laughs.docx": (lambda: _laughs("word/document.xml"), "entities"),
    "loop.pdf": (_pdf_loop, "PDF"),
}


@pytest.mark.behaviour("C4")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_a_finding(pool: ExtractorPool, name: str) -> None:
    make, reason = BOMBS[name]
    content = make()
    began = time.monotonic()
    notes = run(pool, content)
    assert any(reason in one for one in notes.problems.values()), notes.problems
    assert notes.read <= 2 * SMALL.size
    assert time.monotonic() - began < 60


def test_what_unpacks_to_many_times_its_size_is_stopped_early() -> None:
    meter = Meter(Limits(), 1000)
    meter.unpacked(16 * MIB)
    with pytest.raises(Unreadable, match="200 times"):
        meter.unpacked(1)
    meter = Meter(Limits(), MIB)
    meter.unpacked(200 * MIB)


def test_what_came_before_a_bomb_is_found(classifier: Classifier) -> None:
    result = classify(classifier, "a.zip", zipped(("a.txt", PLAIN), ("b", ZEROS)))
    assert cards(result) == ["attachment:a.zip/a.txt"]
    assert sealed(result)


def test_thousands_of_messages_in_an_archive_take_few_descriptors(classifier: Classifier) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    content = zipped(*((f"{n}.eml", MESSAGE) for n in range(150)))
    seen: list[int] = []
    source = io.BytesIO(mail("a.zip", content))
    original = os.memfd_create

    def counted(name: str, flags: int = 0) -> int:
        seen.append(1)
        return original(name, flags)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "memfd_create", counted)
        result = classifier.classify(source)
    assert len(cards(result)) == 150
    assert len(seen) <= 2
    # What a test before left to the collector of garbage may be closed meanwhile.
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_ten_thousand_members_take_bounded_time() -> None:
    pool = ExtractorPool(Limits())
    try:
        notes = run(pool, zipped(*((f"{n}", b"x") for n in range(10_000)), method=zipfile.ZIP_STORED))
        assert list(notes.problems.values()) == ["more than 5000 files"]
    finally:
        pool.close()


@pytest.mark.behaviour("C4")
@pytest.mark.parametrize("name", ["runs.docx", "page.pdf", "all.7z", "all.tar.gz", "old.xls", "deep.zip", "old.doc"])
def test_cut_files_are_never_clean(pool: ExtractorPool, name: str) -> None:
    content = FOUND[name]()
    for number in range(1, 21):
        notes = run(pool, content[: len(content) * number // 21])
        assert notes.problems, f"cut at {number}/21"


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_never_stop_the_service(pool: ExtractorPool, seed: int) -> None:
    dice = random.Random(seed)
    for name in ("comment.xlsx", "annotation.pdf", "attached.msg", "object.rtf", "zip.txt", "text.png", "old.ppt"):
        content = bytearray(FOUND[name]())
        for _ in range(dice.randrange(1, 30)):
            content[dice.randrange(len(content))] = dice.randrange(256)
        run(pool, bytes(content))
    assert run(pool, FOUND["text.zip"]()).problems == {}


def test_an_extractor_that_is_killed_in_mid_work_is_a_finding(classifier: Classifier, pool: ExtractorPool) -> None:
    run(pool, PLAIN)
    (pid,) = pool.pids()
    notes = Notes()
    notes.on_data = lambda: os.kill(pid, signal.SIGKILL)
    many = zipped(*((f"{n}.txt", PLAIN * 5000) for n in range(100)))
    assert run(pool, many, notes).problems == {"": "the extractor died of it"}
    assert cards(classify(classifier, "a.zip", FOUND["text.zip"]()))
    assert pool.pids() != [pid]


def test_an_extractor_that_hangs_is_ended() -> None:
    pool = ExtractorPool(Limits(seconds=1))
    try:
        run(pool, PLAIN)
        (pid,) = pool.pids()
        os.kill(pid, signal.SIGSTOP)
        assert run(pool, PLAIN).problems == {"": "takes longer than 1 seconds to read"}
        assert pool.pids() == []
        assert run(pool, PLAIN).problems == {}
    finally:
        pool.close()


def test_who_finds_no_time_left_is_told(pool: ExtractorPool) -> None:
    assert run(pool, PLAIN, seconds=0).problems == {"": "no time was left to read it"}


def test_memory_is_bounded() -> None:
    pool = ExtractorPool(Limits(memory=300 * MIB, size=1024 * MIB, ratio=10_000))
    try:
        inner = b"\xfd" * (100 * MIB)
        notes = run(
            pool,
            zipped(
                (
                    "a",
                    zipped(("b", inner)),
                )
            ),
        )
        assert notes.problems
        assert run(pool, FOUND["page.pdf"]()).problems == {}
    finally:
        pool.close()


LIES = {
    "long": b"D\xff\xff\xff\xff",
    "unknown": b"?\0\0\0\0",
    "fields": encode(Kind.TEXT, b"only one"),
    "data-without-text": encode(Kind.DATA, b"x"),
    "ready-again": encode_fields(Kind.READY, "x"),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_extractor_that_lies_is_ended(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a document had taken it over: the service believes nothing that is not as agreed."""
    ours, theirs = socket.socketpair()
    theirs.sendall(encode_fields(Kind.READY, "") + LIES[lie])
    pool = ExtractorPool(Limits())

    class Puppet:
        jobs, held, pid = 0, "", 0
        reader = FrameReader(ours)

        def __init__(self, limits: Limits) -> None:
            del limits

        def await_ready(self, waiting: Callable[[], None]) -> None:
            assert self.frame(time.monotonic() + 5, waiting).kind is Kind.READY

        def send(self, descriptor: int, name: str) -> None:
            del descriptor, name

        def frame(self, deadline: float, waiting: Callable[[], None]) -> Frame:
            return self.reader.read(lambda: deadline - time.monotonic(), waiting)

        def close(self) -> None:
            ours.close()

    monkeypatch.setattr("restante.classify.extract.pool._Process", Puppet)
    with theirs:
        assert run(pool, PLAIN).problems == {"": "the extractor gave an answer that makes no sense"}
    assert pool.pids() == []


def test_texts_in_frames_cannot_steer_a_terminal() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(encode_fields(Kind.SEALED, "a\x1b[2Jb", "c\nd"))
        frame = FrameReader(ours).read(lambda: 5.0, lambda: None)
        assert frame.fields(2) == ["a?[2Jb", "c?d"]
        with pytest.raises(BadFrame):
            frame.fields(3)


ESCAPES = """
import os, socket, subprocess, sys, signal
from restante.classify.extract.confine import confine, limit
limit(1 << 30)
held = set(confine())
assert {"no-new-privileges", "landlock", "seccomp"} <= held, held
def refused(attempt):
    try:
        attempt()
    except (OSError, subprocess.SubprocessError):
        return
    raise SystemExit(f"allowed: {attempt}")
refused(lambda: socket.socket())
refused(lambda: socket.socket(socket.AF_UNIX))
refused(lambda: open("/etc/passwd"))
refused(lambda: open("/tmp/restante-escape", "w"))
refused(lambda: os.fork())
refused(lambda: subprocess.run(["/bin/true"]))
refused(lambda: os.execv("/bin/true", ["true"]))
refused(lambda: os.kill(os.getppid(), 0))
refused(lambda: os.write(os.memfd_create("x"), b"x"))
import threading, encodings.cp1251, xlrd
thread = threading.Thread(target=print, args=("confined",))
thread.start()
thread.join()
"""


def test_an_extractor_can_reach_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", textwrap.dedent(ESCAPES)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "confined\n"), done.stderr


def test_a_large_attachment_does_not_lie_in_the_memory_of_the_service(classifier: Classifier) -> None:
    noise = random.Random(0).randbytes(MIB)
    content = zipped(*((f"{n}.bin", b"MZ" + noise) for n in range(7)), method=zipfile.ZIP_STORED)
    source = io.BytesIO(mail("a.zip", b"") + base64.encodebytes(content))
    del content
    tracemalloc.start()
    try:
        result = classifier.classify(source)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sealed(result) == {}
    assert peak < 4 * MIB
