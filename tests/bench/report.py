"""The figures as a table for people and as JSON for programs."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench import lookups, portal
from tests.bench.lookups import Lookups
from tests.bench.memory import Growth
from tests.bench.micro import Micro
from tests.bench.portal import PortalFigures
from tests.bench.presidio import Beside
from tests.bench.rounds import Effort, Result

MIB = 1 << 20
STEADY = 0.95
"""Of the offered rate: what a page must reach that keeps up with its visitors."""


NO_PRESIDIO = "Presidio: not measured in a quick run, which does not install it; python -m tests.bench --presidio does"


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal.  ``better`` is ``">="`` or ``"<="``."""

    name: str
    value: float
    better: str
    limit: float
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether this run meets it."""
        return self.value >= self.limit if self.better == ">=" else self.value <= self.limit

    @property
    def verdict(self) -> str:
        """``met`` or ``MISSED``."""
        return "met" if self.met else "MISSED"


@dataclass(frozen=True, slots=True)
class Report:
    """All that one run measured."""

    effort: Effort
    throughput: tuple[Result, ...]
    holding: tuple[Result, ...]
    peaks: dict[str, dict[int, int]]
    growth: list[Growth]
    micro: Micro
    lookups: list[Lookups]
    portal: PortalFigures
    presidio: Beside | None

    def goals(self) -> list[Goal]:
        """What DESIGN.md asks, in the order of its table."""
        by_name = {result.name: result for result in self.throughput}
        hold = {result.name: result for result in self.holding}
        return [
            Goal(
                "mail that is not sensitive, by the no-op C milter",
                by_name["restante"].ratio(by_name["no-op C"]),
                ">=",
                0.90,
            ),
            Goal("holding, by Postfix's own HOLD", hold["restante"].ratio(hold["postfix hold"]), ">=", 0.5),
            *(
                Goal(f"memory that a large message adds, {grown.what}", grown.added / MIB, "<=", 8, "MiB")
                for grown in self.growth
            ),
            Goal("classification of 8 kB mails", 1e6 / self.micro.classify_mail_us, ">=", 2000, "/s"),
            Goal("prefilter", self.micro.prefilter_mb_s, ">=", 100, "MB/s"),
            Goal("prefilter by one-by-one re", self.micro.prefilter_mb_s / self.micro.one_by_one_mb_s, ">=", 20),
            Goal("verdict from memory", self.micro.verdict_us, "<=", 50, "µs"),
            *(
                Goal(f"cached lookups, {result.name}", result.rate, ">=", lookups.GOAL, "/s")
                for result in self.lookups
                if result.name != lookups.PEER
            ),
            *(
                Goal(f"{page.name}, {page.database}", page.rate, ">=", STEADY * page.offered, "/s")
                for page in self.portal.pages
                if page.name not in {portal.HELLO, portal.CODE}
            ),
        ]

    def table(self) -> str:
        """The table."""
        by_name = {result.name: result for result in self.throughput}
        lines = [
            (
                f"{self.effort.rounds} rounds of {self.effort.messages} messages, {self.effort.sessions} sessions, "
                f"{os.cpu_count()} cores; medians; ratios are medians over rounds"
            ),
            "",
            (
                f"{'8 kB mail, not sensitive':26} {'accepted/s':>10} {'delivered/s':>11} {'by no-op C':>10} "
                f"{'milter µs/mail':>14} {'highest RSS':>12}"
            ),
        ]
        for result in self.throughput:
            ratio = result.ratio(by_name["no-op C"])
            lines.append(
                f"{result.name:26} {result.rate:10.1f} {result.delivered_rate:11.1f} {ratio:10.2f} "
                f"{result.milter_cpu:14.0f} {self._rss(result.name):>12}"
            )
        lines += ["", f"{'8 kB mail, held':26} {'accepted/s':>10} {'by HOLD':>11} {'milter µs/mail':>25}"]
        lines += [
            f"{result.name:26} {result.rate:10.1f} {result.ratio(self.holding[0]):11.2f} {result.milter_cpu:25.0f}"
            for result in self.holding
        ]
        lines += ["", f"{'cached lookups':26} {'lookups/s':>10} {'by the peer':>11} {'server µs/lookup':>25}"]
        lines += [
            f"{result.name:26} {result.rate:10.0f} {result.ratio(self.lookups[0]):11.2f} {result.cpu:25.0f}"
            for result in self.lookups
        ]
        lines += ["", *self.portal.lines()]
        lines += ["", f"{'by itself':26}"]
        lines += [f"{name:40} {value:10.1f} {unit}" for name, value, unit in self._micro()]
        lines += ["", *(self.presidio.lines() if self.presidio else [NO_PRESIDIO])]
        lines += ["", f"{'goal':56} {'is':>9} {'asked':>10}"]
        lines += [
            f"{goal.name:56} {goal.value:9.2f} {goal.better}{goal.limit:8.2f} {goal.unit:5} {goal.verdict}"
            for goal in self.goals()
        ]
        return "\n".join(lines) + "\n"

    def _micro(self) -> list[tuple[str, float, str]]:
        return [
            ("classification of one 8 kB mail", self.micro.classify_mail_us, "µs"),
            ("the same mail again and again", self.micro.classify_mail_again_us, "µs"),
            ("classification of long text", self.micro.classify_text_mb_s, "MB/s"),
            ("prefilter", self.micro.prefilter_mb_s, "MB/s"),
            ("the same patterns one by one with re", self.micro.one_by_one_mb_s, "MB/s"),
            ("verdict from memory", self.micro.verdict_us, "µs"),
        ]

    def _rss(self, name: str) -> str:
        peaks = sorted(self.peaks.get(name, {}).values(), reverse=True)
        return " + ".join(f"{peak / MIB:.0f}" for peak in peaks) + " MiB" if peaks else ""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
            "effort": asdict(self.effort),
            "throughput": [_result(result, self.throughput[1]) for result in self.throughput],
            "holding": [_result(result, self.holding[0]) for result in self.holding],
            "peak_memory": {name: sorted(peaks.values(), reverse=True) for name, peaks in self.peaks.items()},
            "growth": [asdict(grown) for grown in self.growth],
            "micro": asdict(self.micro),
            "presidio": self.presidio.to_dict() if self.presidio else None,
            "lookups": [result.to_dict(self.lookups[0]) for result in self.lookups],
            "portal": self.portal.to_dict(),
            "goals": [{**asdict(goal), "met": goal.met} for goal in self.goals()],
        }


def _result(result: Result, reference: Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "messages": result.messages,
        "accepted_per_second": result.rate,
        "delivered_per_second": result.delivered_rate,
        "milter_cpu_us": result.milter_cpu,
        "ratio_to": reference.name,
        "ratio": result.ratio(reference),
        "runs": [asdict(run) for run in result.runs],
    }
