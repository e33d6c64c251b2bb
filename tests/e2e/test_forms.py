"""Messages of every form: what is held or sent on is what the client sent, and no form gets past the rules."""

from __future__ import annotations

import base64
import random
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from email.header import decode_header, make_header
from pathlib import Path

import pytest

from restante.credentials import Credential, read_credential
from restante.store import holding
from restante.store.models import DeliveryState
from restante.store.ring import KeyRing
from restante.vault import Opener
from restante_milter.services import worker_sealer
from tests.e2e.world import SENDER, World, recipients_of, text_of
from tests.lab.peers import Peer
from tests.lab.services import Service
from tests.lab.waiting import wait_until

MIB = 1_048_576


def _raw(world: World, *lines: bytes, body: bytes = b"", subject: bytes = b"[secure] test") -> bytes:
    """A sensitive message in raw bytes with more header lines, and this test's marker in the body."""
    head = [b"From: ann@site.example", b"Subject: " + subject, b"Date: Sat, 1 Jan 2028 00:00:00 +0000"]
    head += [b"Message-ID: <" + world.marker.encode() + b"@site.example>", *lines]
    return b"\r\n".join([*head, b"", world.marker.encode(), body])


def _both_ways(world: World, raw: bytes, options: Sequence[str] = ()) -> tuple[bytes, bytes]:
    """Send to a peer with TLS and one without; the content that the one received and the store holds."""
    able, unable = world.peer("tls"), world.peer("clear")
    answer = world.send(raw, f"bob@{able.domain}", f"carol@{unable.domain}", options=options)
    assert answer.accepted, answer
    (received,) = world.wait_for_mail(able)
    assert received.tls
    held = world.wait_until_held(f"carol@{unable.domain}")
    assert world.mails(unable) == []
    world.assert_never_clear()
    return received.content, world.content_of(held)


def _body(content: bytes) -> bytes:
    return content.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    "body",
    [
        b"8 bit: \xff\xfe\x80 and more\r\n",
        b".\r\n..\r\n.x\r\n",
        b"long line " + b"y" * 5000 + b"\r\n",
        b"no line end at the end",
        b"tabs\tand trailing space \r\n\r\n\r\n",
        b"X-Restante-Route: tls level=encrypted x\r\n",
    ],
)
def test_a_body_comes_out_as_it_went_in(world: World, body: bytes) -> None:
    raw = _raw(world, body=body)
    sent, held = _both_ways(world, raw, options=["BODY=8BITMIME"])
    expected = _body(raw) if raw.endswith(b"\r\n") else _body(raw) + b"\r\n"
    if b"yyyy" not in body:  # Postfix folds lines beyond RFC 5321's limit on their way out
        assert _body(sent) == expected
    assert _body(held) == expected


def test_eight_bit_header_fields_survive_both_ways(world: World) -> None:
    line = b"X-Odd: caf\xe9 \xff\xfe na\xc3\xafve"
    for content in _both_ways(world, _raw(world, line)):
        assert line in content


def test_a_subject_in_eight_bits_loses_its_tag_and_nothing_else(world: World) -> None:
    raw = _raw(world, subject="[secure] Grüße aus Zürich".encode())
    sent, held = _both_ways(world, raw)
    for content in (sent, held):
        assert b"[secure]" not in content
        (subject,) = re.findall(rb"(?m)^Subject: ((?:.+\r\n)(?:[ \t].+\r\n)*)", content)
        assert str(make_header(decode_header(subject.decode().strip()))) == "Grüße aus Zürich"


def test_nul_bytes_and_bare_carriage_returns_are_neither_lost_silently_nor_a_way_past(world: World) -> None:
    unable = world.peer("clear")
    recipient = f"carol@{unable.domain}"
    answer = world.send(_raw(world, body=b"nul \0 here, bare \r there\r\n"), recipient)
    if answer.accepted:
        assert b"bare" in world.content_of(world.wait_until_held(recipient))
    assert world.mails(unable) == []
    world.assert_never_clear()


def test_a_card_below_a_thousand_nested_parts_is_found_and_held(world: World) -> None:
    nest = b""
    for level in range(1000):
        nest += b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level)
    card = b"\r\nCard 4929 1234 5678 9015\r\n"
    raw = _raw(world, b"MIME-Version: 1.0", subject=b"deep", body=card).replace(b"\r\n\r\n", b"\r\n" + nest, 1)
    unable = world.peer("clear")
    began = time.monotonic()
    assert world.send(raw, f"carol@{unable.domain}").accepted
    assert time.monotonic() - began < 10
    world.wait_until_held(f"carol@{unable.domain}")
    assert world.mails(unable) == []
    world.assert_never_clear("4929 1234 5678 9015")


@pytest.mark.parametrize("charset", [b"x-unknown", b"utf-16", b"utf-7", b'"; rm -rf"', b"\xff"])
def test_an_odd_charset_hides_nothing(world: World, charset: bytes) -> None:
    unable = world.peer("clear")
    raw = _raw(
        world,
        b"MIME-Version: 1.0",
        b"Content-Type: text/plain; charset=" + charset,
        subject=b"order",
        body=b"\r\nCard 4929 1234 5678 9015\r\n",
    )
    assert world.send(raw, f"carol@{unable.domain}", options=["BODY=8BITMIME"]).accepted
    world.wait_until_held(f"carol@{unable.domain}")
    world.assert_never_clear("4929 1234 5678 9015")


def test_headers_just_below_the_limit_of_postfix_are_held_whole(world: World) -> None:
    # header_size_limit is 102,400 for one field; Postfix itself cuts what is longer.
    lines = [b"X-Long-%d: " % number + b" ".join([b"word"] * 1000) for number in range(18)]
    sent, held = _both_ways(world, _raw(world, *lines))
    for number in range(18):
        assert b"X-Long-%d: " % number in sent
        assert b"X-Long-%d: " % number in held
        assert held.count(b"word") == 18_000


def test_more_headers_than_we_take_are_deferred_and_reach_nobody(world: World) -> None:
    peer = world.peer("tls")
    lines = [b"X-Fill-%d: " % number + b"y" * 900 for number in range(1300)]
    answer = world.send(_raw(world, *lines), f"bob@{peer.domain}")
    assert answer.code == 451
    assert world.held() == []
    assert world.mails(peer) == []


def test_smtputf8_addresses_are_held_told_and_handed_over(world: World) -> None:
    able, unable = world.peer("tls"), world.peer("clear")
    bob, carol = f"böb@{able.domain}", f"cärol@{unable.domain}"
    raw = _raw(world, f"To: {bob}, {carol}".encode())
    answer = world.send(raw, bob, carol, "colleague@site.example", options=["SMTPUTF8", "BODY=8BITMIME"])
    assert answer.accepted, answer
    assert recipients_of(world.wait_for_mail(able)) == [bob]
    world.wait_until_held(carol)
    assert world.wait_for_notice(carol).recipients == (carol,)
    assert carol in text_of(world.wait_for_notice(SENDER))
    world.settle()
    assert world.states() == {bob: "handed-over", carol: "held", "colleague@site.example": "left-with-mta"}
    world.assert_never_clear()


def test_a_thousand_recipients_each_get_their_own_way_once(world: World) -> None:
    able, unable = world.peer("tls"), world.peer("clear")
    to_able = [f"r{number}@{able.domain}" for number in range(500)]
    to_unable = [f"r{number}@{unable.domain}" for number in range(500)]
    mixed = [address for pair in zip(to_able, to_unable, strict=True) for address in pair]
    message = world.sensitive("everyone@site.example")
    answer = world.send(message, *mixed)
    assert answer.accepted
    assert answer.refused == {}

    def arrived() -> bool:
        return len(recipients_of(world.mails(able))) >= 500

    wait_until(arrived, 30, "500 copies under TLS")
    assert recipients_of(world.mails(able)) == sorted(to_able)
    held = world.held()
    assert sorted(one.recipient for one in held if one.state is DeliveryState.HELD) == sorted(to_unable)
    assert all(one.state is DeliveryState.LEFT_WITH_MTA for one in held if one.recipient in set(to_able))
    assert world.mails(unable) == []
    world.assert_never_clear()


def test_a_bounce_has_nobody_to_tell_a_code_so_a_reviewer_decides(world: World) -> None:
    able, unable = world.peer("tls"), world.peer("clear")
    message = world.sensitive(f"bob@{able.domain}")
    assert world.send(message, f"bob@{able.domain}", f"carol@{unable.domain}", sender="").accepted
    (received,) = world.wait_for_mail(able)
    assert (received.tls, received.sender) == (True, "")
    world.wait_until_held(f"carol@{unable.domain}", DeliveryState.QUARANTINED)
    world.settle()
    assert world.notices(f"carol@{unable.domain}") == []
    assert world.mails(unable) == []
    world.assert_never_clear()


def test_a_bounce_that_loses_tls_at_delivery_goes_to_a_reviewer_too(world: World) -> None:
    peer = world.seen_with_tls()
    peer.behave("clear")
    assert world.send(world.sensitive(f"bob@{peer.domain}"), f"bob@{peer.domain}", sender="").accepted
    world.wait_until_held(f"bob@{peer.domain}", DeliveryState.QUARANTINED)
    world.settle()
    assert world.mails(peer) == []
    world.assert_never_clear()


@pytest.mark.behaviour("N1")
def test_the_same_message_sent_again_after_a_lost_answer_is_held_once(world: World) -> None:
    peer = world.peer("clear")
    recipient = f"carol@{peer.domain}"
    message = world.sensitive(recipient)
    message["Date"] = "Sat, 1 Jan 2028 00:00:00 +0000"
    for _ in range(3):
        assert world.send(message, recipient).accepted
    world.wait_until_held(recipient)
    world.settle()
    assert [one.recipient for one in world.held()] == [recipient]
    assert len(world.notices(recipient)) == len(world.notices(SENDER)) == 1


def test_our_own_notice_is_not_held_when_it_passes_a_milter_and_its_mark_protects_nothing_else(world: World) -> None:
    peer = world.peer("clear")
    recipient = f"carol@{peer.domain}"
    world.post(recipient)
    notice = world.wait_for_notice(recipient)
    world.settle()
    other = world.peer("clear")
    assert world.send(notice.content, f"dave@{other.domain}").accepted
    (received,) = other.wait_for_mails()
    assert not received.tls
    # Everyone who got a notice has its mark: under it a sensitive message is as sensitive as without.
    forged = notice.content.replace(b"Subject: ", b"Subject: [secure] ", 1)
    assert world.send(forged, f"erin@{other.domain}").accepted
    world.wait_until_held(f"erin@{other.domain}")
    world.settle()
    assert {to for one in other.mails() for to in one.recipients if b"[secure]" in one.content} == set()


@pytest.mark.behaviour("N1")
@pytest.mark.slow
def test_fifty_megabytes_are_held_and_released_byte_for_byte_in_little_memory(world: World) -> None:
    peer = world.peer("tls")
    recipient = f"frank@{peer.domain}"
    raw = _with_attachment(world, 37 * MIB, 1000)
    assert len(raw) > 50 * MIB - 500_000
    _warm_up(world, peer)
    idle = _reset_peaks(world)
    assert world.send(raw, recipient).accepted
    held = world.wait_until_held(recipient, DeliveryState.QUARANTINED, 60)
    grown = {pid: peak - idle[pid] for pid, peak in _peaks(world).items()}
    _release(world, held.delivery_id)
    (received,) = world.wait_for_mail(peer, seconds=90)
    assert received.tls
    assert _body(received.content) == _body(raw)
    assert max(grown.values()) <= 16 * MIB, {pid: f"{value / MIB:.1f} MiB" for pid, value in grown.items()}


def _release(world: World, delivery_id: str) -> None:
    """What the portal does when a reviewer sends a message on."""
    settings = world.services.settings
    opener = Opener(read_credential(settings.credentials, Credential.VAULT), KeyRing(settings.ring_path))
    now = time.time()
    holding.release_to_tls(
        world.store, opener, worker_sealer(settings), delivery_id, deadline=now + 600, actor="reviewer", now=now
    )


def _warm_up(world: World, peer: Peer) -> None:
    """Every child has held such a message, so that what is measured is the large one and not the first use."""

    def send(number: int) -> None:
        raw = _with_attachment(world, 1 * MIB, number)
        assert world.send(raw, f"warm-{number}@{peer.domain}").accepted

    # The kernel gives a session to whichever child waits: those who come together get one each.
    with ThreadPoolExecutor(8) as together:
        list(together.map(send, range(24)))


def _with_attachment(world: World, size: int, seed: int) -> bytes:
    """A message about what is reviewed, with an attachment of ``size`` random bytes."""
    payload = base64.encodebytes(random.Random(seed).randbytes(size)).replace(b"\n", b"\r\n")
    return _raw(
        world,
        b"MIME-Version: 1.0",
        b'Content-Type: multipart/mixed; boundary="outer"',
        subject=b"about project nightfall",
        body=b"\r\n--outer\r\nContent-Type: text/plain\r\n\r\nProject nightfall.\r\n--outer\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + payload
        + b"--outer--\r\n",
    )


def _children(world: World) -> list[int]:
    parent = world.services.process(Service.MILTER).pid
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()]


def _reset_peaks(world: World) -> dict[int, int]:
    """Forget the peaks so far; the memory that each child has now, in bytes."""
    for pid in _children(world):
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    return {pid: _status(pid, "VmRSS") for pid in _children(world)}


def _peaks(world: World) -> dict[int, int]:
    return {pid: _status(pid, "VmHWM") for pid in _children(world)}


def _status(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None
    return int(found.group(1)) * 1024
