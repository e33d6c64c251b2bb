"""Evidence of delivery: what Postfix's log says of each copy, looked up by the operator."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from restante.store import delivered
from restante.store.delivered import Delivered
from tests.e2e.visitor import text_of
from tests.e2e.world import PROVE, SENDER, World
from tests.lab.services import Service
from tests.lab.waiting import wait_until


@pytest.fixture
def reading(world: World) -> Iterator[World]:
    """The site, whose worker reads Postfix's log."""
    settings = world.services.settings_path
    before = settings.read_text(encoding="utf-8")
    changed = before.replace("[worker]\n", f'[worker]\nmail_log = "{world.lab.postfix.log_path}"\n', 1)
    assert changed != before
    settings.write_text(changed, encoding="utf-8")
    world.services.restart(Service.WORKER)
    yield world
    settings.write_text(before, encoding="utf-8")
    world.services.restart(Service.WORKER)


@pytest.mark.behaviour("S4")
def test_the_operator_sees_how_each_copy_was_delivered(reading: World) -> None:
    peer, clear = reading.peer("tls"), reading.peer("clear")
    message = reading.post(f"bob@{peer.domain}", f"carol@{peer.domain}", sender=PROVE)
    reading.send(reading.ordinary(f"dora@{clear.domain}"), f"dora@{clear.domain}")
    (received,) = reading.wait_for_mail(peer)

    def looked_up(*criteria: str) -> list[dict[str, str]]:
        return json.loads(reading.services.command("delivered", "--json", *criteria)) or []

    found = wait_until(lambda: looked_up("--recipient", f"bob@{peer.domain}"), 15, "the delivery to be known")
    assert len(found) == 1
    assert (found[0]["tls_version"], found[0]["cipher"]) == (received.tls_version, received.cipher)
    assert found[0]["certificate"] == "verified"
    assert found[0]["relay"].startswith(f"{peer.mx}[")
    assert len(looked_up("--message-id", str(message["Message-ID"]))) == 2
    assert len(looked_up("--queue-id", found[0]["queue_id"])) == 2
    reading.services.restart(Service.WORKER)
    reading.post(f"erna@{peer.domain}")
    wait_until(lambda: looked_up("--recipient", f"erna@{peer.domain}"), 15, "the second delivery to be known")
    assert len(looked_up("--message-id", str(message["Message-ID"]))) == 2
    assert looked_up("--recipient", f"dora@{clear.domain}") == []  # not a copy that had to go by TLS
    assert "clear-delivery" not in reading.audit()


@pytest.mark.behaviour("S1")
def test_the_sender_is_told_of_a_notice_that_the_recipients_server_refuses(reading: World) -> None:
    peer = reading.peer("clear", rcpt_code=550)
    recipient = f"frank@{peer.domain}"
    reading.post(recipient)

    def told() -> list[str]:
        return [text for one in reading.notices(SENDER) if "did not arrive" in (text := text_of(one))]

    (text,) = wait_until(told, 40, "the sender to be told")
    assert f"The notice to {recipient} did not arrive: it was refused with status 5." in " ".join(text.split())
    assert reading.states() == {recipient: "held"}
    assert reading.audit().count("notice-bounced") == 1


@pytest.mark.behaviour("S4")
def test_evidence_is_kept_for_400_days(world: World) -> None:
    now, day = time.time(), 86_400
    for days in (399, 401):
        copy = Delivered("Q1", f"after{days}@old.example", "restante-tls", "mx[192.0.2.1]:25", "TLSv1.3", "", "", "250")
        delivered.keep(world.store, "test", [copy], {}, now=now - days * day)

    def known() -> list[str]:
        return [one.delivered.recipient for one in delivered.find(world.store, queue_id="Q1")]

    assert known() == ["after401@old.example", "after399@old.example"]
    world.services.restart(Service.WORKER)
    wait_until(lambda: known() == ["after399@old.example"], 20, "what is too old to be forgotten")
