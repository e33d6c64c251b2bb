"""Giving mail to the MTA: no content can end the DATA phase early, and every answer means one thing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from restante.settings import HostPort
from restante_milter.submit import NotSubmitted, Recipient, dot_stuffed, submit

END = b"\r\n.\r\n"


def _unstuffed(wire: bytes) -> bytes:
    """What a receiver that goes by RFC 5321, section 4.5.2, makes of it.  The final dot must be the only one."""
    framed = b"\r\n" + wire
    end = framed.index(END)
    assert end + len(END) == len(framed), "the DATA phase would end before the content does"
    lines = framed[2 : end + 2].split(b"\r\n") if end else [b""]
    return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


def _normal(content: bytes) -> bytes:
    """``content`` with every line end CRLF and the last line ended; a CR at the very end is half of a line end."""
    if content.endswith(b"\r"):
        content += b"\n"
    lines = content.replace(b"\r\n", b"\n").split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


_CONTENT = st.lists(
    st.sampled_from([b".", b"..", b"\r", b"\n", b"\r\n", b"\r\n.\r\n", b"\n.\n", b"\r.\r", b"x", b"\0", b"\xff"]),
    max_size=30,
).map(b"".join)


@given(_CONTENT | st.binary(max_size=200), st.data())
@settings(max_examples=600, deadline=None)
def test_any_content_in_any_pieces_arrives_as_it_was_with_proper_line_ends(content: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=8)))
    pieces = [content[start:end] for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    assert _unstuffed(b"".join(dot_stuffed(pieces))) == _normal(content)


@given(_CONTENT)
@example(b"\n.\n")
@example(b"\r\n.\n")
@example(b"\n.\r\n")
@settings(max_examples=300, deadline=None)
def test_no_receiver_finds_an_early_end_however_lenient_it_is_about_line_feeds(content: bytes) -> None:
    wire = b"\n" + b"".join(dot_stuffed([content])).replace(b"\r\n", b"\n")
    assert wire.index(b"\n.\n") == len(wire) - 3


class _Script:
    """A server that says what it is told to.  ``received`` is all that came in."""

    def __init__(self, replies: Sequence[bytes], ehlo: bytes) -> None:
        self._replies, self._ehlo = list(replies), ehlo
        self.received = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = HostPort("127.0.0.1", self.listener.getsockname()[1])
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        client, _ = self.listener.accept()
        with client, client.makefile("rb") as lines:
            client.sendall(b"220 test\r\n")
            in_data = False
            for line in lines:
                self.received += line
                if in_data and line != b".\r\n":
                    continue
                if line.upper().startswith(b"EHLO"):
                    client.sendall(self._ehlo)
                    continue
                reply = self._replies.pop(0) if self._replies else b"221 bye\r\n"
                if not reply:
                    return
                in_data = reply.startswith(b"354")
                client.sendall(reply)


@contextmanager
def _server(
    *replies: bytes, ehlo: bytes = b"250-test\r\n250-DSN\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
) -> Iterator[_Script]:
    script = _Script(replies, ehlo)
    script.thread.start()
    try:
        yield script
    finally:
        script.thread.join(10)
        script.listener.close()


BOB, CAROL = Recipient("bob@b.example", ("NOTIFY=NEVER",)), Recipient("carol@c.example")
OK, GO, REFUSED, LATER = b"250 ok\r\n", b"354 go\r\n", b"550 5.1.1 no\r\n", b"451 4.3.0 later\r\n"


def _submit(server: _Script, *recipients: Recipient, parameters: Sequence[str] = ()) -> dict[str, str]:
    return submit(server.endpoint, "mta.example", "ann@a.example", parameters, recipients, [b"Subject: x\n\n.dot\n"])


def test_a_message_that_is_taken_is_sent_as_it_was() -> None:
    with _server(OK, OK, OK, GO, OK) as server:
        assert _submit(server, BOB, CAROL, parameters=["RET=HDRS", "SIZE=5"]) == {}
    assert b"mail FROM:<ann@a.example> RET=HDRS\r\n" in server.received
    assert b"rcpt TO:<bob@b.example> NOTIFY=NEVER\r\n" in server.received
    assert b"Subject: x\r\n\r\n..dot\r\n.\r\n" in server.received


@pytest.mark.parametrize("answer", [b"421 4.3.2 going down\r\n", b"garbage\r\n", b""])
def test_what_was_taken_stays_taken_whatever_follows(answer: bytes) -> None:
    with _server(OK, OK, GO, OK, answer) as server:
        assert _submit(server, BOB) == {}


def test_who_is_refused_for_good_is_named_and_the_others_are_served() -> None:
    with _server(OK, REFUSED, OK, GO, OK) as server:
        assert _submit(server, BOB, CAROL) == {"bob@b.example": "550 5.1.1 no"}


def test_with_everybody_refused_no_content_is_sent() -> None:
    with _server(OK, REFUSED, REFUSED) as server:
        assert set(_submit(server, BOB, CAROL)) == {"bob@b.example", "carol@c.example"}
    assert b"Subject" not in server.received


@pytest.mark.parametrize(
    "replies",
    [
        (LATER,),
        (OK, LATER),
        (OK, OK, LATER),
        (OK, OK, LATER, OK),
        (OK, OK, OK, LATER),
        (OK, OK, OK, GO, LATER),
        (OK, OK, OK, GO, REFUSED),
        (b"",),
        (OK, b""),
        (OK, OK, OK, b""),
        (OK, OK, OK, GO, b""),
        (b"garbage\r\n",),
        (OK, OK, OK, b"250 not 354\r\n"),
    ],
)
def test_every_other_answer_means_not_submitted(replies: tuple[bytes, ...]) -> None:
    with _server(*replies) as server, pytest.raises(NotSubmitted):
        _submit(server, BOB, CAROL)


def test_content_that_cannot_be_read_to_its_end_is_never_completed() -> None:
    def content() -> Iterator[bytes]:
        yield b"Subject: x\n\nfirst half\n"
        raise ZeroDivisionError

    with _server(OK, OK, GO, OK) as server, pytest.raises(ZeroDivisionError):
        submit(server.endpoint, "mta.example", "ann@a.example", (), [BOB], content())
    assert b"first half" in server.received
    assert b"\r\n.\r\n" not in server.received
    assert b"quit" not in server.received.lower()


def test_nobody_there_means_not_submitted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        endpoint = HostPort("127.0.0.1", closed.getsockname()[1])
    with pytest.raises(NotSubmitted):
        submit(endpoint, "mta.example", "ann@a.example", (), [BOB], [b"x"])


def test_parameters_that_the_server_does_not_know_are_left_out() -> None:
    with _server(OK, OK, GO, OK, ehlo=b"250 test\r\n") as server:
        assert _submit(server, BOB, parameters=["RET=HDRS", "BODY=8BITMIME"]) == {}
    assert b"RET" not in server.received
    assert b"NOTIFY" not in server.received


def test_addresses_beyond_ascii_ask_for_smtputf8() -> None:
    with _server(OK, OK, GO, OK) as server:
        submit(server.endpoint, "mta.example", "änn@a.example", (), [Recipient("böb@b.example")], [b"x"])
    assert "FROM:<änn@a.example> SMTPUTF8".encode() in server.received
    assert "TO:<böb@b.example>".encode() in server.received
