"""What is agreed with a domain holds, on a real Postfix with real peers."""

from __future__ import annotations

import csv
import json

import pytest

from tests.e2e.policies import agreed, reload
from tests.e2e.world import World
from tests.lab.services import Service


def _domain(name: str, *lines: str) -> str:
    return "\n".join(["[[domain]]", f'name = "{name}"', *lines, ""])


@pytest.mark.behaviour("D1")
def test_a_domain_with_always_gets_tls_for_all_mail_and_nothing_in_clear_when_it_loses_it(world: World) -> None:
    clear, able, always = world.peer("clear"), world.peer("tls"), world.peer("tls")
    everyone = [f"bob@{peer.domain}" for peer in (clear, able, always)]
    with agreed(world, _domain(always.domain, 'mode = "always"')):
        assert world.send(world.ordinary(*everyone), *everyone).accepted
        for peer, tls in ((clear, False), (able, True), (always, True)):
            (received,) = world.wait_for_mail(peer)
            assert (peer.domain, received.tls, received.recipients) == (peer.domain, tls, (f"bob@{peer.domain}",))
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


@pytest.mark.behaviour("D1")
def test_a_message_for_an_always_domain_alone_needs_no_detour_through_the_store(world: World) -> None:
    peer = world.peer("tls")
    with agreed(world, _domain(peer.domain, 'mode = "always"')):
        assert world.send(world.ordinary(f"bob@{peer.domain}"), f"bob@{peer.domain}").accepted
        (received,) = world.wait_for_mail(peer)
        assert received.tls
        assert received.message["X-Restante-Route"] is not None
        assert world.held() == []
        assert "content_filter" not in world.log(Service.MILTER)


@pytest.mark.behaviour("D1")
def test_the_way_out_of_an_always_domain_is_its_own(world: World) -> None:
    peer = world.peer("clear")
    with agreed(world, _domain(peer.domain, 'mode = "always"', 'otherwise = "reject"')):
        answer = world.send(world.ordinary(f"bob@{peer.domain}"), f"bob@{peer.domain}")
        assert answer.code == 550
        assert "STARTTLS" in answer.reply
        assert world.mails(peer) == []
        assert world.held() == []


@pytest.mark.behaviour("D2")
def test_a_peer_whose_certificate_lacks_the_agreed_name_gets_nothing(world: World) -> None:
    named, wrong, free = world.peer("tls"), world.peer("tls"), world.peer("tls")
    text = _domain(named.domain, 'mode = "always"', f'certificate_names = ["other.example", "{named.mx}"]')
    text += _domain(wrong.domain, 'mode = "always"', 'certificate_names = ["mail.agreed.example"]')
    everyone = [f"bob@{peer.domain}" for peer in (named, wrong, free)]
    with agreed(world, text):
        assert world.send(world.ordinary(*everyone), *everyone).accepted
        assert world.wait_for_mail(named)[0].tls
        assert world.wait_for_mail(free)[0].tls
        held = world.wait_until_held(f"bob@{wrong.domain}")
        world.settle()
        assert world.mails(wrong) == []
        assert "TLS" in held.reason


@pytest.mark.behaviour("D2")
def test_postfix_itself_refuses_the_name_when_the_look_before_saw_another_certificate(world: World) -> None:
    peer = world.peer("tls")
    with agreed(world, _domain(peer.domain, f'certificate_names = ["{peer.mx}"]')):
        world.post(f"bob@{peer.domain}")
        assert world.wait_for_mail(peer)[0].tls
        world.settle()
        peer.reset()
        peer.behave("wrong-name")
        world.post(f"bob@{peer.domain}")
        world.wait_until_held(f"bob@{peer.domain}")
        world.settle()
        assert world.mails(peer) == []
        world.assert_never_clear()


@pytest.mark.behaviour("D3")
@pytest.mark.parametrize("mode", ["never", "portal-only"])
def test_sensitive_mail_to_a_domain_without_tls_by_agreement_is_held_without_a_look_at_it(
    world: World, mode: str
) -> None:
    peer = world.peer("tls")
    with agreed(world, _domain(peer.domain, f'mode = "{mode}"')):
        world.post(f"bob@{peer.domain}")
        world.wait_until_held(f"bob@{peer.domain}")
        assert peer.sessions() == []
        assert world.send(world.ordinary(f"bob@{peer.domain}"), f"bob@{peer.domain}").accepted
        assert world.wait_for_mail(peer)[0].subject == f"Our news {world.marker}"


@pytest.mark.behaviour("D4")
def test_a_partner_with_a_next_hop_of_its_own_is_judged_and_served_there_and_not_at_its_mx(world: World) -> None:
    mx, hop, other = world.peer("clear"), world.peer("tls"), world.peer("tls")
    text = _domain(mx.domain, f'next_hop = "[{hop.mx}]:25"', 'tls = "authenticated"')
    with agreed(world, text):
        world.post(f"bob@{mx.domain}", f"carol@{other.domain}", f"dora@{mx.domain}")
        received = world.wait_for_mail(hop)
        assert [one.recipients for one in received] == [(f"bob@{mx.domain}", f"dora@{mx.domain}")]
        assert received[0].tls
        assert world.wait_for_mail(other)[0].recipients == (f"carol@{other.domain}",)
        world.settle()
        assert mx.sessions() == []
        world.assert_never_clear()


@pytest.mark.behaviour("D4")
def test_a_next_hop_that_loses_tls_ends_in_the_portal_and_the_mx_is_not_tried(world: World) -> None:
    mx, hop = world.peer("tls"), world.peer("tls")
    with agreed(world, _domain(mx.domain, f'next_hop = "[{hop.mx}]"')):
        world.post(f"bob@{mx.domain}")
        assert world.wait_for_mail(hop)[0].tls
        world.settle()
        hop.reset()
        hop.behave("clear")
        world.post(f"bob@{mx.domain}")
        world.wait_until_held(f"bob@{mx.domain}")
        world.settle()
        assert world.mails(hop) == []
        assert world.mails(mx) == []
        world.assert_never_clear()


@pytest.mark.behaviour("D4")
def test_the_next_hop_is_read_from_postfixs_own_table(world: World) -> None:
    mx, hop = world.peer("clear"), world.peer("tls")
    table = world.services.directory / "transport"
    table.write_text(f"{mx.domain} smtp:[{hop.mx}]\n", encoding="utf-8")
    with agreed(world, _domain(mx.domain, f'next_hop = "texthash:{table}"')):
        world.post(f"bob@{mx.domain}")
        assert world.wait_for_mail(hop)[0].tls
        world.settle()
        assert mx.sessions() == []


@pytest.mark.behaviour("D6")
def test_a_bad_policy_is_refused_with_file_line_and_reason_and_the_old_one_stays(world: World) -> None:
    peer = world.peer("tls")
    path = world.services.directory / "policy.toml"
    with agreed(world, _domain(peer.domain, 'mode = "portal-only"')):
        good = path.read_text(encoding="utf-8")
        path.write_text(good.replace('mode = "portal-only"', 'mode = "sometimes"', 1), encoding="utf-8")
        refusal = world.services.command("policy", "check", check=False)
        reload(world, refused=True)
        line = 1 + path.read_text(encoding="utf-8").splitlines().index('mode = "sometimes"')
        for service in (Service.WORKER, Service.MILTER):
            assert f"policy.toml:{line}: domain.0.mode" in world.log(service)
        assert refusal == ""
        world.post(f"bob@{peer.domain}")
        world.wait_until_held(f"bob@{peer.domain}")


@pytest.mark.behaviour("D6")
def test_the_policy_can_be_listed_and_tested_before_it_is_in_force(world: World) -> None:
    peer = world.peer("tls")
    candidate = world.services.directory / "candidate.toml"
    candidate.write_text(_domain(peer.domain, 'mode = "always"', 'next_hop = "[hop.example]"'), encoding="utf-8")
    assert "1 domains" in world.services.command("policy", "check", str(candidate))
    listed = json.loads(world.services.command("policy", "list", "--json", str(candidate)))
    assert [(one["name"], one["mode"]) for one in listed["domain"]] == [(peer.domain, "always")]
    assert "portal-only-1.example: portal-only" in world.services.command("policy", "list")


@pytest.mark.behaviour("A6")
def test_restante_domain_says_in_words_what_is_agreed_and_what_would_be_better(world: World) -> None:
    peer = world.peer("self-signed")
    with agreed(world, _domain(peer.domain, 'mode = "always"', f'certificate_names = ["{peer.mx}"]')):
        text = world.services.command("domain", peer.domain)
    assert "all mail, sensitive or not, goes over mandatory TLS" in text
    assert f"certificate must carry {peer.mx}" in text
    assert "To do better  a certificate of a trusted authority" in text
    assert "where the peer must be verified  not sent by SMTP" in text


@pytest.mark.behaviour("A6")
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_list_of_domains_is_looked_at_and_written_to_a_file(world: World, kind: str) -> None:
    able, unable = world.peer("tls"), world.peer("clear")
    names = [able.domain, unable.domain, "nullmx.example", *(f"missing{number}.example" for number in range(200))]
    listing, output = world.services.directory / "domains.txt", world.services.directory / f"found.{kind}"
    listing.write_text("# ours\n" + "\n".join(names) + "\n\n", encoding="utf-8")
    world.services.command("domain", "--file", str(listing), "--output", str(output), "--concurrency", "20")
    text = output.read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines())) if kind == "csv" else json.loads(text)
    found = {row["domain"]: (row["level"], row["encrypted"], row["authenticated"]) for row in rows}
    assert len(rows) == len(found) == len(names)
    assert found[able.domain] == ("pkix", "yes", "yes")
    assert found[unable.domain] == ("none", "no", "no")
    assert {found[name][0] for name in names[2:]} == {"no-mail"}
