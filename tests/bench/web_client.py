"""An HTTP client with an open loop, in a process of its own: ``python -m tests.bench.web_client``.

Visitors do not wait for each other: a request begins when it is due, however many answers are outstanding, on a
connection of its own, as from a web server in front that keeps none.  Its time counts from when it was due, so that
waiting in line shows; up to one millisecond of it is this process's own timer.  Arrivals are random, at one mean rate,
and the same in every run.

Reads a :class:`Plan` as JSON from standard input and writes an :class:`Outcome`.  Ends with status 1 at the first
answer that is not as planned.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
from dataclasses import asdict, dataclass, field

LONGEST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask of 127.0.0.1:``port``: ``requests``, whole and in this order, at ``rate`` a second.

    The first ``warm`` do not count.  Each answer must have ``status``, ``contains`` in its body, and, where ``sha256``
    is not empty, a body of that digest.
    """

    port: int
    rate: float
    warm: int
    requests: list[str]
    status: int
    contains: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``seconds`` from when the first that counts was due to the last answer; times in milliseconds; cookies of all."""

    seconds: float
    milliseconds: list[float]
    cookies: list[str] = field(repr=False)


async def visit(plan: Plan) -> Outcome:
    """Raises ``ValueError`` at an answer that is not as planned, ``OSError`` and ``TimeoutError``."""
    clock = asyncio.get_running_loop().time
    begin = clock() + 0.05
    count = len(plan.requests)
    moments = random.Random(7)
    due = [begin + moment for moment in sorted(moments.uniform(0, count / plan.rate) for _ in range(count))]
    ends = [0.0] * count
    cookies = [""] * count

    async def one(number: int) -> None:
        async with asyncio.timeout(LONGEST_SECONDS):
            cookies[number] = _checked(plan, await _ask(plan.port, plan.requests[number]))
        ends[number] = clock()

    async with asyncio.TaskGroup() as visits:
        for number, moment in enumerate(due):
            await asyncio.sleep(moment - clock())
            visits.create_task(one(number))
    times = [(end - moment) * 1e3 for end, moment in zip(ends, due, strict=True)]
    return Outcome(max(ends) - due[plan.warm], times[plan.warm :], cookies)


async def _ask(port: int, request: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request.encode())
        return await reader.read()
    finally:
        writer.close()


def _checked(plan: Plan, answer: bytes) -> str:
    """The cookies that a right answer sets, as a browser sends them back."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    length = next((int(value) for name, value in fields if name == "content-length"), -1)
    right = status.split()[1:2] == [str(plan.status)] and length == len(body) and plan.contains.encode() in body
    if not right or (plan.sha256 and hashlib.sha256(body).hexdigest() != plan.sha256):
        raise ValueError(f"{plan.requests[0].partition(chr(13))[0]}: {status!r}, {len(body)} of {length} bytes")
    return "; ".join(value.partition(";")[0] for name, value in fields if name == "set-cookie")


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(visit(Plan(**json.load(sys.stdin)))))))
