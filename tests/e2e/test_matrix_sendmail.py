"""The table of peers through a real Sendmail, as far as it is not about DANE and MTA-STS, which do not bind it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from restante.settings import Mta
from tests.e2e.matrix import ENCRYPTED, EXCLUSIVE, PROVED, Matrix, Outcome, running
from tests.e2e.matrix_rows import SENDMAIL_ROWS, Row, fates_on_sendmail
from tests.e2e.world import SENDER


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Matrix, dict[str, Outcome]]]:
    expected = {row: fates_on_sendmail(row) for row in SENDMAIL_ROWS}
    with running(tmp_path_factory.mktemp("matrix"), Mta.SENDMAIL, expected) as seen:
        yield seen


def _names_a_recipient(read: bytes, sender: str) -> bool:
    """Whether a peer was told in clear for whom a message of ``sender`` is: ``tls_rcpt`` comes after MAIL."""
    return re.search(rb"(?i)mail from:<" + re.escape(sender.encode()) + rb">[^\n]*\nrcpt to:", read) is not None


@pytest.mark.behaviour("O1")
@pytest.mark.behaviour("O2")
@pytest.mark.behaviour("F1")
@pytest.mark.behaviour("F2")
@pytest.mark.behaviour("F3")
@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=row.name, marks=[pytest.mark.behaviour(mark) for mark in row.marks])
        for row in SENDMAIL_ROWS
    ],
)
def test_each_kind_of_peer_is_judged_and_served_as_the_table_says(
    row: Row, matrix: tuple[Matrix, dict[str, Outcome]]
) -> None:
    run, outcomes = matrix
    got = outcomes[row.name]
    assert (got.level, *got.fates) == (row.level, *fates_on_sendmail(row)), got.reason
    for member in run.places[row.name].members:
        read = member.recorder.clear_bytes()
        assert run.secret.encode() not in read
        assert not [one for one in (ENCRYPTED, PROVED, EXCLUSIVE) if _names_a_recipient(read, one)]


@pytest.mark.behaviour("O2")
def test_the_peers_would_have_seen_what_comes_in_clear(matrix: tuple[Matrix, dict[str, Outcome]]) -> None:
    run, _ = matrix
    read = run.places["no STARTTLS"].first.recorder.clear_bytes()
    assert b"The autumn fair opens on Saturday" in read
    assert _names_a_recipient(read, SENDER)
