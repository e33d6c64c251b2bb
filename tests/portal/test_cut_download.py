"""A download of 100 MiB whose connection is cut a hundred times, from the portal as it runs in earnest.

Every piece that arrives is compared with what the sender attached.  Cuts are resets: the client's socket is closed
with nothing left to linger for, as when a telephone loses its network and its proxy gives up.
"""

from __future__ import annotations

import base64
import http.client
import random
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Select, func, select, text

from restante.receipts import Receipt
from restante.settings import HostPort
from restante.store.engine import Store
from restante.store.models import AuditRecord, Link, LinkState, PickupSession, ReceiptNote
from tests.lab.waiting import wait_until
from tests.portal.conftest import Post, make_post, make_settings
from tests.portal.processes import connections_to, family, only
from tests.portal.server import PortalServer, Visitor, free_port
from tests.postgres import TemporaryPostgres

MEGABYTE = 1024 * 1024
LINE, ENCODED_LINE = 57, 78
LINES = 18_400
# Of a MiB each.  What is done for each byte is the same on both; on PostgreSQL it is enough to cut as often.
BLOCKS = {"sqlite": 100, "postgresql": 20}
CUTS = 100
THREADS = 4
# Of a segment of 1 MiB a thread has what the database sent (as text that is twice as much), the bytes made of it, a
# chunk of them decrypted and decoded, and what the allocator keeps of the segment before.
SEGMENT_COPIES = 6
# What the allocator keeps differs by some MiB from time to time (7 were seen).  Were every cut answer kept with its
# segment of 1 MiB, the least of the last third would be about 33 above that of the first in each of two workers.
LEAST = 16
ATTACHMENT = "/message/attachments/2"
HEAD = (
    b"Subject: Aufnahmen\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n"
    b"Content-Type: application/x\r\nContent-Disposition: attachment; filename=big.bin\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n"
)


def _large(blocks: int) -> tuple[bytes, bytes]:
    """An attachment of so many MiB, no two places of which are alike, and the letter that holds it."""
    block = random.Random(11).randbytes(LINE * LINES)
    encoded = base64.encodebytes(block).replace(b"\n", b"\r\n")
    raw, letter = bytearray(), bytearray(HEAD)
    for number in range(blocks):
        turn = number * 131
        raw += block[turn * LINE :] + block[: turn * LINE]
        letter += encoded[turn * ENCODED_LINE :] + encoded[: turn * ENCODED_LINE]
    return bytes(raw), bytes(letter + b"--b--\r\n")


@dataclass
class Large:
    """A portal that holds the large message and a small one; ``client`` has opened both."""

    post: Post
    server: PortalServer
    client: Visitor
    raw: bytes
    delivery_id: str
    before: dict[int, int]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def large(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres: TemporaryPostgres
) -> Iterator[Large]:
    folder = tmp_path_factory.mktemp("large")
    port = free_port()
    database = f"sqlite:///{folder}/restante.db" if request.param == "sqlite" else postgres.create_database()
    settings, worker_private = make_settings(
        folder, database, url=f"http://localhost:{port}", listen=HostPort("127.0.0.1", port), workers=2, threads=THREADS
    )
    post = make_post(settings, worker_private)
    raw, letter = _large(BLOCKS[request.param])
    delivery_id = post.hold(letter)[0]
    del letter
    client, other = Visitor(settings), Visitor(settings)
    with closing(post.store), PortalServer(settings, folder) as server:
        other.open(post.waiting())
        processes = family(server.pid)
        assert len(processes) == 3, "the parent and two workers"
        for worker in processes[1:]:
            with only(worker, processes[1:]):
                assert other.get("/message").status == other.get("/message.eml").status == 200
        before = {each.pid: each.resident for each in processes}
        client.open(post.link(delivery_id))
        for worker in processes[1:]:
            with only(worker, processes[1:]):
                assert "big.bin" in client.get("/message").text
        yield Large(post, server, client, raw, delivery_id, before)


@contextmanager
def _asking(client: Visitor, **headers: str) -> Iterator[http.client.HTTPResponse]:
    """The answer to a request for the attachment.  What is not read of it when the block ends is reset."""
    connection = client.connection()
    connection.connect()
    # A small buffer, so that little is on its way beyond what is read.
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with closing(connection):
        connection.request("GET", ATTACHMENT, headers={**client.headers(), **headers})
        with connection.getresponse() as answer:
            yield answer


def _take(answer: http.client.HTTPResponse, raw: bytes, start: int, end: int) -> None:
    """Read what must be the bytes from ``start`` up to ``end``."""
    expected = memoryview(raw)
    while start < end:
        piece = answer.read(min(end - start, 262_144))
        assert piece
        assert piece == expected[start : start + len(piece)], f"between {start} and {start + len(piece)}"
        start += len(piece)


def _resumed(large: Large, tag: str, start: int, end: int) -> None:
    size = len(large.raw)
    with _asking(large.client, Range=f"bytes={start}-", **{"If-Range": tag}) as answer:
        assert (answer.status, answer.headers["ETag"]) == (206, tag)
        assert answer.headers["Content-Range"] == f"bytes {start}-{size - 1}/{size}"
        assert int(answer.headers["Content-Length"]) == size - start
        _take(answer, large.raw, start, end)
        assert end < size or answer.read(1) == b""


def _check_memory(large: Large, seen: list[dict[int, int]]) -> None:
    """Nothing stays of a cut download, and at no moment is there more than the threads need to read at once."""
    third = len(seen) // 3
    for each in family(large.server.pid):
        # What is freed is not always given back at once; what leaks is never given back, and lifts the least.
        least = [min(sizes[each.pid] for sizes in part) for part in (seen[:third], seen[-third:])]
        assert least[1] - least[0] <= LEAST * MEGABYTE, f"{least[1] - least[0]} bytes have leaked"
        grown = each.peak - large.before[each.pid]
        assert grown <= THREADS * SEGMENT_COPIES * MEGABYTE, f"{grown / MEGABYTE:.1f} MiB"


def _check_no_transaction_is_open(store: Store) -> None:
    if store.engine.dialect.name == "sqlite":
        with closing(store.engine.raw_connection()) as connection:
            # Whoever still reads from an old snapshot keeps the log from being emptied.
            busy, _, _ = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0
        return
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
    with store.read() as session:
        assert session.scalar(text(asked)) == 0


def _check_nothing_is_left(large: Large, files: dict[int, int]) -> None:
    """No connection, file, transaction or window more than before the cuts; the opening and the receipt stand."""
    port = large.post.settings.portal.listen.port
    wait_until(lambda: not connections_to(port), 10, "the portal to let go of the clients that are gone")
    for each in family(large.server.pid):
        # The pool may have opened a connection for each thread by now; SQLite's has three files.
        assert len(each.open_files) <= files[each.pid] + 3 * (THREADS - 1)
    _check_no_transaction_is_open(large.post.store)
    of_it = {"delivery_id": large.delivery_id}
    with large.post.store.read() as session:

        def count(query: Select[Any]) -> int:
            return session.scalar(select(func.count()).select_from(query.subquery())) or 0

        assert count(select(PickupSession).filter_by(**of_it)) == 1
        assert count(select(Link).filter_by(**of_it, state=LinkState.USED)) == 1
        assert count(select(AuditRecord).filter_by(**of_it, action="became-opened")) == 1
        assert count(select(AuditRecord).filter_by(**of_it, action="downloaded")) == 1
        # Once for the window and part, once for the mail to the sender.
        assert count(select(ReceiptNote).filter_by(**of_it, event=Receipt.DOWNLOADED)) == 2


@pytest.mark.slow
@pytest.mark.behaviour("P2")
@pytest.mark.behaviour("P7")
def test_a_download_that_is_cut_anywhere_goes_on_there(large: Large) -> None:
    processes, size, seen = family(large.server.pid), len(large.raw), []
    files = {each.pid: len(each.open_files) for each in processes}
    cuts = sorted(random.Random(20).sample(range(1, size), CUTS))
    with _asking(large.client) as answer:
        assert (answer.status, int(answer.headers["Content-Length"])) == (200, size)
        tag = answer.headers["ETag"]
        _take(answer, large.raw, 0, cuts[0])
    for start, end in zip(cuts, [*cuts[1:], size], strict=True):
        _resumed(large, tag, start, end)
        seen.append({each.pid: each.resident for each in processes})
    assert family(large.server.pid) == processes, "no worker was replaced"
    _check_memory(large, seen)
    _check_nothing_is_left(large, files)


@pytest.mark.behaviour("P2")
@pytest.mark.behaviour("P7")
def test_other_ways_to_begin_again(large: Large) -> None:
    raw, size, middle = large.raw, len(large.raw), len(large.raw) * 2 // 3
    with _asking(large.client) as answer:
        tag = answer.headers["ETag"]
    for asked, start, end in (
        ("-100000", size - 100_000, size),
        (f"{middle}-{middle + 123_456}", middle, middle + 123_457),
    ):
        with _asking(large.client, Range=f"bytes={asked}", **{"If-Range": tag}) as answer:
            assert (answer.status, answer.headers["Content-Range"]) == (206, f"bytes {start}-{end - 1}/{size}")
            _take(answer, raw, start, end)
            assert answer.read(1) == b""
    for stale in ('"of-another-message"', f"W/{tag}", "Fri, 20 Nov 2026 09:30:00 GMT"):
        with _asking(large.client, Range=f"bytes={middle}-", **{"If-Range": stale}) as answer:
            assert (answer.status, int(answer.headers["Content-Length"])) == (200, size)
            assert answer.headers["Content-Range"] is None
            _take(answer, raw, 0, 3 * MEGABYTE)
    for beyond in (f"{size}-", f"{size + 5}-{size + 9}"):
        with _asking(large.client, Range=f"bytes={beyond}", **{"If-Range": tag}) as answer:
            assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{size}")
            assert answer.read() == b""
    _resumed(large, tag, size - 1, size)
