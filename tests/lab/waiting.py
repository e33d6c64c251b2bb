"""Waiting for an event with a deadline, and the error that the lab raises when one does not come."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

POLL_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.5


class LabError(Exception):
    """The lab itself does not work as it should: not a verdict on what is tested."""


def wait_until(probe: Callable[[], Result], seconds: float, what: str) -> Result:
    """Call ``probe`` until its result is true and return that.  A probe that takes long is called less often.

    Raises :class:`LabError` naming ``what`` when ``seconds`` have passed.
    """
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        result = probe()
        if result:
            return result
        now = time.monotonic()
        if now >= deadline:
            raise LabError(f"waited {seconds:g} s for {what}")
        # Who waits must not take the processor from what is waited for.
        time.sleep(min(max(POLL_SECONDS, 3 * (now - began)), LONGEST_PAUSE_SECONDS))


def unix_socket_answers(path: Path) -> bool:
    """Whether something accepts connections on the unix socket ``path``."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def milter_answers(path: Path) -> bool:
    """Whether a milter that serves sessions is behind the unix socket ``path``: it answers the option negotiation.

    A connection alone proves less: the kernel makes it as soon as the socket listens.
    """
    offer = b"O" + struct.pack("!III", 6, 0x1FF, 0x1FFFFF)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        try:
            client.connect(str(path))
            client.sendall(struct.pack("!I", len(offer)) + offer)
            return client.recv(5)[4:] == b"O"
        except OSError:
            return False


def tcp_port_answers(address: str, port: int) -> bool:
    """Whether something accepts connections on ``address`` and ``port`` in the caller's own network namespace."""
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


def free_port() -> int:
    """A TCP port that nothing listens on now, on the caller's 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
