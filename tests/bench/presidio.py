"""Our classification beside Presidio's recognizers on the same mails, in processor time and in interleaved rounds.

Presidio is given what it is made for: text.  It gets the text and what a reader sees of the HTML, ready decoded, while
ours reads the raw mail.  Each works in a process of its own, loaded and warm, while the other waits.
"""

from __future__ import annotations

import contextlib
import email
import email.policy
import io
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

from restante.classify.engine import Classifier
from restante.classify.markup import page, unescape
from restante.policy import Policy
from tests.bench import mails
from tests.lab.waiting import LabError

LEARNING = 12
"""Rounds' worth of mail that ours reads before: its automata learn as they read, as in a milter that runs for days."""

_REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Round:
    """Processor seconds of both for the same mails, and the size of their text in bytes."""

    mails: int
    size: int
    ours: float
    theirs: float


@dataclass(frozen=True, slots=True)
class Beside:
    """All rounds that count, and the peer's release and number of recognizers."""

    version: str
    recognizers: int
    rounds: tuple[Round, ...]

    @property
    def ours_us(self) -> float:
        """Median of our processor time for a mail, in microseconds."""
        return median(one.ours * 1e6 / one.mails for one in self.rounds)

    @property
    def theirs_us(self) -> float:
        """Median of the peer's processor time for a mail, in microseconds."""
        return median(one.theirs * 1e6 / one.mails for one in self.rounds)

    @property
    def ours_mb_s(self) -> float:
        """Median of the megabytes of text a second that we read."""
        return median(one.size / one.ours / 1e6 for one in self.rounds)

    @property
    def theirs_mb_s(self) -> float:
        """Median of the megabytes of text a second that the peer reads."""
        return median(one.size / one.theirs / 1e6 for one in self.rounds)

    @property
    def ratio(self) -> float:
        """How many times as fast ours is: the median of the ratios within each round."""
        return median(one.theirs / one.ours for one in self.rounds)

    def lines(self) -> list[str]:
        """The table."""
        peer = f"Presidio {self.version}, {self.recognizers} pattern recognizers"
        return [
            f"{'text of 8 kB mails, no two alike':48} {'µs/mail':>9} {'MB/s':>8} {'by the peer':>11}",
            f"{peer:48} {self.theirs_us:9.0f} {self.theirs_mb_s:8.3f} {1:11.2f}",
            f"{'classification of the whole mail':48} {self.ours_us:9.0f} {self.ours_mb_s:8.3f} {self.ratio:11.2f}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            "version": self.version,
            "recognizers": self.recognizers,
            "classification_us": self.ours_us,
            "classification_mb_s": self.ours_mb_s,
            "presidio_us": self.theirs_us,
            "presidio_mb_s": self.theirs_mb_s,
            "ratio": self.ratio,
            "rounds": [
                {"mails": one.mails, "bytes": one.size, "classification_s": one.ours, "presidio_s": one.theirs}
                for one in self.rounds
            ],
        }

    def table(self) -> str:
        """The table by itself."""
        return "\n".join(self.lines()) + "\n"


class _Peer:
    """The other process, as :mod:`tests.bench.presidio_clock` speaks."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, cwd=_REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="ascii"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def greeting(self) -> dict[str, Any]:
        """Its release and number of recognizers: the first thing that it says."""
        return self._answer()

    def seconds(self, decoded: list[list[str]]) -> float:
        """Processor seconds for mails whose texts are ``decoded``."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # that it gave no answer is what then says so
            self._process.stdin.write(json.dumps(decoded) + "\n")
            self._process.stdin.flush()
        answer = self._answer()
        # Each mail holds the address of a conference, which is one of the things that Presidio looks for.
        if answer["least"] < 1:
            raise LabError("Presidio found nothing in a mail with a web address: its recognizers are not on")
        return float(answer["seconds"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise LabError(f"Presidio's process ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def command(python: Path) -> list[str]:
    """What starts the peer with its interpreter."""
    return [str(python), "-m", "tests.bench.presidio_clock"]


def measure(peer_command: Sequence[str], count: int, rounds: int, say: Callable[[str], None]) -> Beside:
    """``count`` mails a round; a first round, which warms both, does not count."""
    classifier = Classifier(Policy.default())
    for mail in _crlf(LEARNING * count, 3):
        classifier.classify(io.BytesIO(mail))
    fresh = _crlf(count * (rounds + 1), 4)
    counted = []
    with _Peer(peer_command) as peer:
        greeting = peer.greeting()
        for number in range(rounds + 1):
            some = fresh[number :: rounds + 1]
            done = _round(classifier, peer, some, ours_first=number % 2 == 0)
            if number:
                counted.append(done)
                say(f"  round {number}  {done.theirs / done.ours:7.1f} times as fast as Presidio")
    return Beside(greeting["version"], greeting["recognizers"], tuple(counted))


def texts(mail: bytes) -> list[str]:
    """The texts of ``mail``, decoded, and of HTML what a reader sees."""
    found = []
    for part in email.message_from_bytes(mail, policy=email.policy.default).walk():
        if part.get_content_maintype() == "text":
            text = part.get_content().replace("\r\n", "\n")
            found.append(unescape(page(text).seen) if part.get_content_subtype() == "html" else text)
    return found


def _round(classifier: Classifier, peer: _Peer, some: list[bytes], *, ours_first: bool) -> Round:
    decoded = [texts(mail) for mail in some]
    size = sum(len(text.encode()) for mail in decoded for text in mail)
    theirs = 0.0 if ours_first else peer.seconds(decoded)
    begin = time.process_time()
    for mail in some:
        classifier.classify(io.BytesIO(mail))
    ours = time.process_time() - begin
    return Round(len(some), size, ours, peer.seconds(decoded) if ours_first else theirs)


def _crlf(count: int, seed: int) -> list[bytes]:
    return [mail.replace(b"\n", b"\r\n") for mail in mails.varied(count, seed)]
