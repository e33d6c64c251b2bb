"""A recipient's reply, from the portal through worker and Postfix to the sender's mailbox."""

from __future__ import annotations

import re
from email.utils import parseaddr

import pytest

from tests.e2e.visitor import Visitor, code_for, number_in, token_in
from tests.e2e.world import SENDER, World
from tests.lab.lab import SITE

ENCLOSED = bytes(range(256)) * 200


@pytest.mark.behaviour("P8")
def test_a_reply_reaches_the_senders_mailbox_once_and_is_not_held_again(world: World) -> None:
    peer = world.peer("clear")
    recipient = f"carol@{peer.domain}"
    posted = world.post(recipient)
    notice = world.wait_for_notice(recipient)
    browser = Visitor(world.services.portal_url)
    assert browser.open(token_in(notice), code_for(world.wait_for_notice(SENDER), recipient)).status == 303
    assert number_in(notice)
    page = browser.get("/message/reply").text
    fields = dict(re.findall(r'<input type="hidden" name="(form_key|reply|stamp)" value="([^"]*)"', page))
    # What would be held at once, were it looked at: the sender's own trigger.
    text = f"[secure] {world.marker}-ANSWER"
    form = {**fields, "action": "send", "text": text}
    for _ in range(2):
        answer = browser.upload("/message/reply", form, "Röntgen.bin", ENCLOSED)
        assert (answer.status, answer.location.partition("?")[0]) == (303, "/message/reply/sent")
    home = world.lab.peer(SITE)
    received = home.wait_for_mails(1, 40, lambda one: recipient in str(one.message["Reply-To"]) and not _marked(one))
    reply = received[0].message
    assert received[0].recipients == (SENDER,)
    body = reply.get_body(("plain",))
    assert body is not None
    assert body.get_content().strip() == text
    [file] = reply.iter_attachments()
    assert (file.get_filename(), file.get_payload(decode=True)) == ("Röntgen.bin", ENCLOSED)
    assert reply["In-Reply-To"] == posted["Message-ID"]
    assert str(reply["Subject"]).startswith("Re: ")
    assert world.marker in str(reply["Subject"])
    assert parseaddr(str(reply["From"]))[1] == world.services.settings.notice.sender
    assert received[0].sender == world.services.settings.notice.sender
    world.settle()
    again = [one for one in home.mails() if f"{world.marker}-ANSWER" in str(one.message.get_body(("plain",)))]
    assert len(again) == 1
    assert [one.recipient for one in world.held()] == [recipient]
    assert {"replied", "sent-reply"} <= set(world.audit())
    world.assert_never_clear()


def _marked(received: object) -> bool:
    return "X-Restante-Notice" in getattr(received, "message", {})
