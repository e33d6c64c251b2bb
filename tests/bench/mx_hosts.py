"""The MX hosts of the domain run, in a process of their own: ``python -m tests.bench.mx_hosts DIRECTORY COUNT``.

Writes the certificate authority to ``DIRECTORY/ca.pem``, listens on 127.9.0.1 and following, each host on the same
port, and writes ``DIRECTORY/hosts.json``: the port, each host's conduct, and how many connections it had so far.  On
SIGUSR1 it writes the counts anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path

from tests.core.tls_peers import Behaviour, Certificates, Peer, free_port, says, tls

CONDUCTS = ("verified", "verified", "verified", "self-signed", "clear", "busy", "verified", "dead")
_EHLO = b"250-peer.test\r\n250 8BITMIME\r\n"


def host_name(number: int) -> str:
    """The name in the MX records."""
    return f"mx{number}.hosts.test"


def address(number: int) -> str:
    """Where the host listens."""
    return f"127.9.0.{number + 1}"


def conduct(number: int) -> str:
    """How the host behaves."""
    return CONDUCTS[number % len(CONDUCTS)]


async def _serve(directory: Path, count: int) -> None:
    certificates, port = Certificates(directory), free_port()
    peers: dict[int, Peer] = {}
    async with contextlib.AsyncExitStack() as stack:
        for number in range(count):
            behaviour = _behaviour(certificates, number)
            if behaviour is not None:
                peers[number] = await stack.enter_async_context(Peer(address(number), port, behaviour))

        def write() -> None:
            hosts = [
                {"conduct": conduct(number), "connections": peers[number].connections if number in peers else 0}
                for number in range(count)
            ]
            draft = directory / "hosts.json.new"
            draft.write_text(json.dumps({"port": port, "hosts": hosts}), encoding="ascii")
            draft.replace(directory / "hosts.json")

        write()
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, write)
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()


def _behaviour(certificates: Certificates, number: int) -> Behaviour | None:
    kind = conduct(number)
    if kind == "verified":
        return tls(certificates.valid(host_name(number)))
    if kind == "self-signed":
        return tls(certificates.untrusted())
    if kind == "clear":
        return says(b"220 peer.test ESMTP\r\n", _EHLO)
    return says(b"421 4.3.2 too many connections\r\n", then_close=True) if kind == "busy" else None


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
