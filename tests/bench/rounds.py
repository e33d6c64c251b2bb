"""The interleaved rounds: who is measured next to whom, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

from tests.bench import mails
from tests.bench.rig import CONTESTANTS, MTA_HOLD, Rig, Run


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done.  A run sends ``messages`` or ``held``, asks ``lookups``, or reads ``compared`` beside Presidio.

    The first of each is left out.
    """

    rounds: int = 7
    messages: int = 300
    held: int = 150
    sessions: int = 8
    large: int = 50_000_000
    megabytes: int = 8
    compared: int = 25
    lookups: int = 10_000
    domains: int = 10_000

    @classmethod
    def quick(cls) -> Effort:
        """Just enough to show that everything works and counts right."""
        little = cls(rounds=1, messages=30, held=20, sessions=4, large=3_000_000)
        return replace(little, megabytes=1, compared=3, lookups=1000, domains=200)


@dataclass(frozen=True, slots=True)
class Result:
    """All runs through one door that count."""

    name: str
    runs: tuple[Run, ...]

    @property
    def rate(self) -> float:
        """Median of accepted messages a second."""
        return median(run.rate for run in self.runs)

    @property
    def delivered_rate(self) -> float:
        """Median of delivered messages a second."""
        return median(run.delivered_rate for run in self.runs)

    @property
    def milter_cpu(self) -> float:
        """Median of the milter's processor time for a message, in microseconds."""
        return median(run.milter_cpu for run in self.runs)

    @property
    def messages(self) -> int:
        """How many messages were sent, accepted and counted at their end."""
        return sum(run.messages for run in self.runs)

    def ratio(self, other: Result) -> float:
        """The median, over rounds, of this rate by the other's in the same round: a busy machine slows both."""
        return median(ours.rate / theirs.rate for ours, theirs in zip(self.runs, other.runs, strict=True))


def throughput(rig: Rig, effort: Effort, say: Callable[[str], None]) -> tuple[Result, ...]:
    """Mail that is not sensitive, delivered to the sink, through every door in turn."""
    mail = rig.directory / "ordinary"
    mail.write_bytes(mails.ordinary())

    def run(name: str, _number: int) -> Run:
        return rig.deliver(name, mail, effort.messages, sessions=effort.sessions)

    return _interleaved(CONTESTANTS, run, effort.rounds, say)


def holding(rig: Rig, effort: Effort, say: Callable[[str], None]) -> tuple[Result, ...]:
    """Mail that is held: by Postfix in its hold queue, by Restante in its database on the same disk."""
    mail = rig.directory / "sensitive"
    mail.write_bytes(mails.sensitive())

    def run(name: str, number: int) -> Run:
        done = rig.hold(name, mail, effort.held, sessions=effort.sessions, number=number)
        if name == MTA_HOLD:
            rig.release_hold_queue()
        return done

    return _interleaved((MTA_HOLD, "restante"), run, effort.rounds, say)


def _interleaved(
    names: tuple[str, ...], run: Callable[[str, int], Run], rounds: int, say: Callable[[str], None]
) -> tuple[Result, ...]:
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for number in range(rounds + 1):
        # Every other round backwards, so that no door always follows the same neighbour.
        for name in names if number % 2 else reversed(names):
            done = run(name, number)
            if number:
                runs[name].append(done)
                say(f"  round {number}  {name:15} {done.rate:7.1f} messages/s")
    return tuple(Result(name, tuple(found)) for name, found in runs.items())
