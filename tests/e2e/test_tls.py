"""Sensitive mail goes out under TLS or not at all: what real peers received from a real Postfix."""

from __future__ import annotations

from email.policy import SMTP

import pytest

from tests.e2e.world import EXCLUSIVE, EXCLUSIVE_HASTY, HASTY, PROVE, SENDER, World, text_of
from tests.lab import mail
from tests.lab.dns import Record
from tests.lab.peers import Peer


@pytest.mark.behaviour("F1")
def test_a_peer_with_tls_gets_the_original_message_over_tls_with_the_tag_taken_out(world: World) -> None:
    peer = world.peer("tls")
    message = world.post(f"bob@{peer.domain}")
    (received,) = world.wait_for_mail(peer)
    assert (received.tls, received.tls_version) == (True, "TLSv1.3")
    assert (received.sender, received.recipients) == (SENDER, (f"bob@{peer.domain}",))
    sent_head, _, sent_body = message.as_bytes(policy=SMTP).partition(b"\r\n\r\n")
    head, _, body = received.content.partition(b"\r\n\r\n")
    assert body == sent_body
    for line in sent_head.split(b"\r\n"):
        assert line.replace(b"Subject: [secure] ", b"Subject: ") in head.split(b"\r\n")
    assert received.subject == f"your results {world.marker}"
    world.assert_never_clear()
    assert world.held() == []


@pytest.mark.behaviour("F1")
def test_a_message_with_a_payment_card_goes_the_same_way_unchanged(world: World) -> None:
    peer = world.peer("tls")
    message = mail.with_card(world.marker, to=[f"bob@{peer.domain}"])
    assert world.send(message, f"bob@{peer.domain}").accepted
    (received,) = world.wait_for_mail(peer)
    assert received.tls
    assert received.subject == "your order"
    assert received.content.endswith(message.as_bytes(policy=SMTP).partition(b"\r\n\r\n")[2])
    world.assert_never_clear(mail.CARD_NUMBER)


@pytest.mark.behaviour("F2")
def test_where_tls_is_exclusive_a_message_to_peers_without_it_is_refused_and_says_why(world: World) -> None:
    peer = world.peer("clear")
    message = world.sensitive(f"bob@{peer.domain}", sender=EXCLUSIVE)
    answer = world.send(message, f"bob@{peer.domain}", sender=EXCLUSIVE)
    assert answer.code == 550
    assert "STARTTLS" in answer.reply
    assert world.held() == []
    world.assert_never_clear()
    assert world.mails(peer) == []


@pytest.mark.behaviour("F2")
def test_where_tls_is_exclusive_the_others_get_theirs_and_the_sender_learns_who_did_not(world: World) -> None:
    able, unable = world.peer("tls"), world.peer("clear")
    world.post(f"bob@{able.domain}", f"carol@{unable.domain}", sender=EXCLUSIVE)
    (received,) = world.wait_for_mail(able)
    assert received.tls
    assert received.recipients == (f"bob@{able.domain}",)
    text = text_of(world.wait_for_notice(EXCLUSIVE))
    (line,) = [line for line in text.splitlines() if line.startswith(f"- carol@{unable.domain}")]
    assert "not sent" in line
    assert "STARTTLS" in line
    world.settle()
    assert world.mails(unable) == []
    assert world.notices(f"carol@{unable.domain}") == []
    world.assert_never_clear()


@pytest.mark.behaviour("F3")
def test_mail_to_a_peer_without_tls_waits_in_the_portal_and_both_sides_are_told(world: World) -> None:
    peer = world.peer("clear")
    recipient = f"carol@{peer.domain}"
    message = world.post(recipient)
    held = world.wait_until_held(recipient)
    sent_body = message.as_bytes(policy=SMTP).partition(b"\r\n\r\n")[2]
    assert world.content_of(held).partition(b"\r\n\r\n")[2] == sent_body
    assert world.wait_for_notice(recipient).recipients == (recipient,)
    assert world.wait_for_notice(SENDER).recipients == (SENDER,)
    world.settle()
    assert (len(world.notices(recipient)), len(world.notices(SENDER))) == (1, 1)
    assert world.mails(peer) == []
    world.assert_never_clear()
    assert world.audit()[0] == "took-held"


@pytest.mark.behaviour("F3")
def test_sensitive_mail_to_a_portal_only_domain_is_held_though_its_peer_does_tls(world: World) -> None:
    peer = world.portal_only()
    world.post(f"carol@{peer.domain}")
    held = world.wait_until_held(f"carol@{peer.domain}")
    assert held.reason == "domain is portal-only"
    world.settle()
    assert world.mails(peer) == []


@pytest.mark.behaviour("F4")
def test_tls_that_is_too_old_counts_as_none(world: World) -> None:
    peer = world.peer("tls1.0-only")
    world.post(f"carol@{peer.domain}")
    world.wait_until_held(f"carol@{peer.domain}")
    world.assert_never_clear()
    assert world.mails(peer) == []


# What an attacker or a fault does between the look and the delivery.  All of them end in the portal at once: the
# intake looks again, and sees what delivery saw.
LOST_TLS = ("clear", "handshake-fails", "starttls-garbage", "mangled-ehlo", "refused-ehlo", "tls1.0-only")


@pytest.mark.behaviour("F5")
@pytest.mark.behaviour("F7")
@pytest.mark.parametrize("behaviour", LOST_TLS)
def test_tls_that_fails_at_delivery_sends_the_message_to_the_portal(world: World, behaviour: str) -> None:
    peer = world.seen_with_tls()
    recipient = f"carol@{peer.domain}"
    peer.behave(behaviour)
    message = world.post(recipient)
    held = world.wait_until_held(recipient)
    assert held.reason.startswith("could not be delivered over TLS")
    content = world.content_of(held)
    assert content.endswith(message.as_bytes(policy=SMTP).partition(b"\r\n\r\n")[2])
    assert b"X-Restante-Route" not in content
    world.wait_for_notice(recipient)
    world.wait_for_notice(SENDER)
    world.settle()
    assert world.mails(peer) == []
    assert world.states() == {recipient: "held"}
    world.assert_never_clear()
    assert _commands(peer, "MAIL") <= {f"MAIL FROM:<{one}>" for one in ("restante@site.example",)}


@pytest.mark.behaviour("F11")
@pytest.mark.behaviour("F7")
@pytest.mark.parametrize("behaviour", ["clear", "handshake-fails"])
def test_a_copy_that_the_worker_hands_over_is_protected_just_the_same(world: World, behaviour: str) -> None:
    able, peer = world.peer("tls"), world.seen_with_tls()
    recipient = f"carol@{peer.domain}"
    peer.behave(behaviour)
    world.post(recipient, f"bob@{able.domain}", "colleague@site.example")
    (received,) = world.wait_for_mail(able)
    assert received.tls
    taken = world.lab.mailboxes.wait_for_mails(1, 15, lambda one: "colleague@site.example" in one.recipients)
    world.wait_for_notice(recipient, 30)
    world.settle()
    assert len(taken) == len(world.mails(able)) == 1
    assert world.mails(peer) == []
    # The copy that was handed over, and the one that came back.
    assert sorted(str(one.state) for one in world.held(recipient=recipient)) == ["handed-over", "held"]
    world.assert_never_clear()


@pytest.mark.behaviour("F7")
def test_plain_text_that_is_injected_after_starttls_reaches_neither_session_nor_content(world: World) -> None:
    # Postfix drops what it has read in clear before the handshake; the prober calls it a firm no.
    seen, unseen = world.seen_with_tls(), world.peer("starttls-injection")
    seen.behave("starttls-injection")
    world.post(f"carol@{seen.domain}")
    world.post(f"dave@{unseen.domain}")
    (received,) = world.wait_for_mail(seen)
    assert received.tls
    world.wait_until_held(f"dave@{unseen.domain}")
    world.settle()
    assert world.mails(unseen) == []
    assert world.states() == {f"dave@{unseen.domain}": "held"}
    world.assert_never_clear()


@pytest.mark.behaviour("F7")
def test_starttls_that_is_offered_to_the_prober_alone_gives_nothing_away(world: World) -> None:
    peer = world.peer("drops-tls")
    world.post(f"carol@{peer.domain}")
    world.wait_until_held(f"carol@{peer.domain}")
    world.settle()
    assert world.mails(peer) == []
    world.assert_never_clear()


# What proves nothing about TLS.  The message stays in the queue, and goes out once the peer works again.
PASSING = ("truncated-ehlo", "starttls-refused", "tempfail-421", "closed", "data-451")


@pytest.mark.behaviour("F7")
@pytest.mark.behaviour("F8")
@pytest.mark.parametrize("behaviour", PASSING)
def test_a_fault_that_may_pass_keeps_the_message_in_the_queue_until_it_has(world: World, behaviour: str) -> None:
    peer = world.seen_with_tls()
    peer.behave(behaviour)
    before = len(world.lab.postfix.log())
    world.post(f"carol@{peer.domain}")
    world.lab.postfix.wait_for_log(rf"to=<carol@{peer.domain}>.*status=deferred", after=before)
    assert world.held() == []
    peer.behave("tls")
    (received,) = world.wait_for_mail(peer)
    assert received.tls
    world.settle()
    assert len(world.mails(peer)) == 1
    assert world.held() == []
    world.assert_never_clear()


@pytest.mark.behaviour("F8")
def test_a_greylisting_peer_gets_the_message_at_the_second_try_under_tls(world: World) -> None:
    peer = world.peer("greylist")
    world.post(f"carol@{peer.domain}")
    (received,) = world.wait_for_mail(peer)
    assert received.tls
    world.settle()
    assert len(world.mails(peer)) == 1
    assert world.held() == []
    world.assert_never_clear()


@pytest.mark.behaviour("F8")
@pytest.mark.parametrize("behaviour", ["tempfail-421", "closed", "data-451", "greylist"])
def test_after_the_deadline_the_message_waits_in_the_portal(world: World, behaviour: str) -> None:
    changes = {"greylist_seconds": 600} if behaviour == "greylist" else {}
    peer = world.seen_with_tls()
    peer.behave(behaviour, **changes)
    recipient = f"carol@{peer.domain}"
    world.post(recipient, sender=HASTY)
    world.wait_until_held(recipient, seconds=30)
    assert world.mails(peer) == []
    world.wait_for_notice(HASTY)
    world.lab.postfix.wait_for_log(rf"to=<{recipient}>.*status=sent .*Accepted")
    world.assert_never_clear()


@pytest.mark.behaviour("F8")
@pytest.mark.behaviour("F2")
def test_after_the_deadline_an_exclusive_rule_bounces_to_the_sender(world: World) -> None:
    peer = world.seen_with_tls()
    peer.behave("tempfail-421")
    world.post(f"carol@{peer.domain}", sender=EXCLUSIVE_HASTY)
    (bounce,) = world.lab.mailboxes.wait_for_mails(1, 30, lambda one: EXCLUSIVE_HASTY in one.recipients)
    assert "Encryption needed" in bounce.content.decode("utf-8", "replace")
    assert bounce.sender == ""
    assert world.held() == []
    world.assert_never_clear()


@pytest.mark.behaviour("F8")
def test_while_dns_is_silent_the_message_is_kept_and_then_delivered_under_tls(world: World) -> None:
    peer = world.peer("tls")
    world.lab.dns.flush()
    world.lab.dns.pause()
    before = len(world.lab.postfix.log())
    try:
        world.post(f"carol@{peer.domain}")
        world.lab.postfix.wait_for_log(rf"to=<carol@{peer.domain}>.*status=deferred", 60, after=before)
        assert world.held() == []
    finally:
        world.lab.dns.resume()
    (received,) = world.wait_for_mail(peer, seconds=60)
    assert received.tls
    world.assert_never_clear()


@pytest.mark.behaviour("F9")
@pytest.mark.parametrize("domain", ["", "nullmx.example"])
def test_a_domain_without_mail_gives_an_ordinary_bounce_and_no_notice(world: World, domain: str) -> None:
    recipient = f"nobody@{domain or world.new_domain()}"
    world.post(recipient)
    (bounce,) = world.lab.mailboxes.wait_for_mails(1, 20, lambda one: one.recipients == (SENDER,))
    assert bounce.sender == ""
    assert "Action: failed" in bounce.content.decode("utf-8", "replace")
    assert recipient in bounce.content.decode("utf-8", "replace")
    world.settle()
    assert world.held() == []
    assert [one.sender for one in world.lab.mailboxes.mails() if SENDER in one.recipients] == [""]


@pytest.mark.behaviour("F10")
def test_a_backup_mx_without_tls_is_never_used(world: World) -> None:
    primary, backup = world.seen_with_tls(), world.peer("clear")
    world.lab.dns.add(Record(primary.domain, "MX", f"20 {backup.mx}."))
    world.look(primary.domain)
    world.post(f"carol@{primary.domain}")
    (received,) = world.wait_for_mail(primary)
    assert received.tls
    # With the primary gone the message waits for it, whatever the backup offers.
    primary.behave("tempfail-421")
    before = len(world.lab.postfix.log())
    world.post(f"dave@{primary.domain}")
    world.lab.postfix.wait_for_log(rf"to=<dave@{primary.domain}>.*status=deferred", after=before)
    assert world.held() == []
    primary.behave("tls")
    world.wait_for_mail(primary, 2)
    world.settle()
    assert world.mails(backup) == []
    world.assert_never_clear()


@pytest.mark.behaviour("F6")
@pytest.mark.parametrize("behaviour", ["self-signed", "expired", "wrong-name", "clear"])
def test_where_the_peer_must_prove_its_name_one_that_cannot_counts_as_without_tls(world: World, behaviour: str) -> None:
    peer = world.peer(behaviour)
    recipient = f"carol@{peer.domain}"
    world.post(recipient, sender=PROVE)
    world.wait_until_held(recipient)
    assert world.mails(peer) == []
    world.assert_never_clear()


@pytest.mark.behaviour("F6")
@pytest.mark.behaviour("F5")
@pytest.mark.parametrize("behaviour", ["self-signed", "expired", "wrong-name", "clear"])
def test_a_certificate_that_goes_bad_before_delivery_sends_the_message_to_the_portal(
    world: World, behaviour: str
) -> None:
    peer = world.seen_with_tls()
    peer.behave(behaviour)
    recipient = f"carol@{peer.domain}"
    world.post(recipient, sender=PROVE)
    world.wait_until_held(recipient)
    assert world.mails(peer) == []
    world.assert_never_clear()


@pytest.mark.behaviour("F6")
def test_a_peer_that_proves_its_name_gets_the_message(world: World) -> None:
    peer = world.peer("tls")
    world.post(f"carol@{peer.domain}", sender=PROVE)
    (received,) = world.wait_for_mail(peer)
    assert received.tls
    world.settle()
    assert world.held() == []
    world.lab.postfix.wait_for_log(rf"Verified TLS connection established to {peer.mx}")


@pytest.mark.behaviour("F6")
def test_a_domain_with_an_agreement_must_prove_its_name_for_every_rule(world: World) -> None:
    peer = world.partner("self-signed")
    world.post(f"carol@{peer.domain}")
    world.wait_until_held(f"carol@{peer.domain}")
    assert world.mails(peer) == []
    world.assert_never_clear()


@pytest.mark.behaviour("F1")
@pytest.mark.parametrize("behaviour", ["self-signed", "expired", "wrong-name"])
def test_where_encryption_is_enough_a_bad_certificate_is_still_tls(world: World, behaviour: str) -> None:
    peer = world.peer(behaviour)
    world.post(f"carol@{peer.domain}")
    (received,) = world.wait_for_mail(peer)
    assert received.tls
    world.assert_never_clear()


@pytest.mark.behaviour("F12")
@pytest.mark.parametrize(
    "forged",
    [
        "X-Restante-Route: tls level=encrypted AAAA",
        "X-Restante-Route: relay",
        "X-Restante-Notice: AAAA",
        "TLS-Required: No",
    ],
)
def test_nothing_that_a_client_writes_weakens_a_sensitive_message(world: World, forged: str) -> None:
    able, unable = world.peer("tls"), world.peer("clear")
    name, _, value = forged.partition(": ")
    message = world.sensitive(f"bob@{able.domain}", f"carol@{unable.domain}")
    message[name] = value
    assert world.send(message, f"bob@{able.domain}", f"carol@{unable.domain}").accepted
    (received,) = world.wait_for_mail(able)
    assert received.tls
    world.wait_until_held(f"carol@{unable.domain}")
    assert world.mails(unable) == []
    world.assert_never_clear()


@pytest.mark.behaviour("F12")
def test_a_mark_taken_from_an_old_message_does_not_make_a_new_one_ours(world: World) -> None:
    first, second = world.peer("tls"), world.seen_with_tls()
    world.post(f"bob@{first.domain}")
    (received,) = world.wait_for_mail(first)
    message = world.sensitive(f"carol@{second.domain}")
    message["X-Restante-Route"] = str(received.message["X-Restante-Route"])
    second.behave("clear")
    assert world.send(message, f"carol@{second.domain}").accepted
    world.wait_until_held(f"carol@{second.domain}")
    world.assert_never_clear()


def _commands(peer: Peer, verb: str) -> set[str]:
    """The commands with ``verb`` that the peer got, without their parameters."""
    return {
        " ".join(event.text.split()[:2])
        for event in peer.sessions()
        if event.event == "command" and event.text.upper().startswith(verb)
    }
