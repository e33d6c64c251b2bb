"""One row for each kind of peer: what Restante learns of it, and what becomes of mail to it through a real Postfix.

All peers and all messages are there at once; each row is then one test.  docs/peers.md is the table in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from restante.settings import Mta
from tests.e2e.matrix import ENCRYPTED, PROVED, Matrix, Outcome, running
from tests.e2e.matrix_rows import ROWS, SENDMAIL_ROWS, Row, fates_on_sendmail

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "peers.md"


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Matrix, dict[str, Outcome]]]:
    expected = {row: row.fates for row in ROWS}
    with running(tmp_path_factory.mktemp("matrix"), Mta.POSTFIX, expected) as seen:
        yield seen


@pytest.mark.behaviour("F13")
@pytest.mark.parametrize(
    "row",
    [pytest.param(row, id=row.name, marks=[pytest.mark.behaviour(mark) for mark in row.marks]) for row in ROWS],
)
def test_each_kind_of_peer_is_judged_and_served_as_the_table_says(
    row: Row, matrix: tuple[Matrix, dict[str, Outcome]]
) -> None:
    run, outcomes = matrix
    got = outcomes[row.name]
    assert (got.level, *got.fates) == (row.level, *row.fates), got.reason
    for member in run.places[row.name].members:
        assert run.secret.encode() not in member.recorder.clear_bytes()
        for sender in (ENCRYPTED, PROVED):
            assert f"MAIL FROM:<{sender}>".encode() not in member.recorder.clear_bytes()


@pytest.mark.behaviour("F13")
def test_the_peers_would_have_seen_what_comes_in_clear(matrix: tuple[Matrix, dict[str, Outcome]]) -> None:
    run, _ = matrix
    assert b"The autumn fair opens on Saturday" in run.places["no STARTTLS"].first.recorder.clear_bytes()


def document() -> str:
    """docs/peers.md, from the table."""
    lines = [
        f"| {row.name} | `{row.level}` | {row.sensitive} | {row.proved} | {row.ordinary} |"
        for row in ROWS
    ]  # fmt: skip
    sendmail = [f"| {' | '.join((row.name, *fates_on_sendmail(row)))} |" for row in SENDMAIL_ROWS]
    return _HEAD + "\n".join(lines) + "\n" + _TAIL + "\n".join(sendmail) + "\n"


_HEAD = """# What happens with which peer

Each line is one scripted SMTP server of `tests/e2e/matrix_rows.py`, driven through a real Postfix 3.7. The columns: the
evidence that `restante domain` reports; what becomes of a sensitive message under a rule that asks for encryption, of
one under a rule that asks for a proven name (`tls = "authenticated"`), and of an ordinary message. The rules have a
deadline of ten seconds, so what another rule would keep in the queue is in the portal here.

| peer | evidence | sensitive | sensitive, proven name | ordinary |
|---|---|---|---|---|
"""
_TAIL = """
Elsewhere: expired DNSSEC signatures and every fault of TLSA records in `tests/core/test_tls_dane.py`; expired,
refreshed and withdrawn MTA-STS policies in `tests/core/test_tls_mta_sts.py`; peers that change between the look and the
delivery in `tests/e2e/test_tls.py`; peers that do anything at any byte in `tests/e2e/test_never_clear.py`.

An ordinary message is Postfix's affair: with `smtp_tls_security_level = may` it goes in clear where TLS fails.

## On Sendmail

The same peers behind a real Sendmail 8.17, with `confTLS_FALLBACK_TO_CLEAR` set (`tests/e2e/test_matrix_sendmail.py`).
The evidence is the same. What a domain publishes by DANE or MTA-STS does not bind a delivery by Sendmail, so these
lines are not here. The last column is a sensitive message under a rule that knows no other way than TLS (`otherwise =
"reject"`): it is refused at once where the peer was seen without TLS, and else bounces at the deadline.

| peer | sensitive | sensitive, proven name | ordinary | sensitive, TLS or nothing |
|---|---|---|---|---|
"""


def test_the_document_is_this_table() -> None:
    assert re.sub(r"\s+\Z", "\n", DOCUMENT.read_text(encoding="utf-8")) == document()


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
