"""The bench itself: its quick run makes the table and the JSON, and every message is counted where it must be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.report import NO_PRESIDIO
from tests.corpus import presidio_environment

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_quick_run_counts_every_message_and_writes_table_and_json(tmp_path: Path) -> None:
    results = tmp_path / "bench-results.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick", "--json", str(results)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for line in ("no milter", "no-op C", "no-op pymilter", "restante", "postfix hold", "verdict", "claim, SQLite"):
        assert line in done.stdout
    figures = json.loads(results.read_text(encoding="utf-8"))
    # A run raises when the sink, the hold queue or the database has one message more or less than was sent.
    assert [(row["name"], row["messages"]) for row in figures["throughput"]] == [
        (name, 30) for name in ("no milter", "no-op C", "no-op pymilter", "restante")
    ]
    assert [(row["name"], row["messages"]) for row in figures["holding"]] == [("postfix hold", 20), ("restante", 20)]
    assert all(
        row["ratio"] > 0 and row["accepted_per_second"] > 0 for row in figures["throughput"] + figures["holding"]
    )
    assert figures["throughput"][3]["milter_cpu_us"] > figures["throughput"][0]["milter_cpu_us"] == 0
    assert len(figures["peak_memory"]["restante"]) >= 3, "the parent and its children"
    assert [grown["what"] for grown in figures["growth"]] == ["relayed", "held"]
    assert all(grown["size"] > 2_900_000 for grown in figures["growth"])
    # The client stops at the first answer that is not OK.
    assert [row["name"] for row in figures["lookups"]] == [
        "mta-sts-resolver",
        *("restante policy", "restante policy-auth", "restante verdict"),
    ]
    _assert_the_portal_answered(figures["portal"])
    assert "SQLite, claim, access code" in done.stdout
    assert "30 messages held" in done.stdout
    # The quick run installs nothing of 400 MB for its own sake, but runs what is there.
    if presidio_environment.interpreter():
        assert figures["presidio"]["ratio"] > 0 < figures["presidio"]["recognizers"]
        assert f"Presidio {figures['presidio']['version']}" in done.stdout
    else:
        assert figures["presidio"] is None
        assert NO_PRESIDIO in done.stdout


@pytest.mark.slow
def test_unknown_domains_are_judged_with_one_connection_to_an_mx_host(tmp_path: Path) -> None:
    results = tmp_path / "bench-domains.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--domains", "--quick", "--json", str(results)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(results.read_text(encoding="utf-8"))
    connections = figures["connections"]
    assert connections["verified"] == [1] * 20
    assert connections["self-signed"] == [2] * 5, "once to verify, once to see that it encrypts all the same"
    assert connections["clear"] == [2] * 5, "a firm no is seen twice"
    # 200 domains over 40 hosts in eight conducts; every third has a backup host that is good.
    assert sum(figures["levels"].values()) == figures["domains"] == 200
    assert figures["levels"]["pkix"] > 100 > figures["levels"]["encrypted"] > 0 < figures["levels"]["none"]
    assert "domains judged" in done.stdout


def _assert_the_portal_answered(figures: dict[str, Any]) -> None:
    """Each page on both databases; the client stops at the first answer that is not what it must be."""
    names = ["hello world in Flask", "landing page", "claim", "message page", "attachment of 100 kB"]
    assert [(page["database"], page["name"]) for page in figures["pages"]] == [
        (database, name) for database in ("SQLite", "PostgreSQL") for name in (*names, "claim, access code")
    ]
    assert [page["requests"] for page in figures["pages"]] == 2 * [*[8] * 5, 1]
    assert all(page["p99"] >= page["p50"] > 0 < page["rate"] for page in figures["pages"])
