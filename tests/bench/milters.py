"""The three milters that are compared, each on its own unix socket, each up when :func:`start` returns."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bench.processes import Family
from tests.lab.netns import run_command
from tests.lab.process import Process, Processes, wait_for_service
from tests.lab.waiting import milter_answers

HERE = Path(__file__).parent
RESTANTE = Path(sys.executable).with_name("restante")
HOLD_DOMAIN = "portal-only.example"
START_SECONDS = 30.0

_POLICY = f"""
[[domain]]
name = "{HOLD_DOMAIN}"
mode = "portal-only"
"""


def start_noop_c(processes: Processes, directory: Path, socket: Path) -> Family:
    """Compile the milter in C into ``directory`` and start it."""
    program = directory / "noop_milter"
    run_command(["gcc", "-O2", "-Wall", "-o", str(program), str(HERE / "noop_milter.c"), "-lmilter", "-lpthread"])
    return _ready(processes.start("noop-c", [str(program), str(socket)]), socket)


def start_noop_pymilter(processes: Processes, socket: Path) -> Family:
    """Start the milter in plain pymilter."""
    return _ready(
        processes.start("noop-pymilter", [sys.executable, str(HERE / "noop_pymilter.py"), str(socket)]), socket
    )


class Restante:
    """An installation in ``directory`` with the policy that ``restante init`` writes and one portal-only domain."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.database = directory / "restante.db"
        self._settings = directory / "restante.toml"

    def install(self, socket: Path, *settings: str) -> None:
        """Settings, policy, keys, database.  Further ``settings`` are written ``section.key=value``."""
        self._run(
            *("init", "--directory", str(self.directory), "--hostname", "mta.bench.example"),
            *("--organisation", "Bench", "--portal-url", "http://127.0.0.1:8080"),
            *("--notice-sender", "restante@site.example", "--internal-domain", "site.example"),
            *("--database", f"sqlite:///{self.database}"),
            *("--set", f"milter.socket={socket}", "--set", f"worker.socketmap={socket.with_name('worker.sock')}"),
            *(part for setting in settings for part in ("--set", setting)),
        )
        with (self.directory / "policy.toml").open("a", encoding="utf-8") as policy:
            policy.write(_POLICY)
        self._run("db", "upgrade")

    def start(self, processes: Processes, socket: Path) -> Family:
        """Start the milter service alone: nothing that the bench sends needs the worker."""
        argv = [str(RESTANTE), "--settings", str(self._settings), "milter"]
        return _ready(processes.start("restante", argv), socket)

    def _run(self, *arguments: str) -> None:
        run_command([str(RESTANTE), "--settings", str(self._settings), *arguments])


def _ready(process: Process, socket: Path) -> Family:
    wait_for_service(process, lambda: milter_answers(socket), START_SECONDS)
    return Family(process.pid)
