"""``python -m tests.bench``: measure, print the table, write ``bench-results.json``.  Needs root, as Postfix does.

With ``--domains`` it judges thousands of unknown domains instead, and writes ``bench-domains.json``; with ``--portal``
it measures the portal alone, and writes ``bench-portal.json``; with ``--presidio`` the classification beside Presidio's
alone, and writes ``bench-presidio.json``.

Presidio is installed into ``.cache/presidio`` where it is not there yet, but never for a quick run of everything.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from tests.bench import domains, lookups, memory, micro, portal, presidio, rounds
from tests.bench.portal import PortalFigures, Visits
from tests.bench.presidio import Beside
from tests.bench.report import Report
from tests.bench.rig import Rig
from tests.bench.rounds import Effort
from tests.corpus import presidio_environment


def measure(effort: Effort, visits: Visits, peer: Path | None) -> Report:
    """Run everything, with the ``peer`` that has Presidio where there is one; progress goes to standard error."""
    _say("the portal")
    pages = portal.measure(visits, _say)
    _say("cached lookups")
    looked_up = lookups.measure(effort.lookups, effort.rounds, _say)
    micro_figures = micro.measure(megabytes=effort.megabytes)
    beside = _beside_presidio(effort, peer) if peer else None
    with Rig() as rig:
        _say("mail that is not sensitive")
        throughput = rounds.throughput(rig, effort, _say)
        peaks = {name: family.peak_memory() for name, family in rig.families.items()}
        _say("mail that is held")
        holding = rounds.holding(rig, effort, _say)
        _say("large messages")
        growth = memory.measure(rig, effort.large)
    return Report(effort, throughput, holding, peaks, growth, micro_figures, looked_up, pages, beside)


def _beside_presidio(effort: Effort, peer: Path) -> Beside:
    _say("classification beside Presidio's")
    return presidio.measure(presidio.command(peer), effort.compared, effort.rounds, _say)


def _installed_presidio() -> Path:
    _say("Presidio, installed where it is not there yet")
    return presidio_environment.set_up()


def main(arguments: list[str]) -> int:
    """The command.  Exit status 0 whatever the figures are; 1 when it cannot run."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few messages only: shows that it works, not how fast")
    parser.add_argument("--rounds", type=int, help="how many rounds count (7)")
    parser.add_argument("--domains", action="store_true", help="judge 10,000 domains that nobody knows yet (200)")
    parser.add_argument("--portal", action="store_true", help="the portal's pages alone")
    parser.add_argument("--presidio", action="store_true", help="the classification beside Presidio's alone")
    parser.add_argument("--held", type=int, help="how many messages the portal's database holds (100,000)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0 and not options.portal and not options.presidio:
        _say("the bench runs a private Postfix and needs root")
        return 1
    effort = Effort.quick() if options.quick else Effort()
    effort = replace(effort, rounds=options.rounds) if options.rounds else effort
    visits = Visits.quick() if options.quick else Visits()
    visits = replace(visits, held=options.held) if options.held else visits
    report: domains.Judged | PortalFigures | Beside | Report
    if options.domains:
        name, report = "domains", domains.measure(effort.domains)
    elif options.portal:
        name, report = "portal", portal.measure(visits, _say)
    elif options.presidio:
        name, report = "presidio", _beside_presidio(effort, _installed_presidio())
    else:
        peer = presidio_environment.interpreter() if options.quick else _installed_presidio()
        name, report = "results", measure(effort, visits, peer)
    file = options.json or Path(f"bench-{name}.json")
    file.write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
    print(report.table())
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
