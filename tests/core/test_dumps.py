"""No core dump is made of a service: neither as a file nor by a handler to which the kernel would pipe it."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

FORBID = "from restante import dumps; dumps.forbid()"
SAY = "import ctypes, resource; print(ctypes.CDLL(None).prctl(3), *resource.getrlimit(resource.RLIMIT_CORE))"
GET_DUMPABLE_IN_A_CHILD = f"import os; {SAY} if os.fork() == 0 else os.wait()"
CRASH = "import os; os.abort()"


def _run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code with no limit on core dumps, in ``folder``."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)),
    )


@pytest.mark.behaviour("P11")
@pytest.mark.parametrize("ask", [SAY, GET_DUMPABLE_IN_A_CHILD], ids=["itself", "a child"])
def test_a_process_and_its_children_are_not_dumpable(tmp_path: Path, ask: str) -> None:
    assert _run(tmp_path, SAY).stdout.split()[0] == "1"
    assert _run(tmp_path, f"{FORBID}\n{ask}").stdout.split() == ["0", "0", "0"]


@pytest.mark.behaviour("P11")
def test_the_limit_holds_for_programs_that_a_service_runs(tmp_path: Path) -> None:
    code = f"{FORBID}\nimport subprocess, sys; subprocess.run([sys.executable, '-c', {SAY!r}])"
    assert _run(tmp_path, code).stdout.split()[1:] == ["0", "0"]


@pytest.mark.behaviour("P11")
def test_a_service_that_crashes_leaves_no_file(tmp_path: Path) -> None:
    done = _run(tmp_path, f"{FORBID}\n{CRASH}")
    assert done.returncode == -signal.SIGABRT
    assert list(tmp_path.iterdir()) == []
