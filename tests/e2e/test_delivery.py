"""Which way each recipient's copy goes, once, and what people are told of it."""

from __future__ import annotations

import json
import re
from email.policy import SMTP
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from restante.store.models import TlsEvidence
from tests.e2e.policies import reload
from tests.e2e.world import PROVE, REFUSED, SENDER, World, recipients_of, text_of
from tests.lab import mail
from tests.lab.services import Service


@pytest.mark.behaviour("O1")
def test_ordinary_mail_to_a_peer_with_tls_goes_over_tls(world: World) -> None:
    peer = world.peer("tls")
    message = world.ordinary(f"bob@{peer.domain}")
    assert world.send(message, f"bob@{peer.domain}").accepted
    (received,) = world.wait_for_mail(peer)
    assert received.tls
    assert received.message["X-Restante-Route"] is None
    assert received.content.endswith(message.as_bytes(policy=SMTP).partition(b"\r\n\r\n")[2])
    assert world.held() == []


@pytest.mark.behaviour("O2")
def test_ordinary_mail_to_a_peer_without_tls_goes_out_in_clear_at_once(world: World) -> None:
    peer = world.peer("clear")
    assert world.send(world.ordinary(f"bob@{peer.domain}"), f"bob@{peer.domain}").accepted
    (received,) = world.wait_for_mail(peer, seconds=5)
    assert not received.tls
    assert world.marker.encode() in peer.clear_bytes()
    world.settle(5)
    assert world.held() == []
    # One connection, by Postfix: nobody looked at the peer's TLS first.
    assert sum(event.event == "open" for event in peer.sessions()) == 1


@pytest.mark.behaviour("O2")
def test_ordinary_mail_needs_no_worker(world: World) -> None:
    peer = world.peer("clear")
    world.services.process(Service.WORKER).pause()
    try:
        assert world.send(world.ordinary(f"bob@{peer.domain}"), f"bob@{peer.domain}").accepted
        world.wait_for_mail(peer, seconds=5)
    finally:
        world.services.process(Service.WORKER).resume()


@pytest.mark.behaviour("O3")
@pytest.mark.parametrize("behaviour", ["self-signed", "expired", "wrong-name"])
def test_ordinary_mail_does_not_care_about_certificates(world: World, behaviour: str) -> None:
    peer = world.peer(behaviour)
    assert world.send(world.ordinary(f"bob@{peer.domain}"), f"bob@{peer.domain}").accepted
    (received,) = world.wait_for_mail(peer)
    assert received.tls


@pytest.mark.behaviour("O4")
def test_ordinary_mail_falls_back_to_clear_as_postfix_does(world: World) -> None:
    peer = world.peer("handshake-fails")
    assert world.send(world.ordinary(f"bob@{peer.domain}"), f"bob@{peer.domain}").accepted
    (received,) = world.wait_for_mail(peer)
    assert not received.tls


@pytest.mark.behaviour("O5")
def test_a_newsletter_to_500_domains_makes_restante_look_at_none_of_them(world: World) -> None:
    with world.store.read() as session:
        before = session.scalar(select(func.count()).select_from(TlsEvidence))
    domains = [world.new_domain() for _ in range(500)]
    answer = world.send(world.ordinary("list@site.example"), *(f"reader@{domain}" for domain in domains))
    assert answer.accepted
    assert not answer.refused
    with world.store.read() as session:
        assert session.scalar(select(func.count()).select_from(TlsEvidence)) == before
    assert world.log(Service.WORKER) == ""


@pytest.mark.behaviour("F11")
def test_each_recipient_of_a_mixed_message_gets_exactly_its_own_way_once(world: World) -> None:
    first, second, unable = world.peer("tls"), world.peer("tls"), world.peer("clear")
    missing = f"nobody@{world.new_domain()}"
    recipients = (
        SENDER.replace("ann", "colleague"),
        f"bob@{first.domain}",
        f"bill@{first.domain}",
        f"erin@{second.domain}",
        f"carol@{unable.domain}",
        f"Dave@{unable.domain.upper()}",
        missing,
    )
    world.post(*recipients)
    world.wait_until_held(f"carol@{unable.domain}")
    world.wait_for_mail(first)
    world.wait_for_mail(second)
    (bounce,) = world.lab.mailboxes.wait_for_mails(
        1, 30, lambda one: one.sender == "" and missing in _text(one.content)
    )
    world.settle()
    assert recipients_of(world.mails(first)) == [f"bill@{first.domain}", f"bob@{first.domain}"]
    assert recipients_of(world.mails(second)) == [f"erin@{second.domain}"]
    internal = [one for one in world.mails(world.lab.mailboxes) if "colleague@site.example" in one.recipients]
    assert [one.recipients for one in internal] == [("colleague@site.example",)]
    assert all(one.tls for one in [*world.mails(first), *world.mails(second)])
    assert world.mails(unable) == []
    assert bounce.recipients == (SENDER,)
    assert world.states() == {
        f"bill@{first.domain}": "handed-over",
        f"bob@{first.domain}": "handed-over",
        f"erin@{second.domain}": "handed-over",
        f"carol@{unable.domain}": "held",
        f"Dave@{unable.domain.upper()}": "held",
        missing: "handed-over",
        "colleague@site.example": "left-with-mta",
    }
    assert len(world.notices(f"carol@{unable.domain}")) == 1
    world.assert_never_clear()


@pytest.mark.behaviour("F11")
def test_tls_and_portal_in_one_message_without_internal_recipients(world: World) -> None:
    able, unable = world.peer("tls"), world.peer("clear")
    message = world.post(f"bob@{able.domain}", f"carol@{unable.domain}")
    (received,) = world.wait_for_mail(able)
    assert received.subject == f"your results {world.marker}"
    held = world.wait_until_held(f"carol@{unable.domain}")
    assert world.content_of(held).endswith(message.as_bytes(policy=SMTP).partition(b"\r\n\r\n")[2])
    assert f"Subject: your results {world.marker}\r\n".encode() in world.content_of(held)
    world.settle()
    assert world.states() == {f"bob@{able.domain}": "left-with-mta", f"carol@{unable.domain}": "held"}
    assert recipients_of(world.mails(able)) == [f"bob@{able.domain}"]
    world.assert_never_clear()


@pytest.mark.behaviour("F11")
def test_two_tls_levels_in_one_message_each_get_their_own(world: World) -> None:
    partner, other = world.partner(), world.peer("self-signed")
    world.post(f"bob@{partner.domain}", f"erin@{other.domain}")
    world.wait_for_mail(partner)
    world.wait_for_mail(other)
    world.settle()
    assert recipients_of(world.mails(partner)) == [f"bob@{partner.domain}"]
    assert recipients_of(world.mails(other)) == [f"erin@{other.domain}"]
    world.assert_never_clear()


@pytest.mark.behaviour("F11")
def test_the_message_that_the_worker_hands_over_is_the_one_that_was_sent(world: World) -> None:
    peer = world.peer("tls")
    message = world.post(f"bob@{peer.domain}", "colleague@site.example")
    (received,) = world.wait_for_mail(peer)
    head, _, body = received.content.partition(b"\r\n\r\n")
    sent_head, _, sent_body = message.as_bytes(policy=SMTP).partition(b"\r\n\r\n")
    assert body == sent_body
    for line in sent_head.split(b"\r\n"):
        assert line.replace(b"Subject: [secure] ", b"Subject: ") in head.split(b"\r\n")


def test_quarantined_mail_reaches_nobody_and_the_recipient_hears_nothing(world: World) -> None:
    peer = world.peer("tls")
    recipient = f"frank@{peer.domain}"
    message = mail.message("about project nightfall", f"Project nightfall. {world.marker}", to=[recipient])
    assert world.send(message, recipient, "colleague@site.example").accepted
    text = text_of(world.wait_for_notice(SENDER))
    assert re.search(rf"- {re.escape(recipient)}: is held for review", text)
    world.settle()
    assert world.states() == {recipient: "quarantined", "colleague@site.example": "quarantined"}
    assert world.mails(peer) == []
    assert world.notices(recipient) == []
    assert world.mails(world.lab.mailboxes) == []


def test_a_rule_that_rejects_refuses_the_message_and_keeps_nothing(world: World) -> None:
    peer = world.peer("tls")
    answer = world.send(world.sensitive(f"bob@{peer.domain}", sender=REFUSED), f"bob@{peer.domain}", sender=REFUSED)
    assert answer.code == 550
    assert "5.7.1" in answer.reply
    assert world.held() == []


@pytest.mark.behaviour("S1")
def test_the_sender_is_told_which_way_each_recipient_went_with_the_code_to_pass_on(world: World) -> None:
    able, unable = world.peer("tls"), world.peer("clear")
    message = world.post(f"bob@{able.domain}", f"carol@{unable.domain}", "colleague@site.example")
    notice = world.wait_for_notice(SENDER)
    text = text_of(notice)
    assert re.search(rf"- bob@{able.domain}: goes out under mandatory TLS", text)
    assert re.search(rf"- carol@{unable.domain}: waits in the portal.*does not offer STARTTLS", text)
    assert re.search(r"- colleague@site\.example: delivered as usual", text)
    codes = re.findall(r"^  ([0-9A-Z]{4}-[0-9A-Z]{4})$", text, re.MULTILINE)
    assert len(codes) == 1, notice.content.decode()
    assert text.index(f"carol@{unable.domain} needs this access code") < text.index(codes[0])
    assert notice.message["In-Reply-To"] == message["Message-ID"]
    assert world.marker not in notice.content.decode()
    assert codes[0] not in world.wait_for_notice(f"carol@{unable.domain}").content.decode()


@pytest.mark.behaviour("P3")
def test_a_notice_holds_nothing_of_the_message_and_says_how_to_know_it(world: World) -> None:
    peer = world.peer("clear")
    recipient = f"carol@{peer.domain}"
    message = world.sensitive(recipient)
    message.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename=f"file-{world.marker}.pdf")
    assert world.send(message, recipient).accepted
    notice = world.wait_for_notice(recipient)
    assert world.marker not in notice.content.decode()
    assert world.marker not in str(notice.message)
    assert "results" not in notice.content.decode()
    text = text_of(notice)
    assert "How to know that this notice is true" in text
    assert SENDER in text
    links = re.findall(r"https?://\S+/p/\S+", text)
    assert len(set(links)) == 1
    assert links[0].startswith(world.services.portal_url + "/p/")
    assert notice.message["Auto-Submitted"] == "auto-generated"
    world.assert_never_clear()


@pytest.mark.behaviour("P3")
def test_a_notice_itself_travels_under_tls_where_the_domain_has_it(world: World) -> None:
    peer = world.portal_only()
    world.post(f"carol@{peer.domain}")
    notice = world.wait_for_notice(f"carol@{peer.domain}")
    assert notice.tls
    assert b"/p/" not in peer.clear_bytes()
    assert "access code" not in text_of(notice)


@pytest.mark.behaviour("P4")
def test_a_notice_that_cannot_be_delivered_under_tls_is_sent_again_in_clear_with_a_code(world: World) -> None:
    peer = world.portal_only()
    recipient = f"carol@{peer.domain}"
    world.look(peer.domain)
    peer.behave("clear")
    world.post(recipient)
    notice = world.wait_for_notice(recipient, 30)
    assert not notice.tls
    assert "access code" in text_of(notice)
    first = text_of(world.wait_for_notice(SENDER))
    assert f"{recipient} needs this access code" not in first
    world.lab.mailboxes.wait_for_mails(2, 20, lambda one: SENDER in one.recipients)
    assert f"{recipient} needs this access code" in text_of(world.notices(SENDER)[-1])
    assert world.states() == {recipient: "held"}
    world.assert_never_clear()


@pytest.mark.parametrize("split", [False, True])
def test_dsn_parameters_reach_the_peer_on_both_ways(world: World, split: bool) -> None:  # noqa: FBT001
    peer = world.peer("tls")
    recipients = [f"bob@{peer.domain}"] + (["colleague@site.example"] if split else [])
    world.post(
        *recipients,
        options=["RET=HDRS", "ENVID=QQ314159"],
        rcpt_options=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Bob@elsewhere.example"],
    )
    (received,) = world.wait_for_mail(peer)
    assert {"RET=HDRS", "ENVID=QQ314159"} <= set(received.sender_options.split())
    assert {"NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Bob@elsewhere.example"} <= set(
        received.recipient_options[0].split()
    )


# --- what is explained is what happens -----------------------------------------------------------------------------


@pytest.mark.behaviour("C6")
def test_explain_gives_the_routes_that_the_milter_then_takes_and_sends_nothing(world: World, tmp_path: Path) -> None:
    able, unable = world.peer("tls"), world.peer("clear")
    recipients = [f"bob@{able.domain}", f"carol@{unable.domain}", "colleague@site.example"]
    message = world.sensitive(*recipients)
    explained = _explain(world, message.as_bytes(policy=SMTP), recipients, tmp_path)
    assert [finding["detector"] for finding in explained["findings"]] == ["trigger-subject"]
    assert [one["route"] for one in explained["recipients"]] == ["tls", "portal", "relay"]
    assert [one["address"] for one in explained["recipients"]] == recipients
    assert {one["rule"] for one in explained["recipients"]} == {"default"}
    assert explained["recipients"][1]["evidence"]["level"] == "none"
    assert world.held() == []
    assert world.lab.postfix.queued() == []
    assert [world.mails(peer) for peer in (able, unable, world.lab.mailboxes)] == [[], [], []]
    assert world.send(message, *recipients).accepted
    world.wait_until_held(recipients[1])
    assert {one.recipient: one.route for one in world.held()} == {
        one["address"]: one["route"] for one in explained["recipients"]
    }


@pytest.mark.behaviour("C6")
def test_explain_without_network_knows_only_what_is_stored(world: World, tmp_path: Path) -> None:
    known, unknown = world.peer("clear"), world.peer("clear")
    world.look(known.domain)
    seen = len(unknown.sessions())
    recipients = [f"bob@{known.domain}", f"carol@{unknown.domain}"]
    message = world.sensitive(*recipients).as_bytes(policy=SMTP)
    explained = _explain(world, message, recipients, tmp_path, "--no-network")
    assert [one["route"] for one in explained["recipients"]] == ["portal", "tls"]
    assert explained["recipients"][1]["evidence"] is None
    assert len(unknown.sessions()) == seen


@pytest.mark.behaviour("C6")
@pytest.mark.parametrize(
    ("sender", "behaviour", "route"),
    [(PROVE, "self-signed", "portal"), (PROVE, "tls", "tls"), (REFUSED, "tls", "reject"), (SENDER, "missing", "tls")],
)
def test_explain_follows_the_rule_of_the_sender(
    world: World, tmp_path: Path, sender: str, behaviour: str, route: str
) -> None:
    domain = world.new_domain() if behaviour == "missing" else world.peer(behaviour).domain
    message = world.sensitive(f"bob@{domain}").as_bytes(policy=SMTP)
    explained = _explain(world, message, [f"bob@{domain}"], tmp_path, sender=sender)
    assert [one["route"] for one in explained["recipients"]] == [route]


@pytest.mark.behaviour("C6")
def test_explain_in_words_masks_what_it_found(world: World, tmp_path: Path) -> None:
    file = tmp_path / "message.eml"
    file.write_bytes(mail.with_card(world.marker).as_bytes(policy=SMTP))
    text = world.services.command(
        "explain", str(file), "--sender", SENDER, "--recipient", "bob@tls.example", "--no-network"
    )
    assert "payment-card" in text
    assert "bob@tls.example -> tls (rule default)" in text
    assert mail.CARD_NUMBER not in text
    assert world.marker not in text


def test_a_reload_takes_a_good_policy_and_keeps_the_old_one_where_the_new_is_bad(world: World) -> None:
    policy = world.services.settings.policy
    assert policy is not None
    good = policy.read_text(encoding="utf-8")
    peer = world.peer("tls")
    milter = world.services.process(Service.MILTER)
    try:
        policy.write_text(good + "\n[[rule]]\nname = 'no-condition'\n", encoding="utf-8")
        reload(world, refused=True)
        assert f"{policy}:{good.count(chr(10)) + 2}" in world.log(Service.MILTER)
        world.post(f"bob@{peer.domain}")
        (received,) = world.wait_for_mail(peer)
        assert received.message["X-Restante-Route"] is not None
        policy.write_text(
            good.replace('subject_tags = ["secure"]', 'subject_tags = ["confidential"]'), encoding="utf-8"
        )
        reload(world)
        world.post(f"bob@{peer.domain}")
        received = world.wait_for_mail(peer, 2)[1]
        assert received.message["X-Restante-Route"] is None
        assert milter.alive
    finally:
        policy.write_text(good, encoding="utf-8")
        reload(world)


def _explain(
    world: World, content: bytes, recipients: list[str], folder: Path, *options: str, sender: str = SENDER
) -> dict[str, Any]:
    file = folder / "message.eml"
    file.write_bytes(content)
    addressed = [word for one in recipients for word in ("--recipient", one)]
    output = world.services.command("explain", str(file), "--sender", sender, *addressed, "--json", *options)
    explained: dict[str, Any] = json.loads(output)
    return explained


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")
