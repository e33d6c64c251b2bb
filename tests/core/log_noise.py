"""Lines like those of logs, shops and scripts, full of numbers that mean nobody: for counting false positives."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterator

_HEX = "0123456789abcdef"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TOKEN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_WORDS = (
    "accepted",
    "archive",
    "batch",
    "build",
    "cache",
    "client",
    "closed",
    "connection",
    "container",
    "counter",
    "customer",
    "delivered",
    "depot",
    "device",
    "disk",
    "done",
    "error",
    "event",
    "export",
    "failed",
    "finished",
    "host",
    "import",
    "index",
    "input",
    "item",
    "job",
    "length",
    "level",
    "lot",
    "machine",
    "message",
    "module",
    "network",
    "node",
    "offset",
    "order",
    "output",
    "packet",
    "page",
    "parcel",
    "peer",
    "pending",
    "process",
    "queue",
    "ready",
    "record",
    "release",
    "request",
    "response",
    "result",
    "retry",
    "row",
    "rule",
    "sample",
    "sensor",
    "series",
    "server",
    "session",
    "size",
    "socket",
    "started",
    "state",
    "status",
    "store",
    "system",
    "table",
    "task",
    "thread",
    "ticket",
    "timeout",
    "total",
    "transfer",
    "trigger",
    "unit",
    "update",
    "user",
    "value",
    "version",
    "warning",
)


class _Maker:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def pick(self, of: str, count: int) -> str:
        return "".join(self._random.choices(of, k=count))

    def digits(self, least: int, most: int = 0) -> str:
        return self.pick("0123456789", self._random.randint(least, most or least))

    def word(self) -> str:
        return self._random.choice(_WORDS)

    def number(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def clock(self) -> str:
        date = f"{self.number(2015, 2029)}-{self.number(1, 12):02}-{self.number(1, 28):02}"
        return f"{date}T{self.number(0, 23):02}:{self.number(0, 59):02}:{self.number(0, 59):02}.{self.digits(3, 6)}Z"

    def grouped(self) -> str:
        """Digits in groups, as telephone numbers, serial numbers and formatted amounts have them."""
        separator = self._random.choice(" -./")
        return separator.join(self.digits(2, 5) for _ in range(self.number(2, 5)))

    def uuid(self) -> str:
        return "-".join(self.pick(_HEX, count) for count in (8, 4, 4, 4, 12))

    def telephone(self) -> str:
        style = self.number(0, 4)
        if style == 0:
            return f"+{self.number(1, 99)} {self.digits(2, 4)} {self.digits(5, 8)}"
        if style == 1:
            return f"({self.number(200, 999)}) {self.number(200, 999)}-{self.digits(4)}"
        if style == 2:
            return f"{self.number(200, 999)}{self._random.choice('-. ')}{self.number(200, 999)}-{self.digits(4)}"
        return f"0{self.digits(2, 4)}{self._random.choice(' /-')}{self.digits(5, 8)}"

    def base64(self) -> str:
        return base64.b64encode(self._random.randbytes(self.number(9, 54))).decode()

    def token(self) -> str:
        return self.pick(_TOKEN, self.number(8, 44))

    def tracking(self) -> str:
        style = self.number(0, 4)
        if style == 0:
            return f"1Z{self.pick(_LETTERS + '0123456789', 6)}{self.digits(10)}"
        if style == 1:
            return f"{self.pick(_LETTERS, 2)}{self.digits(9)}{self.pick(_LETTERS, 2)}"
        if style == 2:
            return " ".join(self.digits(4) for _ in range(5))
        return self.digits(10, 22)

    def price(self) -> str:
        amount = f"{self.number(1, 999)},{self.digits(3)}.{self.digits(2)}"
        return self._random.choice((amount, f"${amount}", f"EUR {self.digits(2, 7)},{self.digits(2)}"))

    def code(self) -> str:
        """Capital letters and digits, as article, flight and invoice numbers have them."""
        return self.pick(_LETTERS, self.number(1, 4)) + self._random.choice(("", "-", " ")) + self.digits(3, 13)

    def version(self) -> str:
        return ".".join(str(self.number(0, 400)) for _ in range(self.number(2, 4)))

    def fraction(self) -> str:
        return f"{self.number(0, 99999)}.{self.digits(4, 17)}"

    def moment(self) -> str:
        fraction = self._random.choice(("", self.digits(3), self.digits(6)))
        return f"{self.number(1_400_000_000, 1_900_000_000)}{fraction}"


def noise(seed: int, count: int) -> Iterator[str]:
    """``count`` lines, the same for the same ``seed``."""
    make = _Maker(seed)
    kinds: tuple[Callable[[], str], ...] = (
        lambda: f"{make.clock()} {make.word()}[{make.digits(3, 6)}]: {make.word()} {make.digits(1, 16)} {make.word()}",
        lambda: f"{make.word()} id={make.pick(_HEX, make.number(8, 40))} at {make.moment()}",
        lambda: f"{make.word()} {make.uuid()} {make.word()} {make.digits(9, 13)}",
        lambda: f"Your parcel {make.tracking()} was {make.word()}.",
        lambda: f"call {make.telephone()} or fax {make.telephone()}",
        lambda: f"{make.number(1, 99)} x {make.word()} {make.code()} {make.price()} {make.price()}",
        lambda: f"invoice {make.code()} of {make.grouped()} for {make.price()}",
        lambda: f"{make.word()} v{make.version()} build {make.digits(5, 12)} ({make.version()})",
        lambda: f"<{make.digits(8, 14)}.{make.token()}@{make.word()}.example>",
        make.base64,
        lambda: f"{make.digits(7, 20)};{make.digits(6, 12)};{make.code()};{make.fraction()}",
        lambda: f"{make.fraction()} {make.fraction()} {make.digits(8)} {make.digits(9)} {make.digits(10)}",
        lambda: f"{make.word()}: {make.grouped()} {make.word()} {make.grouped()}",
        lambda: f"https://{make.word()}.example/{make.token()}?id={make.digits(9, 16)}&t={make.moment()}",
        lambda: f"{make.word()} {make.code()} {make.word()} {make.code()}",
        lambda: f"{make.digits(11)} {make.digits(12)} {make.digits(13)} {make.digits(14)} {make.digits(18)}",
    )
    for index in range(count):
        yield kinds[index % len(kinds)]()
