"""``restante enrolled``: the operator sees who is enrolled and removes one, with the worker's key alone."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from restante.access import Proof
from restante.cli import cli
from restante.credentials import Credential, read_credential
from restante.enrolment_keys import EnrolmentKeys, PortalKeys, plain_address
from restante.errors import RestanteError
from restante.init import Answers, initialise
from restante.settings import Settings, load_settings
from restante.store import enrolments
from restante.store.engine import Store
from restante.store.enrolments import Ground, NewPassword
from restante.store.models import AuditRecord, DeliveryState, JobKind, OutboxJob
from restante.vault import generate_keypair
from tests.core.stores import Holder
from tests.migrated import upgrade

RITA = "Rita@Patients.example"


@pytest.fixture
def settings_path(tmp_path: Path) -> Path:
    answers = Answers(
        hostname="mta.site.example",
        organisation="Site",
        portal_url="https://pickup.site.example",
        notice_sender="restante@site.example",
        database=f"sqlite:///{tmp_path}/restante.db",
        internal_domains=("site.example",),
    )
    initialise(tmp_path, answers)
    upgrade(answers.database)
    return tmp_path / "restante.toml"


def run(settings_path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--settings", str(settings_path), "enrolled", *arguments])


def portal_keys(settings: Settings) -> PortalKeys:
    vault, portal = (read_credential(settings.credentials, name) for name in (Credential.VAULT, Credential.PORTAL))
    return PortalKeys.of(vault, base64.b64decode(settings.vault.worker_public_key), portal)


@pytest.mark.behaviour("P5")
def test_an_enrolment_is_listed_and_removed(settings_path: Path) -> None:
    settings = load_settings(settings_path)
    store, keys = Store(settings.database), portal_keys(settings)
    holder = Holder(settings.database)
    message_id = holder.hold(holder.request((RITA, DeliveryState.HELD)))
    ground = Ground(holder.deliveries(message_id)[0].id, message_id, RITA, Proof.CODE)
    enrolments.enrol(store, keys, ground, NewPassword("hash", b"s" * 20, 7), handle=b"h", now=1_790_000_000)
    listed = run(settings_path, "list").output
    assert listed == "Rita@Patients.example\t2026-09-21\tcode\t0 passkeys, password\n"
    assert run(settings_path, "remove", "rita@patients.example").exit_code == 0
    assert enrolments.find(store, keys.common, RITA) is None
    again = run(settings_path, "remove", RITA)
    assert isinstance(again.exception, RestanteError)
    assert "nobody is enrolled" in str(again.exception)
    assert run(settings_path, "list").output == ""
    with store.read() as session:
        enrolment_acts = AuditRecord.action.contains("enrol")
        records = session.scalars(select(AuditRecord).where(enrolment_acts).order_by(AuditRecord.id)).all()
        told = session.scalars(select(OutboxJob).where(OutboxJob.kind == JobKind.SIGN_IN)).one()
    assert [one["what"] for one in told.payload["changes"]] == ["password", "removed-by-operator"]
    holder.store.close()
    assert [one.action for one in records] == ["enrolled", "removed-enrolment"]
    assert records[1].actor.startswith("operator:")
    assert "rita" not in str([one.detail for one in records]).lower()
    store.close()


def test_other_keys_find_nobody(settings_path: Path) -> None:
    settings = load_settings(settings_path)
    store, keys = Store(settings.database), portal_keys(settings)
    ground = Ground("d" * 32, "m" * 32, RITA, Proof.CODE)
    enrolments.enrol(store, keys, ground, NewPassword("hash", b"s" * 20, 7), handle=b"h", now=1)
    other = EnrolmentKeys.agree(generate_keypair()[0], base64.b64decode(settings.vault.public_key))
    assert enrolments.find(store, other, RITA) is None
    assert enrolments.everyone(store, other) == []
    store.close()


@pytest.mark.parametrize(
    ("typed", "plain"),
    [
        ("Rita@Patients.Example", "rita@patients.example"),
        ("RITA@XN--BCHER-KVA.example", "rita@xn--bcher-kva.example"),
        ("rita@bücher.example", "rita@xn--bcher-kva.example"),
        ("RÍTA@patients.example", "ríta@patients.example"),
        ("straße@patients.example", "straße@patients.example"),  # and not that of strasse@
        ("\u017fmith@patients.example", "\u017fmith@patients.example"),  # a long s
        ("\u212aarl@patients.example", "\u212aarl@patients.example"),  # the sign of Kelvin
        ("Rita", "rita"),
        ("Rita@\x00", "rita@\x00"),
        ("X" * 400, "x" * 320),
    ],
)
def test_addresses_are_compared_as_people_read_them(typed: str, plain: str) -> None:
    assert plain_address(typed) == plain
