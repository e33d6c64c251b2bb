"""The suite's own rules, shown to hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PASSES = "def test_one():\n    assert True\n"
SKIPS = "import pytest\ndef test_two():\n    pytest.skip('this machine lacks it')\n"
SKIPS_ALL = "import pytest\npytest.skip('this machine lacks it', allow_module_level=True)\n"


@pytest.mark.parametrize(
    ("text", "status"), [(PASSES, 0), (PASSES + SKIPS, 1), (SKIPS_ALL, 1)], ids=["passes", "a skip", "a skipped module"]
)
def test_a_skip_fails_the_run_and_says_why(tmp_path: Path, text: str, status: int) -> None:
    (tmp_path / "test_it.py").write_text(text)
    (tmp_path / "test_also.py").write_text(PASSES)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        "/dev/null",
        "-p",
        "tests.conftest",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        # The rule is the suite's own: no plugin has a part in it.
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stdout
    assert ("this machine lacks it" in done.stdout) == bool(status)


@pytest.mark.parametrize("start", [("-m", "pytest"), ("-c", "import sys, pytest; sys.exit(pytest.main())")])
def test_the_suite_is_found_however_it_is_started(start: tuple[str, str]) -> None:
    command = [sys.executable, *start, "--collect-only", "-q", "tests/core/test_suite.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert "test_a_skip_fails_the_run" in done.stdout
