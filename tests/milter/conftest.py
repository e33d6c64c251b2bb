"""A milter without an MTA: an installation in a folder, and the process that serves it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import select

from restante.store.engine import Store
from restante.store.models import Delivery
from tests.installed import install as install_into
from tests.lab.process import Process, Processes, wait_for_service
from tests.lab.waiting import milter_answers, wait_until
from tests.milter.client import Answer, ask

RESTANTE = Path(sys.executable).with_name("restante")
NOBODY = 65534
MARKER = "TOP-SECRET-CONTENT"
SENDER = "ann@site.example"
HELD_RECIPIENT = "carol@portal-only.example"

POLICY = """
[[rule]]
name = "default"
when = [{ detectors = ["trigger-*"] }]

[[domain]]
name = "portal-only.example"
mode = "portal-only"
"""


def sensitive(number: int = 0, *, filling: int = 0) -> bytes:
    """A message that its sender marked, with ``filling`` more bytes of body."""
    head = f"From: {SENDER}\r\nSubject: [secure] {MARKER}\r\nMessage-ID: <{number}@site.example>\r\n\r\n"
    return head.encode() + f"{MARKER} {number}\r\n".encode() + (b"x" * 70 + b"\r\n") * (filling // 72)


ORDINARY = b"From: ann@site.example\r\nSubject: news\r\n\r\nThe fair opens on Saturday.\r\n"


class Installation:
    """``restante init`` in ``folder``.  ``start`` runs the milter; ``uid`` is who it runs as."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.socket = folder / "sockets" / "milter.sock"
        self.worker_socket = folder / "sockets" / "worker.sock"
        self.database = folder / "db" / "restante.db"
        self.credentials = folder / "credentials"
        self.policy = folder / "policy.toml"
        for path in (self.socket.parent, self.database.parent):
            path.mkdir()
        self._processes = Processes(folder)
        self._process: Process | None = None
        self._store: Store | None = None
        values = {
            "milter.socket": str(self.socket),
            "worker.socketmap": str(self.worker_socket),
            "milter.verdict_seconds": "2",
            "milter.processes": "2",
            **settings,
        }
        argv = ["--directory", str(folder), "--hostname", "mta.example", "--organisation", "Test"]
        argv += ["--portal-url", "https://pickup.site.example", "--notice-sender", "restante@site.example"]
        argv += ["--internal-domain", "site.example", "--database", f"sqlite:///{self.database}"]
        for name, value in values.items():
            argv += ["--set", f"{name}={value}"]
        install_into(folder / "restante.toml", argv)
        self.policy.write_text(POLICY, encoding="utf-8")

    def command(self, *arguments: str) -> None:
        """Run a command of this installation."""
        subprocess.run([*self._argv(), *arguments], check=True, capture_output=True)

    def _argv(self) -> list[str]:
        return [str(RESTANTE), "--settings", str(self.folder / "restante.toml")]

    def give_to_nobody(self) -> None:
        """Let an unprivileged user run it."""
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)

    def start(self, *, uid: int = 0, env: Mapping[str, str] | None = None) -> None:
        """Start the milter and wait until it serves."""
        process = self.launch(uid=uid, env=env)
        wait_for_service(process, lambda: milter_answers(self.socket), 30)

    def launch(self, *, uid: int = 0, env: Mapping[str, str] | None = None) -> Process:
        """Start the milter without waiting."""
        become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
        self._process = self._processes.start("milter", [*become, *self._argv(), "milter"], env=env)
        return self._process

    @property
    def process(self) -> Process:
        """The parent process."""
        assert self._process is not None
        return self._process

    def children(self) -> set[int]:
        """The processes that serve sessions."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(word) for word in path.read_text(encoding="ascii").split()}

    def await_children(self, count: int) -> set[int]:
        """The children, once there are ``count``."""
        return wait_until(lambda: len(self.children()) == count and self.children(), 20, f"{count} children") or set()

    def ask(self, content: bytes, *recipients: str, timeout: float = 30) -> Answer:
        """Send one message through the milter."""
        return ask(self.socket, content, SENDER, recipients, timeout=timeout)

    @property
    def store(self) -> Store:
        """The database, opened by the test."""
        if self._store is None:
            self._store = Store(f"sqlite:///{self.database}")
        return self._store

    def held(self) -> list[str]:
        """The recipients whose copies are in the store, once for each copy."""
        with self.store.read() as session:
            return sorted(session.scalars(select(Delivery.recipient)))

    def log(self) -> str:
        """What the milter has logged."""
        return self.process.log_text()

    def stop(self) -> None:
        """Stop the milter; what is stored stays."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def close(self) -> None:
        """Stop and forget."""
        self._processes.stop_all()
        if self._store is not None:
            self._store.close()


def install(settings: Mapping[str, str] | None = None) -> Iterator[Installation]:
    """An installation in a folder with a short name, since a socket's path ends at 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="rstm-", dir="/tmp"))
    folder.chmod(0o755)
    installation = Installation(folder, settings or {})
    try:
        yield installation
    finally:
        installation.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def shared_milter() -> Iterator[Installation]:
    """A running milter that the tests of one module share."""
    for installation in install():
        installation.start()
        yield installation


@pytest.fixture
def milter(shared_milter: Installation) -> Installation:
    """The running milter; the tests that use it must leave it as it was."""
    shared_milter.await_children(2)
    return shared_milter


@pytest.fixture
def installation(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """An installation of the test's own, not started; a parameter gives settings."""
    yield from install(getattr(request, "param", None))


def kill(pid: int) -> None:
    """Kill one process at once."""
    os.kill(pid, signal.SIGKILL)
