"""Mail that claims to come from a partner proves it, or is refused; all other mail comes as ever."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from email.policy import SMTP
from pathlib import Path

import pytest

from tests.e2e.policies import agreed
from tests.e2e.world import World
from tests.lab import mail
from tests.lab.waiting import wait_until

HERE = "ann@site.example"
PARTNER, PROVEN = "partner-tls.example", "partner-proven.example"
POLICY = f"""
[[domain]]
name = "{PARTNER}"
inbound_tls = true

[[domain]]
name = "{PROVEN}"
inbound_certificate = "mail.{PROVEN}"
"""


@pytest.fixture(scope="module")
def tls_site(running_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The site's smtpd offers TLS and asks for client certificates; the folder keeps certificates."""
    folder = tmp_path_factory.mktemp("inbound")
    lab = running_world.lab
    own = lab.authority.issue_named("mta.example", folder / "own.pem")
    settings = {
        "smtpd_tls_security_level": "may",
        "smtpd_tls_chain_files": str(own),
        "smtpd_tls_CAfile": str(lab.authority.bundle),
        "smtpd_tls_ask_ccert": "yes",
    }
    lab.postfix.run(["postconf", "-c", str(lab.postfix.config), *(f"{key}={value}" for key, value in settings.items())])
    lab.postfix.reload()
    wait_until(lambda: _offers_tls(running_world), 15, "the smtpd to offer TLS")
    yield folder
    lab.postfix.run(["postconf", "-c", str(lab.postfix.config), "-X", *settings])
    lab.postfix.reload()
    wait_until(lambda: not _offers_tls(running_world), 15, "the smtpd to stop offering TLS")


def _offers_tls(world: World) -> bool:
    def asked() -> bool:
        with smtplib.SMTP(world.lab.mta.ipv4, world.lab.postfix.port, timeout=10) as client:
            client.ehlo()
            return client.has_extn("starttls")

    try:
        return world.lab.mta.call(asked)
    except (OSError, smtplib.SMTPException):
        return False


def _arrives(world: World, sender: str, author: str = "", *, tls: bool = False, certificate: Path | None = None) -> str:
    """Bring a message from outside to a mailbox here; the reply that settled it."""
    message = mail.message("Hello", world.marker, sender=author or sender, to=[HERE])

    def session() -> tuple[int, bytes]:
        with smtplib.SMTP(world.lab.mta.ipv4, world.lab.postfix.port, timeout=30) as client:
            if tls:
                context = ssl.create_default_context(cafile=str(world.lab.authority.bundle))
                context.check_hostname = False
                if certificate is not None:
                    context.load_cert_chain(certificate)
                client.starttls(context=context)
            client.ehlo_or_helo_if_needed()
            for reply in (client.mail(sender), client.rcpt(HERE)):
                if reply[0] != 250:
                    return reply
            return client.data(message.as_bytes(policy=SMTP))

    code, text = world.lab.mta.call(session)
    return f"{code} {text.decode()}"


@pytest.mark.behaviour("D5")
@pytest.mark.usefixtures("tls_site")
def test_mail_from_a_partner_must_come_over_tls(world: World) -> None:
    with agreed(world, POLICY):
        refusal = _arrives(world, f"bob@{PARTNER}")
        assert refusal.startswith("550 5.7.10 ")
        assert f"mail from {PARTNER} is accepted only over TLS" in refusal
        assert _arrives(world, f"bob@{PARTNER}", tls=True).startswith("250 ")
        assert len(world.wait_for_mail(world.lab.mailboxes)) == 1


@pytest.mark.behaviour("D5")
@pytest.mark.usefixtures("tls_site")
def test_the_from_field_counts_as_a_claim_too(world: World) -> None:
    with agreed(world, POLICY):
        for author in (f"Bob <bob@{PARTNER}>", f"bob@{PARTNER.upper()}", f"a@other.example, bob@{PARTNER}"):
            assert _arrives(world, "bulk@other.example", author).startswith("550 5.7.10 ")
        assert world.mails(world.lab.mailboxes) == []


@pytest.mark.behaviour("D5")
def test_a_partner_with_an_agreed_certificate_must_show_it(world: World, tls_site: Path) -> None:
    authority = world.lab.authority
    good = authority.issue_named(f"mail.{PROVEN}", tls_site / "good.pem")
    other = authority.issue_named("mail.other.example", tls_site / "other.pem")
    untrusted = authority.issue_named(f"mail.{PROVEN}", tls_site / "untrusted.pem", trusted=False)
    with agreed(world, POLICY):
        assert _arrives(world, f"bob@{PROVEN}").startswith("550 5.7.10 ")
        for certificate in (None, other, untrusted):
            refusal = _arrives(world, f"bob@{PROVEN}", tls=True, certificate=certificate)
            assert refusal.startswith("550 5.7.1 ")
            assert "agreed client certificate" in refusal
        assert _arrives(world, f"bob@{PROVEN}", tls=True, certificate=good).startswith("250 ")
        assert len(world.wait_for_mail(world.lab.mailboxes)) == 1


@pytest.mark.behaviour("D5")
@pytest.mark.usefixtures("tls_site")
def test_other_mail_comes_in_with_and_without_tls(world: World) -> None:
    with agreed(world, POLICY):
        assert _arrives(world, "eve@elsewhere.example").startswith("250 ")
        assert _arrives(world, "eve@elsewhere.example", tls=True).startswith("250 ")
        assert _arrives(world, f"eve@not-{PARTNER}").startswith("250 ")
        assert len(world.wait_for_mail(world.lab.mailboxes, 3)) == 3
