"""The report of a replay as it comes: text for a terminal, JSON, CSV.  Each writes what it has and keeps nothing."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import IO, Any, Final, Protocol

from restante.replay import Judged, Outcome, Totals

TOP: Final = 15
EVIDENCE: Final = (
    "TLS evidence is what the database holds, without network; a domain of which it holds nothing counts as unknown:"
    " mandatory TLS, and delivery finds out"
)
_COLUMNS: Final = (
    "file", "problem", "recipient", "rule_now", "rule_new", "route_now", "route_new", "reason_now", "reason_new",
    "findings",
)  # fmt: skip


class Report(Protocol):
    """Told of each message, and of the end."""

    def message(self, outcome: Outcome) -> None:
        """One message: shown where it differs or could not be judged."""

    def end(self, totals: Totals, seconds: float) -> None:
        """There are no more; ``seconds`` is how long it took."""


class TextReport:
    """Lines for people."""

    def __init__(self, file: IO[str], *, compared: bool) -> None:
        self._file, self._compared = file, compared

    def message(self, outcome: Outcome) -> None:
        """A message that differs, or could not be judged."""
        if outcome.problem:
            self._line(f"{_plain(outcome.name)}: not judged: {outcome.problem}")
        elif outcome.changed and outcome.now and outcome.new:
            self._line(f"{_plain(outcome.name)}: rule {outcome.now.rule} -> {outcome.new.rule}")
            for old, new in zip(outcome.now.ways, outcome.new.ways, strict=True):
                if old.route != new.route:
                    self._line(f"  {_plain(old.recipient)}: {old.route} -> {new.route}: {_plain(new.reason)}")
            for finding in _findings(outcome.now, outcome.new):
                self._line(f"  because of {_plain(finding)}")

    def end(self, totals: Totals, seconds: float) -> None:
        """Totals."""
        rate = totals.messages / seconds if seconds else 0
        self._line(
            f"{totals.messages:,} messages, {totals.bytes / 1e6:,.1f} MB, {seconds:.1f} s ({rate:,.0f}/s);"
            f" {totals.failed:,} could not be judged"
        )
        if self._compared:
            self._line(f"{totals.changed:,} would go another way or by another rule")
        self._moves("Rules, by messages", totals.rules)
        self._moves("Routes, by recipients", totals.routes)
        self._top("Detectors, by messages (findings)", totals.found_in, totals.findings)
        self._top("Packs, by messages", totals.packs, None)
        if totals.without_recipients:
            self._line(f"{totals.without_recipients:,} messages name no recipient: their rule counts, no route.")
        self._line(f"{EVIDENCE} ({totals.unknown:,} of {totals.recipients:,} recipients).")

    def _moves(self, title: str, moves: Counter[tuple[str, str]]) -> None:
        if not moves:
            return
        self._line(f"{title}:")
        now, new, changed = Counter[str](), Counter[str](), Counter[str]()
        for (before, after), count in moves.items():
            now[before] += count
            new[after] += count
            if before != after:
                changed[f"{before} -> {after}"] += count
        if not self._compared:
            for name, count in now.most_common():
                self._line(f"  {name:<32}{count:>10,}")
            return
        self._line(f"  {'':<32}{'now':>10}{'new':>10}")
        for name in dict.fromkeys((*dict(now.most_common()), *dict(new.most_common()))):
            self._line(f"  {name:<32}{now[name]:>10,}{new[name]:>10,}")
        for name, count in changed.most_common():
            self._line(f"  {name:<32}{count:>20,}")

    def _top(self, title: str, counts: Counter[str], of: Counter[str] | None) -> None:
        if counts:
            self._line(f"{title}:")
        for name, count in counts.most_common(TOP):
            self._line(f"  {_plain(name):<32}{count:>10,}" + (f" ({of[name]:,})" if of is not None else ""))
        if len(counts) > TOP:
            self._line(f"  and {len(counts) - TOP} more")

    def _line(self, text: str) -> None:
        self._file.write(f"{text}\n")


class JsonReport:
    """One object: ``messages`` are those that differ or could not be judged, ``totals`` count all."""

    def __init__(self, file: IO[str], *, compared: bool) -> None:
        self._file, self._compared = file, compared
        self._first = True
        file.write('{"messages": [')

    def message(self, outcome: Outcome) -> None:
        """A message that differs, or could not be judged."""
        if not (outcome.problem or outcome.changed):
            return
        self._file.write("\n" if self._first else ",\n")
        self._first = False
        shown: dict[str, Any] = {"file": outcome.name, "problem": outcome.problem}
        if outcome.now and outcome.new:
            shown |= {"now": asdict(outcome.now), "new": asdict(outcome.new)}
        json.dump(shown, self._file)

    def end(self, totals: Totals, seconds: float) -> None:
        """Totals."""
        counts = {
            "messages": totals.messages,
            "bytes": totals.bytes,
            "seconds": round(seconds, 3),
            "failed": totals.failed,
            "compared": self._compared,
            "changed": totals.changed,
            "without_recipients": totals.without_recipients,
            "recipients": totals.recipients,
            "recipients_with_unknown_tls": totals.unknown,
            "rules": _moves(totals.rules),
            "routes": _moves(totals.routes),
            "detectors": [
                {"name": name, "messages": count, "findings": totals.findings[name]}
                for name, count in totals.found_in.most_common()
            ],
            "packs": [{"name": name, "messages": count} for name, count in totals.packs.most_common()],
        }
        self._file.write(f'\n], "evidence": {json.dumps(EVIDENCE)}, "totals": {json.dumps(counts, indent=2)}}}\n')


def _moves(moves: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"now": now, "new": new, "count": count} for (now, new), count in moves.most_common()]


class CsvReport:
    """RFC 4180 with a header line, a row for each recipient of a message that differs; nothing reads as a formula."""

    def __init__(self, file: IO[str]) -> None:
        self._writer = csv.DictWriter(file, _COLUMNS, restval="")
        self._writer.writeheader()

    def message(self, outcome: Outcome) -> None:
        """A message that differs, or could not be judged."""
        for row in _rows(outcome):
            self._writer.writerow({key: _cell(value) for key, value in row.items()})

    def end(self, totals: Totals, seconds: float) -> None:
        """Nothing is left to write."""


def _rows(outcome: Outcome) -> Iterator[dict[str, str]]:
    if outcome.problem:
        yield {"file": outcome.name, "problem": outcome.problem}
    elif outcome.changed and outcome.now and outcome.new:
        findings = "; ".join(_findings(outcome.now, outcome.new))
        row = {
            "file": outcome.name,
            "rule_now": outcome.now.rule,
            "rule_new": outcome.new.rule,
            "findings": findings,
        }
        for old, new in zip(outcome.now.ways, outcome.new.ways, strict=True):
            yield row | {
                "recipient": old.recipient,
                "route_now": old.route,
                "route_new": new.route,
                "reason_now": old.reason,
                "reason_new": new.reason,
            }
        if not outcome.now.ways:
            yield row


def _findings(now: Judged, new: Judged) -> tuple[str, ...]:
    """What made either rule match."""
    return tuple(dict.fromkeys((*new.findings, *now.findings)))


def _plain(text: str) -> str:
    """``text`` without control characters: a file name must not steer the reader's terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _cell(value: str) -> str:
    plain = _plain(value)
    return f"'{plain}" if plain[:1] in {"=", "+", "-", "@"} else plain
