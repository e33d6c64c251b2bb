"""``restante phrase``: agreed, listed without being shown, removed, and never on a command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from restante.cli import cli
from restante.errors import RestanteError
from restante.init import Answers, initialise
from restante.store import phrases
from restante.store.engine import Store
from restante.store.models import AuditRecord
from restante.tokens import phrase_matches
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


def run(settings_path: Path, *arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(cli, ["--settings", str(settings_path), "phrase", *arguments], input=typed)


@pytest.mark.behaviour("P4")
def test_a_phrase_is_made_listed_replaced_and_removed(settings_path: Path, tmp_path: Path) -> None:
    made = run(settings_path, "set", RITA).output
    phrase = made.partition("Phrase: ")[2].strip()
    store = Store(f"sqlite:///{tmp_path}/restante.db")
    kept = phrases.hash_for(store, RITA.lower())
    assert kept is not None
    assert phrase_matches(kept, phrase.lower())
    listed = run(settings_path, "list").output
    assert RITA.lower() in listed
    assert phrase not in listed
    given = run(settings_path, "set", RITA, "--stdin", typed="the yellow submarine\n").output
    assert "submarine" not in given
    assert phrases.hash_for(store, RITA) != kept
    run(settings_path, "remove", RITA)
    assert phrases.hash_for(store, RITA) is None
    with store.read() as session:
        records = session.scalars(select(AuditRecord).order_by(AuditRecord.id)).all()
    assert [one.action for one in records] == ["agreed-phrase", "agreed-phrase", "forgot-phrase"]
    assert not any(secret in str(one.detail) for one in records for secret in (phrase, "submarine"))
    store.close()


@pytest.mark.parametrize(
    ("arguments", "typed", "words"),
    [
        (("set", RITA, "--stdin"), "short\n", "at least 12"),
        (("remove", RITA), "", "no phrase is agreed"),
        (("set", "a\x01b@x.example"), "", "control character"),
    ],
)
def test_what_cannot_be_done_is_said(settings_path: Path, arguments: tuple[str, ...], typed: str, words: str) -> None:
    failed = run(settings_path, *arguments, typed=typed)
    assert isinstance(failed.exception, RestanteError)
    assert words in str(failed.exception)
