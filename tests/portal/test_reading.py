"""The index of MIME parts, the decoders and the sanitiser, on letters that are broken or hostile."""

from __future__ import annotations

import base64
import binascii
import email
import email.policy
import quopri
import re
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restante.store.blobs import BlobReader, put_blob
from restante.store.engine import new_id
from restante.vault import DataKey, seal_stream
from restante_portal import display, ranges, reading, transfer
from restante_portal.reading import Index, Part
from tests.portal import letters
from tests.portal.conftest import Post


class Bytes:
    """What reading needs of a blob, over bytes, in pieces as small as is awkward."""

    def __init__(self, content: bytes, piece: int = 65_536) -> None:
        self._content, self._piece, self.size = content, piece, len(content)

    def read(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        end = self.size if end is None else min(end, self.size)
        for offset in range(start, end, self._piece):
            yield self._content[offset : min(end, offset + self._piece)]


def index(content: bytes, piece: int = 65_536) -> tuple[Index, Bytes]:
    reader = Bytes(content, piece)
    return reading.index_message(reader), reader  # type: ignore[arg-type]  # a stand-in for BlobReader


def content_of(reader: Bytes, part: Part) -> bytes:
    return b"".join(transfer.decoded(reader.read, part))


def multipart(*parts: bytes, kind: bytes = b"mixed", close: bool = True) -> bytes:
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts)
    return (b"Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/" + kind + b"; boundary=b\r\n\r\n" + body) + (
        b"--b--\r\n" if close else b""
    )


@pytest.mark.parametrize("piece", [1, 7, 1000, 65_536])
def test_a_rich_letter_is_indexed_whole(piece: int) -> None:
    found, reader = index(letters.RICH, piece)
    assert (found.subject, found.sender) == ("Befund und Röntgenbild", "Jörg Arzt <joerg@clinic.example>")
    assert [part.content_type for part in found.parts] == [
        "text/plain", "text/html", "image/png", "application/octet-stream",
    ]  # fmt: skip
    assert content_of(reader, found.parts[0]).decode() == "Guten Tag,\r\n\r\nDer Befund ist unauffällig (Text).\r\n"
    assert content_of(reader, found.parts[2]) == letters.PNG
    assert content_of(reader, found.parts[3]) == letters.ATTACHMENT
    assert found.parts[3].file_name == "Röntgen.bin"


BROKEN: dict[str, tuple[bytes, list[bytes]]] = {
    "no closing boundary": (multipart(b"\r\none", b"\r\ntwo", close=False), [b"one", b"two\r\n"]),
    "no part at all": (multipart(close=False) + b"hidden text", [b"hidden text"]),
    "no boundary parameter": (b"Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\none", [b"--b\r\n\r\none"]),
    "boundary of another": (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--bb\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--", [b"two"],
    ),
    "bare line feeds": (
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n--b--\n", [b"one", b"two"],
    ),
    "encoding with junk": (
        b"Content-Transfer-Encoding: base64 junk\r\n\r\n" + base64.b64encode(b"secret"), [b"secret"],
    ),
    "padding in the middle": (b"Content-Transfer-Encoding: base64\r\n\r\nYQ==YmM=\r\nZGVm", [b"abcdef"]),
    "junk in base64": (b"Content-Transfer-Encoding: base64\r\n\r\nY*W\r\nJ j\x00ZGVm", [b"abcdef"]),
    "cut base64": (b"Content-Transfer-Encoding: base64\r\n\r\nYWJjZ", [b"abc"]),
    "only a header": (b"Subject: x", [b""]),
    "only a body": (b"\r\nbody", [b"body"]),
    "empty": (b"", [b""]),
    "NUL bytes": (b"Subject: a\0b\r\n\r\n\0\0", [b"\0\0"]),
    "unknown encoding": (b"Content-Transfer-Encoding: x-rot\r\n\r\nabc", [b"abc"]),
    "nested message": (
        multipart(b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ntext"), [b"Subject: inner\r\n\r\ntext"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_letter_hides_nothing(name: str) -> None:
    content, expected = BROKEN[name]
    for piece in (1, 3, 65_536):
        found, reader = index(content, piece)
        assert [content_of(reader, part) for part in found.parts] == expected


def test_deep_and_many_parts_end_at_a_cap() -> None:
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(1000)
    )
    found, _ = index(deep + b"\r\nend")
    assert not found.complete
    assert len(found.parts) == 1
    many, _ = index(multipart(*[b"\r\nx"] * 5000))
    assert (len(many.parts), many.complete) == (reading.PART_CAP, False)


def test_a_huge_header_is_quick() -> None:
    addresses = b",\r\n ".join(b"somebody%d@patients.example" % number for number in range(8000))
    found, reader = index(b"Subject: s\r\nTo: " + addresses + b"\r\n\r\nbody")
    assert found.subject == "s"
    assert content_of(reader, found.parts[0]) == b"body"


@given(st.binary(max_size=400), st.sampled_from(["base64", "quoted-printable", "7bit"]), st.integers(1, 80))
@settings(deadline=None, max_examples=150)
def test_every_content_survives_every_encoding(raw: bytes, encoding: str, piece: int) -> None:
    encoded = {
        "base64": lambda: base64.encodebytes(raw),
        "quoted-printable": lambda: quopri.encodestring(raw),
        "7bit": lambda: raw,
    }[encoding]()
    header = f"Content-Type: application/x\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    found, reader = index(header + encoded, piece)
    expected = binascii.a2b_qp(encoded) if encoding == "quoted-printable" else raw
    assert content_of(reader, found.parts[0]) == expected


@given(st.lists(st.sampled_from([
    b"--b\r\n", b"--b--\r\n", b"\r\n", b"\n", b"--b", b"text", b"Content-Type: text/html\r\n", b"-", b"\0", b"\xff",
    b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Disposition: attachment; filename*=x'y'%zz\r\n",
]), max_size=40))  # fmt: skip
@settings(deadline=None, max_examples=300)
def test_no_input_makes_the_index_fail_or_overlap(pieces: list[bytes]) -> None:
    content = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"".join(pieces)
    found, reader = index(content, 5)
    assert found.parts
    for part in found.parts:
        assert 0 <= part.start <= part.end <= len(content)
        content_of(reader, part)
    assert all(before.end <= after.start for before, after in pairwise(found.parts))


@given(st.lists(st.binary(max_size=60).filter(lambda raw: b"--" not in raw), min_size=1, max_size=6))
@settings(deadline=None, max_examples=100)
def test_well_formed_letters_read_as_the_email_package_reads_them(bodies: list[bytes]) -> None:
    parts = [
        b"Content-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(raw)
        for raw in bodies
    ]
    content = multipart(*parts)
    found, reader = index(content, 11)
    theirs = [
        part.get_payload(decode=True) for part in email.message_from_bytes(content).walk() if not part.is_multipart()
    ]
    assert [content_of(reader, part) for part in found.parts] == theirs == bodies


@pytest.mark.parametrize(
    ("raw", "charset", "text"),
    [
        ("Größe".encode(), "utf-8", "Größe"),
        ("Größe".encode("latin-1"), "iso-8859-1", "Größe"),
        ("Größe".encode("latin-1"), "", "Größe"),
        ("Größe".encode(), "no-such-charset", "Größe"),
        (b"abc", "zip", "abc"),
        (b"abc", "rot13", "abc"),
        (b"\\x41", "unicode_escape", "\\x41"),
        (b"abc", "undefined", "abc"),
        (b"abc", "a\0b", "abc"),
    ],
)
def test_text_is_decoded_whatever_it_claims(raw: bytes, charset: str, text: str) -> None:
    assert reading.decode_text(raw, charset) == text


FORBIDDEN = re.compile(
    r"<\s*(script|style|iframe|object|embed|form|input|button|svg|math|link|meta|base|video|audio|source|noscript)"
    r"|<[^>]*\s(on\w+|srcset|href|background|action|cite|target|id|class)\s*="
    r"|spy\.example|javascript:|url\s*\(|@import|expression|position|data:text|data:image/svg",
    re.IGNORECASE,
)


@pytest.mark.behaviour("P7")
@pytest.mark.parametrize("html", letters.HOSTILE)
def test_hostile_html_comes_out_harmless(html: str) -> None:
    safe = display.sanitise(html)
    shown = re.sub(r'(title|alt)="[^"]*"', "", safe.html)
    assert not FORBIDDEN.search(shown.replace("&lt;", "\N{LEFT-POINTING ANGLE BRACKET}")), safe.html


@pytest.mark.behaviour("P7")
def test_what_is_harmless_stays() -> None:
    safe = display.sanitise(
        '<h1 style="color: red; text-align: center">T</h1><table><tr><td colspan="2">x</td></tr></table>'
        '<a href="https://clinic.example/?a=b">y</a><img src="data:image/png;base64,AAAA" alt="z">'
    )
    assert 'style="color:red;text-align:center"' in safe.html.replace(": ", ":").replace("; ", ";").replace(';"', '"')
    assert '<td colspan="2">' in safe.html
    assert 'src="data:image/png;base64,AAAA"' in safe.html
    assert safe.links == ["https://clinic.example/?a=b"]


def _image(content_id: int, size: int, head: bytes = letters.PNG[:8]) -> bytes:
    encoded = base64.encodebytes(head + bytes(size - len(head)))
    return (
        b"Content-Type: image/png\r\nContent-ID: <i%d>\r\nContent-Transfer-Encoding: base64\r\n\r\n" % content_id
    ) + encoded.replace(b"\n", b"\r\n")


KIB = 1024
LETTERS_OF_IMAGES = {
    # what the 2,000 references name in turn, the images, how many are shown, at most how often images are read
    "one image, over and over": (1, [_image(0, 2 * KIB)], 1024, 1),
    "one that is not an image": (1, [_image(0, KIB, b"GIF8")], 0, 1),
    "one that is too large": (1, [_image(0, 600 * KIB)], 0, 1),
    "one that is far too large": (1, [_image(0, 2048 * KIB)], 0, 0),
    "large ones": (10, [_image(number, 500 * KIB) for number in range(10)], 4, 10),
    "as many as there are parts": (150, [_image(number, KIB) for number in range(150)], 40 * 14, 40),
    "names of nothing": (2000, [], 0, 0),
}


@pytest.mark.parametrize("name", LETTERS_OF_IMAGES)
def test_two_thousand_references_read_each_image_once(post: Post, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    different, images, shown, most = LETTERS_OF_IMAGES[name]
    html = "".join(f'<img src="cid:i{number % different}">' for number in range(2000)).encode()
    content = multipart(b"Content-Type: text/html\r\n\r\n" + html, *images, kind=b"related")
    key = DataKey.fresh(new_id())
    with post.store.write() as session:
        put_blob(session, key, post.vault, len(content), seal_stream(key, [content]))
    reader = BlobReader(post.store, key, len(content))
    found = reading.index_message(reader)
    begun: list[int] = []
    read = reader.read

    def counted(start: int = 0, end: int | None = None) -> Iterator[bytes]:
        begun.append(start)
        return read(start, end)

    monkeypatch.setattr(reader, "read", counted)
    safe = display.show_html(reader, found, found.parts[0])
    assert safe.html.count("data:image/png") == shown
    assert safe.withheld == 2000 - shown
    assert len(begun) - 1 <= most  # one for the text itself
    assert len(safe.html) < 4 * KIB * KIB


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Befund.pdf", "Befund.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\x.exe", "x.exe"),
        ('a"; filename="b.html', "a; filename=b.html"),
        ("a\r\nSet-Cookie: x=y", "aSet-Cookie x=y"),
        ("exe.\N{RIGHT-TO-LEFT OVERRIDE}fdp", "exe.fdp"),
        ("", "attachment"),
        ("..", "attachment"),
        ("x" * 500 + ".pdf", "x" * 107 + ".pdf"),
    ],
)
def test_file_names_are_made_safe(name: str, expected: str) -> None:
    assert ranges.safe_name(name) == expected
    header = ranges.disposition(name)
    assert header.isascii()
    assert not set(header) & set("\r\n\0")
    assert re.fullmatch(r"attachment; filename=\"[^\"\\]+\"; filename\*=UTF-8''[A-Za-z0-9%._~-]+", header)


def test_reading_a_large_letter_holds_little_in_memory() -> None:
    class Endless(Bytes):
        """60 MB of base64 that are made as they are read."""

        def __init__(self) -> None:
            self._head = (
                b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n"
                b"Content-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            )
            self.size = len(self._head) + 78 * 800_000

        def read(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
            end = self.size if end is None else min(end, self.size)
            line = b"QUJD" * 19 + b"\r\n"
            while start < end:
                if start < len(self._head):
                    piece = self._head[start:end]
                else:
                    skip = (start - len(self._head)) % 78
                    piece = (line * 840)[skip : skip + min(65_536, end - start)]
                yield piece
                start += len(piece)

    reader = Endless()
    tracemalloc.start()
    found = reading.index_message(reader)  # type: ignore[arg-type]  # a stand-in for BlobReader
    size = sum(len(piece) for piece in transfer.decoded(reader.read, found.parts[1]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size == 57 * 800_000
    assert peak < 8 * 1024 * 1024
