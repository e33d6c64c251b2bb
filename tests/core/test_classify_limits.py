"""Hostile and huge input: never an exception, bounded time, bounded memory, and nothing passes as clean."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from restante.classify.engine import Classifier
from restante.classify.finding import Classification
from restante.policy import Policy

CARD = b"4111 1111 1111 1111"
CLASSIFIER = Classifier(Policy.default())


def classify(message: bytes) -> Classification:
    return CLASSIFIER.classify(io.BytesIO(message))


def detectors(result: Classification) -> set[str]:
    return {hit.detector for hit in result.findings}


FRAGMENTS = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=b\n",
        b"Content-Type: text/html; charset=utf-16\n",
        b"--b\n",
        b"--b--\n",
        b"\n",
        b"Content-Type: message/rfc822\n",
        b"Content-Transfer-Encoding: base64\n",
        b"Content-Transfer-Encoding: base64 x\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"NDExMSAxMTExIDExMTEgMTExMQ==\n",
        b"4111 1111 1111 1111",
        b"=\n",
        b"=3D",
        b"\x00",
        b"\xff\xfe",
        b"<b>",
        b"<!--",
        b"&#x41",
        b"Subject: =?utf-8?B?",
        b"?=",
        b"\r",
        b" ",
        b"From x\n",
        b": \n",
        b"--",
        b'Content-Disposition: attachment; filename*0*="',
        b"Content-Type: multipart/digest; boundary=c\n",
        b"--c\n",
        b"PK\x03\x04",
        b"Content-Type: text/plain; charset=hz\n",
        b"~{",
        b"\x1b$B",
        b"Content-Type: text/plain; charset=utf-7\n",
        b"+AGEA",
    ]
)


@settings(max_examples=400, deadline=2000, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FRAGMENTS | st.binary(max_size=40), max_size=40).map(b"".join))
def test_any_bytes_give_a_classification(message: bytes) -> None:
    whole = classify(message)
    small = Classifier.classify(SMALL, io.BytesIO(message))
    assert [(hit.detector, hit.place, hit.match) for hit in whole.findings] == [
        (hit.detector, hit.place, hit.match) for hit in small.findings
    ]


SMALL = Classifier(Policy.default(), block=3)


@settings(max_examples=200, deadline=2000)
@given(st.binary(max_size=2000))
def test_random_bytes_give_a_classification(message: bytes) -> None:
    classify(message)


@settings(max_examples=100, deadline=2000)
@given(
    st.binary(max_size=300),
    st.sampled_from(["utf-8", "utf-16", "utf-7", "hz", "iso-2022-jp", "gb18030", "big5", "cp500", "utf-32"]),
)
def test_any_bytes_in_any_charset(body: bytes, charset: str) -> None:
    classify(f"Content-Type: text/html; charset={charset}\n\n".encode() + body)


def _nested_multiparts(depth: int) -> bytes:
    openings = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(depth))
    closings = b"".join(b"\n--b%d--" % n for n in reversed(range(depth)))
    return openings + b"\n" + CARD + closings


_HTML = b"Content-Type: text/html\n\n"
HOSTILE: tuple[tuple[str, Callable[[], bytes], set[str]], ...] = (
    ("1,000 nested multiparts", lambda: _nested_multiparts(1000), {"cannot-inspect", "payment-card"}),
    (
        "1,000 nested messages",
        lambda: b"Content-Type: message/rfc822\n\n" * 1000 + b"\n" + CARD,
        {"cannot-inspect", "payment-card"},
    ),
    (
        "10,000 parts",
        lambda: (
            b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 10_000 + b"--b\n\n" + CARD + b"\n--b--"
        ),
        {"cannot-inspect", "payment-card"},
    ),
    (
        "10,000 parts, card in base64",
        lambda: (
            b"Content-Type: multipart/mixed; boundary=b\n\n"
            + b"--b\n\nx\n" * 10_000
            + b"--b\nContent-Transfer-Encoding: base64\n\n"
            + base64.b64encode(CARD)
            + b"\n--b--"
        ),
        {"cannot-inspect", "payment-card"},
    ),
    (
        "header of 1 MiB",
        lambda: b"X-A: " + b"a" * (1 << 20) + b"\nContent-Type: text/plain\n\n" + CARD,
        {"cannot-inspect", "payment-card"},
    ),
    ("200,000 header lines", lambda: b"X-A: b\n" * 200_000 + b"\n" + CARD, {"cannot-inspect", "payment-card"}),
    (
        "8,000 addresses",
        lambda: b"To: " + b",\n ".join(b"user%d@example.com" % n for n in range(8000)) + b"\n\n" + CARD,
        {"payment-card"},
    ),
    ("NUL bytes", lambda: b"\0" * 100_000 + b"\n\n" + CARD, {"ambiguous-mime", "payment-card"}),
    (
        "a subject of encoded words",
        lambda: b"Subject: " + b"=?utf-8?q?x?=\n " * 15_000 + b"\n\n" + CARD,
        {"payment-card"},
    ),
    ("only tags", lambda: b"Content-Type: text/html\n\n" + b"<" * 2_000_000 + CARD, {"payment-card"}),
    ("open comments", lambda: b"Content-Type: text/html\n\n" + b"<!--" * 500_000 + CARD, {"payment-card"}),
    ("ampersands", lambda: b"Content-Type: text/html\n\n" + b"&" * 2_000_000 + b" " + CARD, {"payment-card"}),
    ("parameters", lambda: b"Content-Type: text/plain" + b"; a=b" * 40_000 + b"\n\n" + CARD, {"payment-card"}),
    ("quotes", lambda: b'Content-Type: text/plain; a="' + b'\\"' * 100_000 + b"\n\n" + CARD, {"payment-card"}),
    ("hidden elements", lambda: _HTML + b'<i style="display:none">' * 40_000 + CARD, {"payment-card"}),
    ("style elements", lambda: _HTML + b"<style>.a{display:none}" * 40_000 + CARD, {"payment-card"}),
    ("quotations", lambda: _HTML + b"<blockquote>" * 80_000 + CARD, {"payment-card"}),
    ("data: addresses", lambda: b"\n" + b";base64,QUFB' " * 70_000 + CARD, {"payment-card", "cannot-inspect"}),
    ("runs of base64", lambda: b"\n" + b"QUJD" * 6 + b"\nhello you\n" * 70_000 + CARD, {"payment-card"}),
    ("lines of digits", lambda: b"\n" + b"1234\n" * 200_000 + CARD, {"payment-card"}),
    ("marks between digits", lambda: b"\n" + b"1*" * 400_000 + b" " + CARD, {"payment-card"}),
    ("zero width spaces", lambda: b"\n" + "1\u200b".encode() * 200_000 + b" " + CARD, {"payment-card"}),
    ("comments", lambda: b"Content-Type: text/plain; " + b"(" * 100_000 + b"\n\n" + CARD, {"payment-card"}),
    ("100,000 fields", lambda: b"X-A: b\n" * 100_000 + b"\n" + CARD, {"payment-card", "cannot-inspect"}),
    (
        "dashed lines",
        lambda: b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n" + b"--\n" * 500_000 + CARD + b"\n--b--",
        {"payment-card"},
    ),
)


@pytest.mark.behaviour("C4")
@pytest.mark.parametrize(("build", "expected"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_hostile_structure_ends_soon_and_hides_nothing(build: Callable[[], bytes], expected: set[str]) -> None:
    message = build()
    started = time.process_time()
    result = classify(message)
    assert time.process_time() - started < 5
    assert detectors(result) >= expected


@pytest.mark.behaviour("C4")
@pytest.mark.parametrize("piece", [b"4111 ", b"2 ", b"123456782 ", b"a", b"1", b"DE89 3704 ", b"<a ", b"12-", b"=3D"])
def test_eight_megabytes_of_one_line(piece: bytes) -> None:
    message = b"Content-Type: text/html\n\n" + piece * (8_000_000 // len(piece))
    started = time.process_time()
    result = classify(message)
    assert time.process_time() - started < 12
    assert len(result.findings) <= 30_000


def test_more_candidates_than_are_looked_at_is_a_finding() -> None:
    numbers = b" ".join(b"1%025d" % number for number in range(60_000))
    reasons = [hit.reason for hit in classify(b"\n" + numbers).findings if hit.detector == "cannot-inspect"]
    assert reasons == ["more number-like strings than are looked at in one message"]


def _large(kind: str, share: int = 1) -> bytes:
    text = b"The quick brown fox jumps over the lazy dog, and at 10:30 it was gone.\r\n"
    body = {
        "text": text * (700_000 // share),
        "utf-8": ("Grüße aus Köln, hier das Protokoll für die Sitzung von gestern.\r\n" * (700_000 // share)).encode(),
        "html": b"<p>The quick <b>brown</b> fox&nbsp;jumps over the lazy dog.</p>\r\n" * (700_000 // share),
        "binary": base64.encodebytes(bytes(range(256)) * 4096) * (36 // share),
        "doubtful": base64.encodebytes(text * 7000) * (70 // share),
    }[kind]
    header = {
        "text": b"Content-Type: text/plain\r\n",
        "utf-8": b"Content-Type: text/plain; charset=utf-8\r\n",
        "html": b"Content-Type: text/html\r\n",
        "binary": b"Content-Type: image/png; name=x.png\r\nContent-Transfer-Encoding: base64\r\n",
        "doubtful": b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n",
    }[kind]
    return b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + header + b"\r\n" + body + b"\r\n--b--\r\n"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "utf-8", "html", "binary", "doubtful"])
def test_a_large_message_adds_little_memory(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("large") / "message"
    path.write_bytes(_large(kind, share=7))
    classify(path.read_bytes()[:4096])
    with path.open("rb") as source:
        tracemalloc.start()
        try:
            CLASSIFIER.classify(source)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak <= 6 << 20


_RESIDENT = """
import io, resource, sys
from restante.classify.engine import Classifier
from restante.policy import Policy
classifier = Classifier(Policy.default())
classifier.classify(io.BytesIO(open(sys.argv[1], "rb").read(200_000)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(sys.argv[1], "rb") as source:
    classifier.classify(source)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "html", "binary"])
def test_a_large_message_adds_little_to_the_process(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("large") / "message"
    path.write_bytes(_large(kind))
    done = subprocess.run([sys.executable, "-c", _RESIDENT, str(path)], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\d+\n", done.stdout)
    assert int(done.stdout) <= 6 << 10


@pytest.mark.behaviour("C4")
def test_a_message_cut_anywhere_gives_a_classification() -> None:
    message = (
        b'Subject: =?utf-8?B?Z3LDvMOfZQ==?=\r\nContent-Type: multipart/mixed;\r\n boundary="b"\r\n\r\n--b\r\n'
        b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b'<p style=3D"display:none">=C3=A4 &#x41;</p>\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        b"QUJDREVGRw==\r\n--b--\r\n"
    )
    whole = detectors(classify(message))
    assert whole == set()
    for end in range(0, len(message), 3):
        assert detectors(classify(message[:end])) <= {"ambiguous-mime"}
