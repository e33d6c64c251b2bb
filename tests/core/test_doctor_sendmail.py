"""``restante sendmail`` and the doctor: what the one prints, the other finds right, and each damage has its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from restante.doctor_sendmail import sendmail_findings
from restante.init import Answers, initialise
from restante.policy import DomainPolicy, Policy
from restante.sendmail import is_secured, render, secured
from restante.settings import Settings, load_settings
from restante.tls.evidence import Requirement
from restante.toml_source import BadFile
from tests.lab.sendmail import CF_DIRECTORY, compiled

MC = """\
include(`{cf}m4/cf.m4')dnl
OSTYPE(`linux')dnl
define(`confCACERT', `/etc/ssl/certs/ca-certificates.crt')dnl
DAEMON_OPTIONS(`Name=MTA, Family=inet, Addr=192.0.2.1, Port=smtp')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings for Sendmail."""
    answers = Answers(
        hostname="mta.example",
        organisation="Test",
        portal_url="https://pickup.example",
        notice_sender="restante@site.example",
        database=f"sqlite:///{tmp_path}/restante.db",
        extra=(("mta", '"sendmail"'), ("worker.intake", '"127.0.0.2:25"')),
    )
    return initialise(tmp_path / "etc", answers)


@pytest.fixture
def cf(tmp_path: Path, settings: Settings) -> str:
    """The ``sendmail.cf`` of a site that took the printed lines."""
    mc = tmp_path / "sendmail.mc"
    mc.write_text(MC.format(cf=CF_DIRECTORY) + render(settings), encoding="utf-8")
    return compiled(mc)


def _names(settings: Settings, directory: Path, text: str) -> set[str]:
    path = directory / "sendmail.cf"
    path.write_text(text, encoding="utf-8")
    return {finding.name for finding in sendmail_findings(settings, Policy.default(frozenset()), path)}


def test_nothing_is_wrong_with_the_printed_lines(settings: Settings, cf: str, tmp_path: Path) -> None:
    assert _names(settings, tmp_path, cf) == set()


@pytest.mark.parametrize(
    ("sound", "damaged", "name"),
    [
        ("F=T", "F=R", "milter-default-action"),
        ("O InputMailFilters=restante", "O InputMailFilters=other", "milter-not-attached"),
        ("S=unix:/", "S=unix:/elsewhere/", "milter-not-attached"),
        ("Port=10027", "Port=10999", "submit-missing"),
        (", InputMailFilters=\n", "\n", "submit-asks-milter"),
        ("Name=MTA, Family=inet,", "Name=MTA, InputMailFilters=, Family=inet,", "milter-bypassed"),
        ("Addr=192.0.2.1, ", "", "intake-port-taken"),
        ("TLSv1.2 TLSv1.3", "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3", "rules-wrong"),
        ("C{restante_bits}128", "C{restante_bits}56 128", "rules-wrong"),
        ("R<authenticated> <strong>\t", "R<authenticated> <strong>\t$@ OK\nR<other>\t", "rules-wrong"),
        ("CPrestante-tls", "CPother", "rules-wrong"),
        ("$#restante $@ $2:[127.0.0.2] $:", "$#esmtp $@ $2 $:", "rules-wrong"),
        ("T=DNS/RFC822/SMTP,\n\t\tA=TCP $h", "T=DNS/RFC822/SMTP,\n\t\tA=TCP $h 587", "rules-wrong"),
        ("SLocal_tls_rcpt\n", "SLocal_tls_rcpt\nR$*\t$@ OK\n", "rules-wrong"),
        ("O ConnectionCacheSize=0", "O ConnectionCacheSize=2", "connections-kept"),
        ("O CACertFile=", "# O CACertFile=", "ca-file-missing"),
    ],
)
def test_each_damage_is_called_by_its_name(
    settings: Settings, cf: str, tmp_path: Path, sound: str, damaged: str, name: str
) -> None:
    assert sound in cf
    assert name in _names(settings, tmp_path, cf.replace(sound, damaged))


def test_an_agreement_that_sendmail_cannot_keep_is_named(settings: Settings, cf: str, tmp_path: Path) -> None:
    path = tmp_path / "sendmail.cf"
    path.write_text(cf, encoding="utf-8")
    domain = DomainPolicy.model_validate({"name": "partner.example", "next_hop": "[mail.partner.example]"})
    policy = Policy.default(frozenset()).model_copy(update={"domain": (domain,)})
    assert [one.name for one in sendmail_findings(settings, policy, path)] == ["agreement-not-kept"]


def test_without_a_configuration_there_is_no_sendmail(settings: Settings, tmp_path: Path) -> None:
    assert [one.name for one in sendmail_findings(settings, Policy.default(frozenset()), tmp_path / "none.cf")] == [
        "sendmail-missing"
    ]


def test_an_intake_where_sendmail_cannot_deliver_is_refused(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "etc" / "restante.toml"
    path.chmod(0o600)
    path.write_text(path.read_text(encoding="utf-8").replace("127.0.0.2:25", "127.0.0.1:10025"), encoding="utf-8")
    with pytest.raises(BadFile, match="port 25"):
        load_settings(path)
    assert settings.worker.intake.port == 25


@pytest.mark.parametrize("requirement", list(Requirement))
def test_a_secured_address_is_known_for_one(requirement: Requirement) -> None:
    address = secured("Bob@Example.COM", requirement)
    assert address == f"Bob@Example.COM.{requirement}.restante-tls"
    assert is_secured(address.partition("@")[2].upper())
    assert not is_secured("example.com")
