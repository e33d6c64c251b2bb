"""What the classifier does in a shorter way for ordinary mail gives what its careful way gives, near the border too."""

from __future__ import annotations

import binascii
import io
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from restante.classify import embedded
from restante.classify.embedded import Embedded
from restante.classify.engine import Classifier
from restante.classify.entity import _described, describe
from restante.classify.headers import HeaderBlock, parse_fields, well_formed
from restante.classify.markup import page
from restante.classify.text import _in_full, normalise
from restante.classify.transfer import QuotedPrintable
from restante.policy import Policy

EXAMPLES = settings(max_examples=200, deadline=None)
CLASSIFIER = Classifier(Policy.default())


def made_of(*some: bytes) -> st.SearchStrategy[bytes]:
    """Texts in which these stand in any order."""
    return st.lists(st.sampled_from(some), max_size=12).map(b"".join)


def disturbed(text: bytes, *some: bytes) -> st.SearchStrategy[bytes]:
    """``text`` with up to three of these put in somewhere."""
    put = st.tuples(st.integers(0, len(text)), st.sampled_from(some))

    def inserted(puts: list[tuple[int, bytes]]) -> bytes:
        changed = text
        for place, one in puts:
            changed = changed[:place] + one + changed[place:]
        return changed

    return st.lists(put, max_size=3).map(inserted)


ODD = (
    *(b'"', b";", b" ", b"=", b"(", b")", b"\\", b"\0", b"\xe4", b"?", b",", b"*", b"x" * 63, b"; boundary=b"),
    *(b"boundary", b"=?utf-8?q?b?=", b"charset=", b"; name=n", b'; x="a;b"', b"\t"),
)


@EXAMPLES
@given(
    st.one_of(
        disturbed(b'Multipart/mixed; boundary="=_a.b:c"', *ODD),
        disturbed(b"multipart/mixed;boundary=ab=c", *ODD),
        disturbed(b'multipart/signed; micalg=pgp-sha1; boundary="abc"; protocol="application/pgp-signature"', *ODD),
    )
)
@example(b"multipart/mixed; boundary=" + b"x" * 71)
@example(b"multipart/mixed; boundary=a,b")
def test_an_ordinary_multipart_is_described_as_a_doubtful_one_is(value: bytes) -> None:
    block = HeaderBlock([(b"content-type", value)])
    assert describe(block, "text/plain") == _described.__wrapped__((value,), (), b"", "text/plain")


HEADER = b"Received: by a\n\tfor b\nContent-Type: text/plain;\n charset=x\nContent-Transfer-Encoding: base64\nTo: a\n"
BREAKS = (b"\n", b"\r\n", b"\r", b" ", b"\t", b"\0", b":", b"\n content-type: a/b", b"(", b"X-", b"\x0b", b"\xe4")


@EXAMPLES
@given(st.one_of(disturbed(HEADER, *BREAKS), disturbed(HEADER.replace(b"\n", b"\r\n"), *BREAKS)))
@example(b"(of a kind)Content-Type: text/html\n")
@example(b"Content-Language: en \n")
def test_a_header_beyond_doubt_is_read_as_a_doubtful_one_is(raw: bytes) -> None:
    quick = well_formed(raw + b"\n", 0)
    if quick is None:
        return
    block, end = quick
    careful = parse_fields((raw + b"\n")[:end].splitlines(keepends=True)[:-1])
    # White space behind a value counts in those fields alone that describe a body.
    assert [(name, value if name.startswith(b"content-") else value.strip()) for name, value in careful.fields] == (
        block.fields
    )
    assert careful.broken == block.broken


LETTERS = st.sampled_from(
    "a1 \r\n\0ßä¿ÀÿÃ×\xa0Āἀα가\u1161か\u3099\uff9e\u0301´…–\u00ad\u200bǰΐ\u2028１\U0001d7d8\ud800"
)


@EXAMPLES
@given(st.text(st.one_of(LETTERS, LETTERS, st.characters())))
@example("か\uff9e")
@example("–" + "".join(map(chr, range(0xFF01, 0xFF5F))))
@example("–" + "".join(map(chr, range(0x4E00, 0x5400))))
def test_text_is_normalised_as_if_each_character_were_looked_at(text: str) -> None:
    plain = _in_full(text.replace("\r\n", "\n").replace("\0", ""))
    assert normalise(text) == normalise(text, text.encode("utf-8", "replace")) == plain


@pytest.mark.parametrize(
    ("text", "plain"), [("ä–4", "ä-4"), ("\u00a0\u0301x", " x"), ("4\u0301", "4"), ("ß\u2028４", "ss\n4")]
)
def test_text_is_normalised(text: str, plain: str) -> None:
    assert normalise(text).decode() == plain


@pytest.mark.parametrize(
    ("markup", "seen", "apart"),
    [
        ("one<b></b>two", "onetwo", True),
        ("one <b>two</b>_<i>three", "one two_three", False),
        ("one<!-- and not shown -->two", "onetwo\n and not shown ", True),
        ('<bdo dir="rtl">21</bdo>', "21\n12", False),
        ('<p style="unicode-bidi:Bidi-override" dir="rtl">21</p>', " 21 \n12", False),
        ("one<a\thref=x>two<td width=1>three<font>!", "onetwo three!", True),
    ],
)
def test_a_page_is_what_a_reader_sees(markup: str, seen: str, *, apart: bool) -> None:
    read = page(markup)
    assert (read.seen, read.apart) == (seen, apart)


def test_tags_that_say_something_are_told() -> None:
    assert page("<ul class=lists><dl><dl>one<!DOCTYPE html>").unseen == "<ul class=lists>\n<!DOCTYPE html>\n<dl>"


@pytest.mark.parametrize("number", [2, 11, 64, 100, 1000])
def test_white_space_of_a_page_is_one_space(number: int) -> None:
    assert page(f"<p>one{' ' * number}two</p>").seen.strip() == "one two"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("plain", "Visa &#52;111 1111 1111 1111"),
        ("plain", "<p>Visa 41<i></i>11 1111 1111 1111</p>"),
        ("html", '<p title="Visa &#52;111 1111 1111 1111">Grüße</p>'),
    ],
)
def test_a_page_is_read_as_such_whatever_says_that_it_is_one(kind: str, text: str) -> None:
    message = f"Content-Type: text/{kind}; charset=utf-8\n\n{text}\n".encode()
    found = CLASSIFIER.classify(io.BytesIO(message)).findings
    assert "payment-card" in {one.detector for one in found}


@EXAMPLES
@given(made_of(b"=", b" ", b"\t", b"\r", b"\n", b"41", b"a", b"="))
def test_quoted_printable_without_odd_line_ends_is_decoded_as_any_other(data: bytes) -> None:
    decoder = QuotedPrintable()
    decoded = decoder.feed(data + b"\n") + decoder.close()
    plain = re.sub(rb"=[ \t]+\r?\n", b"=\n", data + b"\n")
    assert decoded == binascii.a2b_qp(re.sub(rb"=\r(?!\n)", b"=\n", plain))
    assert bool(decoder.defect) == bool(re.search(rb"=\r(?!\n)", plain))


class Files:
    """What was found inside a text."""

    def __init__(self) -> None:
        self.seen: list[str | bytes] = []

    def open(self, decoding: str) -> Files:
        """Another one begins."""
        self.seen.append(decoding)
        return self

    def feed(self, data: bytes) -> None:
        """More of it."""
        self.seen.append(data)

    def close(self) -> None:
        """It ended."""


def files(text: bytes) -> list[str | bytes]:
    found = Files()
    whole = Embedded(found.open, found.seen.append)
    whole.feed(text)
    whole.close()
    return found.seen


@EXAMPLES
@given(
    made_of(
        *(b"QUJDREVGR0hJSktMTU5PUA", b"==", b"=", b"\n", b"\n", b"> ", b"\r", b" ", b"\xe4", b"-----BEGIN PGP MESSAGE"),
        *(b"begin 644 a\n", b"begin-base64 644 a\n", b"#0V%T\n", b"end\n", b"=ybegin line=1\n", b"data:;base64,QUJD"),
        b"(This file must be converted with BinHex 4.0)",
    )
)
def test_a_text_without_a_first_line_of_a_file_has_none(text: bytes) -> None:
    quick = files(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "_FIRST_LINE", lambda _: True)
        assert files(text) == quick
