"""The socketmap server and the milter's client of it, over real sockets, and with Postfix's own client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.tls import netstring
from restante.tls.evidence import Evidence, Level, MxEvidence, Published
from restante.tls.verdict_client import VerdictClient
from restante_milter.socketmap import Handler, Reply, SocketmapServer, Status
from restante_milter.tls_policy import authenticated_policy, tls_maps

FALLBACK = "[127.0.0.1]:10025"
SECURE = "secure match=hostname servername=hostname"


def evidence_of(domain: str, level: Level = Level.PKIX, *hosts: tuple[str, Level]) -> Evidence:
    now = 1_800_000_000.0
    shown = tuple(MxEvidence(name, n, seen, "as arranged") for n, (name, seen) in enumerate(hosts))
    return Evidence(domain, level, "as arranged", now, now + 60, now + 120, hosts=shown)


class Engine:
    """Answers by the name: ``slow…`` after ``slow_seconds``, ``broken…`` with an exception."""

    def __init__(self, slow_seconds: float = 30) -> None:
        self.slow_seconds = slow_seconds
        self.running = 0
        self.most = 0
        self.asked: list[str] = []

    async def evidence(self, domain: str, *, recheck: bool = False) -> Evidence:
        assert not recheck
        self.asked.append(domain)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.slow_seconds if domain.startswith("slow") else 0.001)
        finally:
            self.running -= 1
        if domain.startswith("broken"):
            raise RuntimeError("engine failed")
        return answer_for(domain)


def answer_for(domain: str) -> Evidence:
    if domain.startswith("proved"):
        hosts = (("mx1.proved.test", Level.PKIX), ("mx2.proved.test", Level.NONE), ("mx3.proved.test", Level.PKIX))
        return evidence_of(domain, Level.PKIX, *hosts)
    if domain == "sts.test":
        found = evidence_of(domain, Level.MTA_STS)
        return replace(found, policy=Published.MTA_STS, match=("mx.sts.test", ".sts.example"))
    if domain.endswith("dane.test"):
        level = Level.UNKNOWN if domain.startswith("failing") else Level.DANE
        return replace(evidence_of(domain, level), policy=Published.DANE)
    return evidence_of(domain, Level.NONE if domain.startswith("none") else Level.ENCRYPTED)


class Worker:
    """The server in a thread with its own loop, for blocking clients."""

    def __init__(self, path: Path, maps: dict[str, Handler] | None = None, idle_timeout: float = 30) -> None:
        self.path = path
        self.engine = Engine()
        self._maps = maps or dict(tls_maps(self.engine, FALLBACK, verdict_budget=0.3, policy_budget=0.3))
        self._idle_timeout = idle_timeout
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.port = 0

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = SocketmapServer(self._maps, idle_timeout=self._idle_timeout, max_clients=50)
        await server.listen_unix(self.path)
        self.port = await server.listen_tcp("127.0.0.1", 0)
        self._ready.set()
        await self._stop.wait()
        await server.close()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)
        assert not self._thread.is_alive()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    with Worker(tmp_path / "worker.sock") as running:
        yield running


class Raw:
    """A client that sends what it likes."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(str(path))
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def receive(self) -> str | None:
        """The next answer; ``None`` when the server has closed the connection."""
        while (answer := netstring.take(self._buffer)) is None:
            try:
                data = self.sock.recv(65_536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._buffer += data
        return answer.decode()

    def ask(self, request: str) -> str | None:
        self.sock.sendall(netstring.encode(request.encode()))
        return self.receive()


ANSWERS = [
    (f"policy {FALLBACK}", "OK none"),
    ("policy example.org", "OK encrypt"),
    ("policy [127.0.0.1]:10026", "OK encrypt"),
    ("policy [127.0.0.1]", "OK encrypt"),
    ("policy ", "OK encrypt"),
    (f"policy-auth {FALLBACK}", "OK none"),
    ("policy dane.test", "OK dane-only"),
    ("policy-auth dane.test", "OK dane-only"),
    ("policy failing.dane.test", "OK dane-only"),
    ("policy-auth failing.dane.test", "OK dane-only"),
    ("policy sts.test", "OK secure match=mx.sts.test:.sts.example servername=hostname"),
    ("policy-auth sts.test", "OK secure match=mx.sts.test:.sts.example servername=hostname"),
    ("policy slow.test", "OK encrypt"),
    ("policy broken.test", "TEMP internal error; see the log of restante worker"),
    ("policy-auth proved.test", "OK secure match=mx1.proved.test:mx3.proved.test servername=hostname"),
    ("policy-auth none.test", f"OK {SECURE}"),
    ("policy-auth other.test", f"OK {SECURE}"),
    ("policy-auth slow.test", f"OK {SECURE}"),
    ("policy-auth broken.test", "TEMP internal error; see the log of restante worker"),
    ("verdict slow.test", "TEMP still looking"),
    ("verdict broken.test", "TEMP internal error; see the log of restante worker"),
    ("elsewhere x", "PERM no such map"),
    ("policy", "PERM no such map"),
]


@pytest.mark.parametrize(("request_text", "answer"), ANSWERS)
def test_each_request_has_its_answer(request_text: str, answer: str, worker: Worker) -> None:
    with Raw(worker.path) as client:
        assert client.ask(request_text) == answer


def test_a_verdict_is_the_evidence_as_json(worker: Worker) -> None:
    with Raw(worker.path) as client:
        status, _, data = (client.ask("verdict proved.test") or "").partition(" ")
    assert status == "OK"
    assert Evidence.from_dict(json.loads(data)) == answer_for("proved.test")


@given(st.builds(evidence_of, st.just("d.test"), st.sampled_from(Level)))
def test_the_policy_never_allows_clear_text(evidence: Evidence) -> None:
    first, _, rest = authenticated_policy(evidence).partition(" ")
    assert first in {"dane-only", "secure"}
    assert "match= " not in f"{rest} "


def test_postfix_reads_our_answers(worker: Worker, tmp_path: Path) -> None:
    postmap = shutil.which("postmap", path="/usr/sbin:/usr/bin")
    if postmap is None:
        pytest.skip("Postfix is not installed")
    (tmp_path / "main.cf").write_text("compatibility_level=3.6\n")

    def query(key: str, name: str) -> subprocess.CompletedProcess[str]:
        table = f"socketmap:inet:127.0.0.1:{worker.port}:{name}"
        return subprocess.run(
            [postmap, "-c", str(tmp_path), "-q", key, table], capture_output=True, text=True, timeout=20, check=False
        )

    assert query("example.org", "policy").stdout.strip() == "encrypt"
    assert query(FALLBACK, "policy").stdout.strip() == "none"
    assert query("proved.test", "policy-auth").stdout.startswith("secure match=mx1.proved.test:mx3")
    assert "internal error" in query("broken.test", "policy-auth").stderr


def test_answers_keep_the_order_of_pipelined_requests_worked_on_together(tmp_path: Path) -> None:
    started: list[str] = []

    async def slowest_first(key: str) -> Reply:
        started.append(key)
        await asyncio.sleep(0.3 if key == "0" else 0)
        return Reply.ok(key)

    with Worker(tmp_path / "s", {"m": slowest_first}) as worker, Raw(worker.path) as client:
        began = time.monotonic()
        client.sock.sendall(b"".join(netstring.encode(b"m %d" % n) for n in range(300)))
        assert [client.receive() for _ in range(300)] == [f"OK {n}" for n in range(300)]
        assert time.monotonic() - began < 3
    assert len(started) == 300


def test_a_client_that_does_not_read_is_not_read_from(tmp_path: Path) -> None:
    answered = 0

    async def large(_key: str) -> Reply:
        nonlocal answered
        answered += 1
        return Reply.ok("x" * 90_000)

    with Worker(tmp_path / "s", {"m": large}, idle_timeout=1) as worker, Raw(worker.path) as greedy:
        greedy.sock.settimeout(3)
        with contextlib.suppress(OSError):
            greedy.sock.sendall(netstring.encode(b"m k") * 20_000)
        with Raw(worker.path) as other:
            assert other.ask("m k") is not None
    assert answered < 2000


def test_requests_may_arrive_byte_by_byte(worker: Worker) -> None:
    with Raw(worker.path) as client:
        for byte in netstring.encode(b"policy example.org"):
            client.sock.sendall(bytes([byte]))
        assert client.receive() == "OK encrypt"


GARBAGE = [b"GET / HTTP/1.1\r\n\r\n", b"5:abcdeX", b"999999:", b"1234567:", b"01:a,", b":,", b"-1:,", b"\x00" * 20]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_bad_netstring_closes_its_connection_and_no_other(garbage: bytes, worker: Worker) -> None:
    with Raw(worker.path) as good, Raw(worker.path) as bad:
        bad.sock.sendall(garbage)
        assert bad.receive() is None
        assert good.ask("policy example.org") == "OK encrypt"


def test_a_key_that_is_no_text_is_refused_and_the_connection_stays(worker: Worker) -> None:
    with Raw(worker.path) as client:
        client.sock.sendall(netstring.encode(b"policy \xff\xfe"))
        assert client.receive() == "PERM key is not UTF-8"
        assert client.ask("policy example.org") == "OK encrypt"


def test_idle_clients_end(tmp_path: Path) -> None:
    with Worker(tmp_path / "s", idle_timeout=0.1) as worker, Raw(worker.path) as client:
        assert client.receive() is None


def test_too_many_clients_are_turned_away_at_once(worker: Worker) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Raw(worker.path)) for _ in range(50)]
        assert clients[-1].ask("policy x.test") == "OK encrypt"
        assert stack.enter_context(Raw(worker.path)).receive() is None


def test_an_answer_too_long_for_the_protocol_is_refused_whole(tmp_path: Path) -> None:
    async def huge(_key: str) -> Reply:
        return Reply(Status.OK, "x" * netstring.MAX_BYTES)

    with Worker(tmp_path / "s", {"m": huge}) as worker, Raw(worker.path) as client:
        assert client.ask("m k") == "PERM answer is too long"


def test_only_owner_and_group_may_connect_and_a_leftover_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as leftover:
        leftover.bind(str(path))
    with Worker(path) as worker:
        assert path.stat().st_mode & 0o777 == 0o660
        with Raw(worker.path) as client:
            assert client.ask("policy x") == "OK encrypt"


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(min_value=1, max_value=40))
def test_netstrings_come_out_as_they_went_in_however_they_are_cut(items: list[bytes], step: int) -> None:
    wire = b"".join(netstring.encode(item) for item in items)
    buffer, taken = bytearray(), []
    for start in range(0, len(wire), step):
        buffer += wire[start : start + step]
        while (item := netstring.take(buffer)) is not None:
            taken.append(item)
    assert (taken, buffer) == (items, bytearray())


@given(st.binary(max_size=400))
def test_any_bytes_are_a_netstring_incomplete_or_bad(data: bytes) -> None:
    buffer = bytearray(data)
    with contextlib.suppress(netstring.BadNetstring):
        item = netstring.take(buffer)
        assert data.startswith(netstring.encode(item) if item is not None else bytes(buffer))


def test_the_client_gets_every_answer_there_is(worker: Worker) -> None:
    names = [f"d{n}.test" for n in range(500)]
    answers = VerdictClient(worker.path, 5).ask([*names, "broken.test", "slow.test", "d0.test"])
    assert answers == {name: answer_for(name) for name in names}
    assert 1 < worker.engine.most <= 64


def test_the_client_asks_again_for_all_but_recent_good_news(worker: Worker) -> None:
    client = VerdictClient(worker.path, 5)
    for _ in range(2):
        assert set(client.ask(["good.test", "none.test"])) == {"good.test", "none.test"}
    assert sorted(worker.engine.asked) == ["good.test", "none.test", "none.test"]


def test_the_client_may_be_shared_between_threads(worker: Worker) -> None:
    client = VerdictClient(worker.path, 5)
    results: dict[int, dict[str, Evidence]] = {}

    def ask(number: int) -> None:
        results[number] = client.ask([f"none{number}-{n}.test" for n in range(40)])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: len(found) for number, found in results.items()} == dict.fromkeys(range(8), 40)
    assert all(name.startswith(f"none{number}-") for number, found in results.items() for name in found)


def serve_once(path: Path, behave: Callable[[socket.socket], object]) -> threading.Thread:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def run() -> None:
        with listener, listener.accept()[0] as connection, contextlib.suppress(OSError):
            behave(connection)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


WRONG = netstring.encode(b"OK " + json.dumps(answer_for("other.test").to_dict()).encode())
BAD_WORKERS: dict[str, Callable[[socket.socket], None]] = {
    "closes": lambda _: None,
    "garbage": lambda s: s.sendall(b"\xff" * 100),
    "not JSON": lambda s: s.sendall(netstring.encode(b"OK {")),
    "deep JSON": lambda s: s.sendall(netstring.encode(b"OK " + b"[" * 90_000)),
    "JSON of another kind": lambda s: s.sendall(netstring.encode(b"OK [1]")),
    "unknown level": lambda s: s.sendall(netstring.encode(b'OK {"level": "x", "hosts": []}')),
    "hosts of another kind": lambda s: s.sendall(netstring.encode(b'OK {"level": "pkix", "hosts": [3]}')),
    "an answer to another question": lambda s: s.sendall(WRONG),
    "half an answer": lambda s: s.sendall(b"500:OK {"),
}


@pytest.mark.parametrize("name", BAD_WORKERS)
def test_a_bad_worker_gives_no_answer_and_no_exception(name: str, tmp_path: Path) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(1000)
        BAD_WORKERS[name](connection)

    thread = serve_once(tmp_path / "s", behave)
    assert VerdictClient(tmp_path / "s", 2).ask(["d.test"]) == {}
    thread.join(5)


def test_a_silent_worker_costs_no_more_than_the_timeout(tmp_path: Path) -> None:
    released = threading.Event()
    thread = serve_once(tmp_path / "s", lambda _: bool(released.wait(5)))
    started = time.monotonic()
    assert VerdictClient(tmp_path / "s", 1).ask(["a.test", "b.test"]) == {}
    assert time.monotonic() - started < 2
    released.set()
    thread.join(5)


def test_no_worker_is_no_answer(tmp_path: Path) -> None:
    assert VerdictClient(tmp_path / "missing", 1).ask(["d.test"]) == {}
    assert VerdictClient(tmp_path / ("x" * 200), 1).ask(["d.test"]) == {}
    assert VerdictClient(tmp_path / "missing", 1).ask([]) == {}


def test_answers_before_a_failure_are_kept(tmp_path: Path) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(netstring.encode(b"OK " + json.dumps(answer_for("a.test").to_dict()).encode()))

    thread = serve_once(tmp_path / "s", behave)
    assert set(VerdictClient(tmp_path / "s", 2).ask(["a.test", "b.test"])) == {"a.test"}
    thread.join(5)
