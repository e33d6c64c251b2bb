"""Ways by which a sensitive message left in clear although its delivery was safe, each shown to be shut."""

from __future__ import annotations

import smtplib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.policy import SMTP

import pytest

from restante.store import holding
from tests.e2e.test_local_submission import hand_to_sendmail
from tests.e2e.test_review import quarantined
from tests.e2e.world import SENDER, World, text_of
from tests.lab.mail import TIMEOUT_SECONDS
from tests.lab.peers import Peer, ReceivedMail


def _reports(peer: Peer, recipient: str) -> list[ReceivedMail]:
    return [one for one in peer.mails() if one.sender == "" and recipient in one.recipients]


@pytest.mark.behaviour("F12")
def test_a_bounce_does_not_bring_the_message_to_a_sender_elsewhere_in_clear(world: World) -> None:
    peer, refuses = world.peer("clear"), world.peer("rcpt-550")
    sender, recipient = f"ext@{peer.domain}", f"nobody@{refuses.domain}"
    world.post(recipient, sender=sender)
    world.lab.postfix.wait_for_log(rf"restante-tls/smtp.*to=<{sender}>.*status=", 20)
    assert peer.mails() == []
    world.assert_never_clear()


@pytest.mark.behaviour("F12")
def test_a_bounce_reaches_a_sender_elsewhere_under_tls(world: World) -> None:
    peer, refuses = world.peer("tls"), world.peer("rcpt-550")
    sender, recipient = f"ext@{peer.domain}", f"nobody@{refuses.domain}"
    world.post(recipient, sender=sender)
    (bounce,) = peer.wait_for_mails(1, 20, lambda one: one.sender == "")
    assert bounce.tls
    assert recipient in bounce.content.decode("utf-8", "replace")
    world.settle()
    world.assert_never_clear()


@pytest.mark.behaviour("F12")
@pytest.mark.parametrize("returned", ["FULL", "HDRS"])
def test_a_bounce_reaches_a_sender_of_this_site_in_the_ordinary_way(world: World, returned: str) -> None:
    refuses = world.peer("rcpt-550")
    recipient = f"nobody@{refuses.domain}"
    world.post(recipient, options=[f"RET={returned}"])
    (bounce,) = world.lab.mailboxes.wait_for_mails(1, 20, lambda one: one.sender == "" and SENDER in one.recipients)
    assert recipient in bounce.content.decode("utf-8", "replace")
    world.settle()
    assert len(_reports(world.lab.mailboxes, SENDER)) == 1
    world.assert_never_clear()


@pytest.mark.behaviour("F12")
def test_a_bounce_with_headers_alone_keeps_the_subject_from_the_wire(world: World) -> None:
    peer, refuses = world.peer("clear"), world.peer("rcpt-550")
    sender, recipient = f"ext@{peer.domain}", f"nobody@{refuses.domain}"
    world.post(recipient, sender=sender, options=["RET=HDRS"])
    world.lab.postfix.wait_for_log(rf"restante-tls/smtp.*to=<{sender}>.*status=", 20)
    assert peer.mails() == []
    world.assert_never_clear()


@pytest.mark.behaviour("F12")
def test_a_report_of_success_keeps_the_subject_from_the_wire(world: World) -> None:
    peer, loses = world.peer("clear"), world.seen_with_tls()
    sender, recipient = f"ext@{peer.domain}", f"bob@{loses.domain}"
    loses.behave("clear")
    # The intake offers no DSN, so Postfix itself reports that it has handed the message on.
    world.post(recipient, sender=sender, rcpt_options=["NOTIFY=SUCCESS"])
    world.wait_until_held(recipient)
    world.lab.postfix.wait_for_log(rf"restante-tls/smtp.*to=<{sender}>.*status=", 20)
    assert world.mails(peer) == []
    world.assert_never_clear()


@pytest.mark.behaviour("F6")
@pytest.mark.behaviour("F12")
def test_a_bounce_asks_as_much_of_a_peer_as_its_message_did(world: World) -> None:
    # The agreement is about the recipient's domain; the sender's own host proves nothing.
    peer, partner = world.peer("self-signed"), world.partner("rcpt-550")
    world.look(partner.domain)
    sender = f"ext@{peer.domain}"
    world.post(f"nobody@{partner.domain}", sender=sender)
    world.lab.postfix.wait_for_log(rf"restante-auth/smtp.*to=<{sender}>.*status=", 20)
    assert peer.mails() == []
    world.assert_never_clear()


@pytest.mark.behaviour("O2")
def test_a_bounce_of_an_ordinary_message_goes_out_as_ever(world: World) -> None:
    peer, refuses = world.peer("clear"), world.peer("rcpt-550")
    sender, recipient = f"ext@{peer.domain}", f"nobody@{refuses.domain}"
    assert world.send(world.ordinary(recipient, sender=sender), recipient, sender=sender).accepted
    (bounce,) = peer.wait_for_mails(1, 20, lambda one: one.sender == "")
    assert not bounce.tls
    assert world.marker.encode() in bounce.content


@contextmanager
def _configured(world: World, parameter: str, value: str) -> Iterator[None]:
    """The MTA with another value of ``parameter``."""
    postfix = world.lab.postfix
    config = str(postfix.config)
    before = postfix.run(["postconf", "-c", config, "-h", parameter]).strip()
    _set(world, parameter, value)
    try:
        yield
    finally:
        _set(world, parameter, before)


def _set(world: World, parameter: str, value: str) -> None:
    postfix = world.lab.postfix
    postfix.run(["postconf", "-c", str(postfix.config), "-e", f"{parameter}={value}"])
    # Postfix waits until the file is two seconds old: a process that reads it earlier sleeps so long, no more.
    postfix.reload()


def _requeue(world: World) -> None:
    """Have everything that is queued held, requeued and tried again; wait until pickup has taken it."""
    postfix = world.lab.postfix
    config = str(postfix.config)
    before = len(postfix.log())
    postfix.run(["postsuper", "-c", config, "-h", "ALL"])
    postfix.run(["postsuper", "-c", config, "-r", "ALL"])
    postfix.kick_pickup()
    postfix.wait_for_log(r"pickup\[.*orig_id=", after=before)


@pytest.mark.behaviour("F12")
def test_a_message_that_is_requeued_still_takes_mandatory_tls(world: World) -> None:
    peer = world.seen_with_tls()
    peer.behave("data-451")
    before = len(world.lab.postfix.log())
    recipient = f"bob@{peer.domain}"
    world.post(recipient)
    world.lab.postfix.wait_for_log(rf"to=<{recipient}>.*status=deferred", after=before)
    peer.behave("clear")
    _requeue(world)
    world.wait_until_held(recipient)
    assert world.mails(peer) == []
    world.assert_never_clear()


@pytest.mark.behaviour("F12")
def test_a_bounce_that_is_requeued_still_takes_mandatory_tls(world: World) -> None:
    peer, refuses = world.seen_with_tls(), world.peer("rcpt-550")
    peer.behave("data-451")
    sender = f"ext@{peer.domain}"
    before = len(world.lab.postfix.log())
    # A message to one recipient bounces whole, and the bounce waits for its peer.
    postfix = world.lab.postfix
    with _configured(world, "bounce_queue_lifetime", "1d"):
        world.post(f"nobody@{refuses.domain}", sender=sender)
        postfix.wait_for_log(rf"restante-tls/smtp.*to=<{sender}>.*status=deferred", 20, after=before)
        peer.behave("clear")
        before = len(postfix.log())
        _requeue(world)
        postfix.wait_for_log(rf"restante-tls/smtp.*to=<{sender}>.*status=", 20, after=before)
        assert world.mails(peer) == []
        world.assert_never_clear()


@pytest.mark.behaviour("F12")
def test_a_forged_header_from_a_program_of_this_host_takes_nothing_from_the_milters_decision(world: World) -> None:
    peer, able = world.peer("clear"), world.peer("tls")
    message = world.sensitive(f"bob@{able.domain}")
    outer = world.sensitive(f"bob@{able.domain}")
    message["X-Restante-Route"] = "tls level=encrypted AAAA"
    outer.add_attachment(message)
    outer.add_attachment("X-Restante-Route: tls level=encrypted AAAA\n", subtype="rfc822-headers")
    hand_to_sendmail(world, outer.as_bytes(policy=SMTP), f"bob@{able.domain}", f"carol@{peer.domain}")
    (received,) = world.wait_for_mail(able)
    assert received.tls
    world.wait_until_held(f"carol@{peer.domain}")
    world.assert_never_clear()


def _archive(recipient: str, copy: str) -> str:
    return f"inline:{{ {{ {recipient} = {copy} }} }}"


@pytest.mark.behaviour("F12")
@pytest.mark.parametrize("archive", ["tls", "clear"])
def test_an_archives_copy_of_what_goes_under_tls_takes_the_same_way(world: World, archive: str) -> None:
    able, keeper = world.peer("tls"), world.peer(archive)
    recipient, copy = f"bob@{able.domain}", f"copy@{keeper.domain}"
    with _configured(world, "recipient_bcc_maps", _archive(recipient, copy)):
        world.post(recipient)
        assert world.wait_for_mail(able)[0].tls
        if archive == "tls":
            assert world.wait_for_mail(keeper)[0].tls
        else:
            world.wait_until_held(copy)
    world.settle()
    assert all(one.tls for one in world.mails(keeper))
    world.assert_never_clear()


@pytest.mark.behaviour("F12")
def test_of_a_message_that_is_held_for_all_there_is_no_copy(world: World) -> None:
    unable, keeper = world.peer("clear"), world.peer("clear")
    recipient = f"bob@{unable.domain}"
    with _configured(world, "recipient_bcc_maps", _archive(recipient, f"copy@{keeper.domain}")):
        world.post(recipient)
        world.wait_until_held(recipient)
        world.settle()
    assert keeper.mails() == []
    world.assert_never_clear()


@pytest.mark.behaviour("F12")
def test_a_copy_for_an_archive_of_this_site_stays_here(world: World) -> None:
    unable = world.peer("clear")
    recipient = f"bob@{unable.domain}"
    with _configured(world, "recipient_bcc_maps", _archive(recipient, "copy@site.example")):
        world.post(recipient, "joe@site.example")
        world.wait_until_held(recipient)
        world.lab.mailboxes.wait_for_mails(1, 15, lambda one: "copy@site.example" in one.recipients)
        world.settle()
    world.assert_never_clear()


def _send_beside_a_colleague(world: World, path: str) -> int:
    """Send a sensitive message to somebody of this site and to ``RCPT TO:path``; the reply to the latter."""
    content = world.sensitive("undisclosed@site.example").as_bytes(policy=SMTP)

    def session() -> int:
        with smtplib.SMTP(world.lab.mta.ipv4, world.lab.server.port, timeout=TIMEOUT_SECONDS) as client:
            client.ehlo()
            client.docmd("MAIL", f"FROM:<{SENDER}>")
            client.docmd("RCPT", "TO:<joe@site.example>")
            code, _ = client.docmd("RCPT", f"TO:{path}")
            client.data(content)
            return code

    return world.lab.mta.call(session)


# Postfix reduces each of them to user@DOMAIN, and finds none of them again when a milter asks to delete it.
ODD_PATHS = (
    "<@relay.example:user@DOMAIN>",
    "<@a,@b:user@DOMAIN>",
    "<<user@DOMAIN>>",
    "<grp:user@DOMAIN;>",
    "<user@DOMAIN(comment)>",
    "<user@site.example(@DOMAIN)>",
    "< user@DOMAIN >",
)


@pytest.mark.behaviour("F12")
@pytest.mark.parametrize("path", ODD_PATHS)
def test_a_recipient_written_oddly_beside_one_of_this_site_gets_nothing_in_clear(world: World, path: str) -> None:
    peer = world.peer("clear")
    world.look(peer.domain)
    code = _send_beside_a_colleague(world, path.replace("DOMAIN", peer.domain))
    world.lab.mailboxes.wait_for_mails(1, 15, lambda one: "joe@site.example" in one.recipients)
    world.settle()
    assert world.mails(peer) == []
    world.assert_never_clear()
    # A blank beside the address is the one that Postfix itself takes away before anybody asks.
    assert code == 553 or path == "< user@DOMAIN >"


@pytest.mark.behaviour("F12")
def test_the_mark_of_a_real_notice_opens_no_way_for_another_message(world: World) -> None:
    peer = world.peer("clear")
    world.look(peer.domain)
    world.post(f"bob@{peer.domain}")
    for notice in (world.wait_for_notice(SENDER), world.wait_for_notice(f"bob@{peer.domain}")):
        recipient = f"carol{len(world.held())}@{peer.domain}"
        message = world.sensitive(recipient)
        message["X-Restante-Notice"] = "".join(str(notice.message["X-Restante-Notice"]).splitlines())
        assert world.send(message, recipient).accepted
        world.wait_until_held(recipient)
    world.settle()
    assert world.mails(peer) == []
    world.assert_never_clear()


@pytest.mark.behaviour("F12")
def test_a_notice_that_the_mta_routes_outside_holds_no_link_that_opens_without_a_code(world: World) -> None:
    peer = world.peer("clear")
    world.look(peer.domain)
    # Postfix reads a percent sign as routing only in the domains of mydestination.
    with _configured(world, "mydestination", "site.example"):
        held = quarantined(world, f"bob%{peer.domain}@site.example")
        holding.release_to_portal(world.store, held.delivery_id, actor="admin:test", now=time.time())
        (notice,) = peer.wait_for_mails(1, 20)
        assert "access code" in text_of(notice)
        world.assert_never_clear()
