"""Debian's Sendmail in the place of Postfix: the same promises, shown by what real peers received."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.policy import SMTP

import pytest

from restante.settings import Mta
from restante.store.engine import Store
from tests.e2e.policies import agreed
from tests.e2e.world import EXCLUSIVE, EXCLUSIVE_HASTY, HASTY, POLICY, PROVE, SENDER, World, text_of
from tests.lab import mail
from tests.lab.dns import Record
from tests.lab.lab import Lab, PeerSpec
from tests.lab.services import Service, ServiceOptions

PEERS = (PeerSpec("tls.example", "tls"), PeerSpec("clear.example", "clear"))


@pytest.fixture(scope="module")
def running_world() -> Iterator[World]:
    """A site with Sendmail, for the tests of this module."""
    with Lab(peers=PEERS, options=ServiceOptions(policy=POLICY), mta=Mta.SENDMAIL) as lab:
        services = lab.services
        assert services is not None
        store = Store(services.settings.database)
        try:
            yield World(lab, services, store)
        finally:
            store.close()


@pytest.mark.behaviour("O1")
@pytest.mark.behaviour("O2")
def test_ordinary_mail_goes_out_over_tls_where_the_peer_does_it_and_in_clear_where_not(world: World) -> None:
    able, unable = world.peer("tls"), world.peer("clear")
    to = (f"bob@{able.domain}", f"carol@{unable.domain}")
    assert world.send(world.ordinary(*to), *to).accepted
    (over_tls,) = world.wait_for_mail(able)
    (in_clear,) = world.wait_for_mail(unable)
    assert (over_tls.tls, in_clear.tls) == (True, False)
    world.settle()
    assert world.held() == []


@pytest.mark.behaviour("F1")
def test_a_peer_with_tls_gets_the_original_message_over_tls(world: World) -> None:
    peer = world.peer("tls")
    message = world.post(f"Bob@{peer.domain}")
    (received,) = world.wait_for_mail(peer)
    assert (received.tls, received.tls_version) == (True, "TLSv1.3")
    assert (received.sender, received.recipients) == (SENDER, (f"Bob@{peer.domain}",))
    assert received.content.partition(b"\r\n\r\n")[2] == message.as_bytes(policy=SMTP).partition(b"\r\n\r\n")[2]
    assert received.subject == f"your results {world.marker}"
    assert b"restante-tls" not in received.content
    world.settle()
    assert world.held() == []
    world.assert_never_clear()


@pytest.mark.behaviour("F2")
def test_where_tls_is_exclusive_a_message_to_peers_without_it_is_refused_and_says_why(world: World) -> None:
    peer = world.peer("clear")
    message = world.sensitive(f"bob@{peer.domain}", sender=EXCLUSIVE)
    answer = world.send(message, f"bob@{peer.domain}", sender=EXCLUSIVE)
    assert answer.code == 550
    assert "STARTTLS" in answer.reply
    world.settle()
    assert world.mails(peer) == []
    world.assert_never_clear()


@pytest.mark.behaviour("F2")
def test_where_tls_is_exclusive_the_others_get_theirs_and_the_sender_learns_who_did_not(world: World) -> None:
    able, unable = world.peer("tls"), world.peer("clear")
    world.post(f"bob@{able.domain}", f"carol@{unable.domain}", sender=EXCLUSIVE)
    (received,) = world.wait_for_mail(able)
    assert received.tls
    assert received.recipients == (f"bob@{able.domain}",)
    text = text_of(world.wait_for_notice(EXCLUSIVE))
    assert f"carol@{unable.domain}" in text
    world.settle()
    assert world.mails(unable) == []
    world.assert_never_clear()


@pytest.mark.behaviour("F3")
def test_mail_to_a_peer_without_tls_waits_in_the_portal_and_both_sides_are_told(world: World) -> None:
    peer = world.peer("clear")
    recipient = f"carol@{peer.domain}"
    message = world.post(recipient)
    held = world.wait_until_held(recipient)
    assert world.content_of(held).partition(b"\r\n\r\n")[2] == message.as_bytes(policy=SMTP).partition(b"\r\n\r\n")[2]
    assert world.wait_for_notice(recipient).recipients == (recipient,)
    assert world.wait_for_notice(SENDER).recipients == (SENDER,)
    world.settle()
    assert (len(world.notices(recipient)), len(world.notices(SENDER))) == (1, 1)
    assert world.mails(peer) == []
    world.assert_never_clear()


@pytest.mark.behaviour("F3")
def test_a_notice_to_a_peer_with_tls_goes_over_mandatory_tls(world: World) -> None:
    peer = world.portal_only()
    recipient = f"carol@{peer.domain}"
    world.post(recipient)
    world.wait_until_held(recipient)
    notice = world.wait_for_notice(recipient)
    assert (notice.tls, notice.recipients) == (True, (recipient,))
    world.lab.server.wait_for_log(rf"to=<{recipient}\.encrypted\.restante-tls>.*mailer=restante.*stat=Sent")
    world.settle()
    assert world.mails(peer) == []


@pytest.mark.behaviour("F7")
@pytest.mark.parametrize("behaviour", ["clear", "handshake-fails", "starttls-garbage", "tls1.0-only"])
def test_tls_that_fails_at_delivery_sends_the_message_to_the_portal(world: World, behaviour: str) -> None:
    peer = world.seen_with_tls()
    recipient = f"carol@{peer.domain}"
    peer.behave(behaviour)
    message = world.post(recipient)
    held = world.wait_until_held(recipient)
    assert held.reason.startswith("could not be delivered over TLS")
    content = world.content_of(held)
    assert content.endswith(message.as_bytes(policy=SMTP).partition(b"\r\n\r\n")[2])
    world.wait_for_notice(recipient)
    world.wait_for_notice(SENDER)
    world.settle()
    assert world.mails(peer) == []
    assert world.states() == {recipient: "held"}
    world.assert_never_clear()


@pytest.mark.behaviour("F8")
@pytest.mark.parametrize("behaviour", ["tempfail-421", "closed", "data-451", "greylist"])
def test_a_fault_that_may_pass_keeps_the_message_in_the_queue_until_it_has(world: World, behaviour: str) -> None:
    peer = world.seen_with_tls()
    peer.behave(behaviour, **({"greylist_seconds": 600} if behaviour == "greylist" else {}))
    before = len(world.lab.server.log())
    world.post(f"carol@{peer.domain}")
    world.lab.server.wait_for_log(rf"to=<carol@{peer.domain}\..*stat=Deferred", after=before)
    assert world.held() == []
    peer.behave("tls")
    (received,) = world.wait_for_mail(peer, seconds=30)
    assert received.tls
    world.settle()
    assert len(world.mails(peer)) == 1
    assert world.held() == []
    world.assert_never_clear()


@pytest.mark.behaviour("F8")
def test_after_the_deadline_the_message_waits_in_the_portal_or_bounces_as_its_rule_says(world: World) -> None:
    peer = world.seen_with_tls()
    peer.behave("tempfail-421")
    world.post(f"carol@{peer.domain}", sender=HASTY)
    world.post(f"dave@{peer.domain}", sender=EXCLUSIVE_HASTY)
    world.wait_until_held(f"carol@{peer.domain}", seconds=30)
    (bounce,) = world.lab.mailboxes.wait_for_mails(1, 30, lambda one: EXCLUSIVE_HASTY in one.recipients)
    text = bounce.content.decode("utf-8", "replace")
    assert "Encryption needed" in text
    assert f"Original-Recipient: rfc822;dave@{peer.domain}" in text
    assert bounce.sender == ""
    assert world.mails(peer) == []
    world.assert_never_clear()


@pytest.mark.behaviour("F9")
@pytest.mark.parametrize("domain", ["", "nullmx.example"])
def test_a_domain_without_mail_gives_an_ordinary_bounce(world: World, domain: str) -> None:
    recipient = f"nobody@{domain or world.new_domain()}"
    world.post(recipient)
    (bounce,) = world.lab.mailboxes.wait_for_mails(1, 20, lambda one: one.recipients == (SENDER,))
    assert bounce.sender == ""
    assert "Action: failed" in bounce.content.decode("utf-8", "replace")
    world.settle()
    assert world.held() == []


@pytest.mark.behaviour("F10")
def test_a_backup_mx_without_tls_is_never_used(world: World) -> None:
    primary, backup = world.seen_with_tls(), world.peer("clear")
    world.lab.dns.add(Record(primary.domain, "MX", f"20 {backup.mx}."))
    world.look(primary.domain)
    primary.behave("tempfail-421")
    before = len(world.lab.server.log())
    world.post(f"dave@{primary.domain}")
    world.lab.server.wait_for_log(rf"to=<dave@{primary.domain}\..*stat=Deferred", after=before)
    assert world.held() == []
    primary.behave("tls")
    world.wait_for_mail(primary, seconds=30)
    world.settle()
    assert world.mails(backup) == []
    world.assert_never_clear()


@pytest.mark.behaviour("F6")
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
    world.lab.server.wait_for_log(rf"to=<carol@{peer.domain}\.authenticated\.restante-tls>.*stat=Sent")
    world.settle()
    assert world.held() == []


@pytest.mark.behaviour("F1")
@pytest.mark.parametrize("behaviour", ["self-signed", "expired", "wrong-name"])
def test_where_encryption_is_enough_a_bad_certificate_is_still_tls(world: World, behaviour: str) -> None:
    peer = world.peer(behaviour)
    world.post(f"carol@{peer.domain}")
    (received,) = world.wait_for_mail(peer)
    assert received.tls
    world.assert_never_clear()


@pytest.mark.behaviour("F11")
def test_each_recipient_of_one_message_goes_its_own_way(world: World) -> None:
    able, strict, unable = world.peer("tls"), world.partner(), world.peer("clear")
    to = (f"bob@{able.domain}", f"erin@{strict.domain}", f"carol@{unable.domain}", "dan@site.example")
    world.post(*to)
    for peer, recipient in ((able, to[0]), (strict, to[1])):
        (received,) = world.wait_for_mail(peer)
        assert (received.tls, received.recipients) == (True, (recipient,))
    world.wait_until_held(to[2])
    (local,) = world.lab.mailboxes.wait_for_mails(1, 15, lambda one: to[3] in one.recipients)
    assert world.marker.encode() in local.content
    world.settle()
    assert [len(world.mails(peer)) for peer in (able, strict, unable)] == [1, 1, 0]
    world.assert_never_clear()


@pytest.mark.behaviour("D1")
def test_a_domain_with_always_gets_tls_for_all_mail_and_nothing_in_clear_when_it_loses_it(world: World) -> None:
    clear, able, always = world.peer("clear"), world.peer("tls"), world.peer("tls")
    everyone = [f"bob@{peer.domain}" for peer in (clear, able, always)]
    with agreed(world, f'[[domain]]\nname = "{always.domain}"\nmode = "always"\n'):
        assert world.send(world.ordinary(*everyone), *everyone).accepted
        for peer, tls in ((clear, False), (able, True), (always, True)):
            (received,) = world.wait_for_mail(peer)
            assert (received.tls, received.recipients) == (tls, (f"bob@{peer.domain}",))
        world.settle()
        for peer in (clear, able, always):
            peer.reset()
        always.behave("clear")
        assert world.send(world.ordinary(*everyone), *everyone).accepted
        for peer, tls in ((clear, False), (able, True)):
            (received,) = world.wait_for_mail(peer)
            assert received.tls is tls
        world.wait_until_held(f"bob@{always.domain}")
        world.settle()
        assert world.mails(always) == []
        assert world.marker.encode() not in always.clear_bytes()


@pytest.mark.behaviour("F12")
def test_an_address_literal_cannot_be_marked_and_is_refused(world: World) -> None:
    peer = world.seen_with_tls()
    to = f"bob@[{peer.host.ipv4}]"
    answer = world.send(world.sensitive(to), to)
    assert answer.code == 550
    world.settle()
    assert world.mails(peer) == []
    world.assert_never_clear()


@pytest.mark.behaviour("F12")
def test_a_recipient_that_sendmail_itself_expands_cannot_be_taken_out_and_is_deferred(world: World) -> None:
    # mta.example is Sendmail's own domain, but the settings do not say that it is this site's.
    answer = world.send(world.sensitive("root@mta.example"), "root@mta.example")
    assert answer.code == 451
    assert "internal_domains" in world.log(Service.MILTER)
    assert world.held() == []


@pytest.mark.behaviour("F12")
def test_many_recipients_of_many_domains_keep_their_mark_when_sendmail_splits_the_envelope(world: World) -> None:
    peers = [world.seen_with_tls() for _ in range(3)]
    to = [f"user{number}@{peer.domain}" for peer in peers for number in range(3)]
    for peer in peers:
        peer.behave("clear")
    before = len(world.lab.server.log())
    world.post(*to)
    for recipient in to:
        world.wait_until_held(recipient, seconds=30)
    world.settle()
    queue_ids = set(re.findall(r" (\w+): to=<user[^ ]*\.restante-tls>", world.lab.server.log()[before:]))
    assert len(queue_ids) > 1
    assert all(world.mails(peer) == [] for peer in peers)
    world.assert_never_clear()


def test_with_the_worker_down_sensitive_mail_waits_and_ordinary_mail_goes(world: World) -> None:
    able, lost = world.seen_with_tls(), world.seen_with_tls()
    unable = world.peer("clear")
    world.services.stop(Service.WORKER)
    try:
        lost.behave("clear")
        to = f"carol@{lost.domain}"
        world.post(to)
        assert world.send(world.ordinary(f"x@{unable.domain}"), f"x@{unable.domain}").accepted
        world.post(f"bob@{able.domain}")
        (received,) = world.wait_for_mail(able, seconds=30)
        assert received.tls
        world.wait_for_mail(unable, seconds=30)
        world.lab.server.wait_for_log(rf"to=<carol@{lost.domain}\..*stat=Deferred")
        assert world.held() == []
        assert world.mails(lost) == []
    finally:
        world.services.start(Service.WORKER)
    world.wait_until_held(to)
    assert world.mails(lost) == []


def test_with_the_milter_down_nothing_is_taken(world: World) -> None:
    peer = world.peer("tls")
    world.services.stop(Service.MILTER)
    try:
        answer = world.send(world.sensitive(f"bob@{peer.domain}"), f"bob@{peer.domain}")
        assert answer.code // 100 == 4
    finally:
        world.services.start(Service.MILTER)
    assert world.mails(peer) == []


@pytest.mark.behaviour("F12")
def test_a_mark_that_a_client_writes_weakens_nothing(world: World) -> None:
    peer = world.peer("clear")
    to = f"bob@{peer.domain}.encrypted.restante-tls"
    answer = world.send(world.sensitive(to), to)
    assert answer.refused == {to: 553}
    assert world.mails(peer) == []
    world.assert_never_clear()


@pytest.mark.behaviour("F1")
def test_a_payment_card_is_found_too(world: World) -> None:
    peer = world.peer("tls")
    assert world.send(mail.with_card(world.marker, to=[f"bob@{peer.domain}"]), f"bob@{peer.domain}").accepted
    (received,) = world.wait_for_mail(peer)
    assert received.tls
    world.assert_never_clear(mail.CARD_NUMBER)
