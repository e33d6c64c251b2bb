"""The virtual environment of Presidio, our classification's peer, in ``.cache/presidio``.

It is made once from ``presidio.lock``, and anew when that changes.  It is an environment of its own since it is large,
and since its libraries shall not decide which releases ours come in.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).with_name("presidio.lock")
FOLDER = Path(__file__).parents[2] / ".cache" / "presidio"


def interpreter(folder: Path = FOLDER) -> Path | None:
    """The environment's Python; ``None`` where it was not set up, not to its end, or from another lock."""
    mark = folder / LOCK.name
    return folder / "bin" / "python" if mark.is_file() and mark.read_bytes() == LOCK.read_bytes() else None


def set_up(folder: Path = FOLDER) -> Path:
    """The environment's Python, after its installation where needed: some 100 MB to download.

    Raises ``RuntimeError`` when that fails.
    """
    if python := interpreter(folder):
        return python
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(LOCK)]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run(pip, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError(f"Presidio could not be installed into {folder} from {LOCK}: {error}") from error
    shutil.copyfile(LOCK, folder / LOCK.name)  # at last: what broke off halfway is made anew
    return python
