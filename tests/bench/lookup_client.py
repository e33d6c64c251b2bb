"""A socketmap client in a process of its own: ``python -m tests.bench.lookup_client SOCKET MAP COUNT``.

Asks ``COUNT`` times over four connections, each with up to 32 questions open, as many Postfix processes behind one
proxymap do together, and prints the seconds that it took.  Exits with 1 on the first answer that is not OK.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time

from restante.tls import netstring
from tests.bench.known import domains

CONNECTIONS = 4
WINDOW = 32


async def ask(socket: str, table: str, count: int) -> float:
    """Seconds until ``count`` answers were there.  Raises ``ValueError`` on one that is not OK."""
    begin = time.perf_counter()
    await asyncio.gather(*(_connection(socket, table, count // CONNECTIONS) for _ in range(CONNECTIONS)))
    return time.perf_counter() - begin


async def _connection(socket: str, table: str, count: int) -> None:
    reader, writer = await asyncio.open_unix_connection(socket)
    names = itertools.cycle(netstring.encode(f"{table} {name}".encode()) for name in domains())
    asked = answered = 0
    buffer = bytearray()
    while answered < count:
        if (room := min(WINDOW, count - answered) - (asked - answered)) > WINDOW // 2 or asked == answered:
            writer.write(b"".join(itertools.islice(names, room)))
            asked += room
        data = await reader.read(65_536)
        if not data:
            raise ValueError(f"{socket} closed the connection after {answered} answers")
        buffer += data
        while (answer := netstring.take(buffer)) is not None:
            if not answer.startswith(b"OK "):
                raise ValueError(f"{table}: {answer[:200]!r}")
            answered += 1
    writer.close()
    await writer.wait_closed()


if __name__ == "__main__":
    print(asyncio.run(ask(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
