"""Who is reading, written across what may only be read: it tells whose screen a picture shows, and stops nobody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

_LETTER, _MARGIN, _LEAST = 9, 40, 240
_LONGEST = 64


@dataclass(frozen=True, slots=True)
class Watermark:
    """Lines that are repeated over the text; ``width`` is that of one repetition, in pixels."""

    lines: tuple[str, ...]

    @classmethod
    def of(cls, recipient: str, now: float) -> Watermark:
        """The recipient's address and the moment of the page, in UTC and in digits: it is for whoever finds it."""
        pieces = [recipient[at : at + _LONGEST] for at in range(0, len(recipient), _LONGEST)]
        return cls((*pieces, f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M} UTC"))

    @property
    def width(self) -> int:
        """How far apart the repetitions stand."""
        return max(_LEAST, _LETTER * max(map(len, self.lines)) + _MARGIN)

    @property
    def height(self) -> int:
        """How far below each other the repetitions stand."""
        return 22 * len(self.lines) + 66
