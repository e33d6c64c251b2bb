"""A program in a terminal, kept by tmux: a test presses keys and reads the screen as a person does."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.waiting import LabError, wait_until

COLUMNS, LINES = 80, 70
SECONDS = 60
_ANYTHING = re.compile("")


class Terminal:
    """``command``, working in ``folder``, in a terminal of 80 columns that is high enough for any page of ours.

    It sees nothing of the environment of the tests.
    """

    def __init__(self, folder: Path, *command: str) -> None:
        self.folder = folder
        self._command = command
        # Short, because a unix socket's path has at most 107 bytes.
        self._own = tempfile.TemporaryDirectory(prefix="rtm-", dir="/tmp")
        self._environment = {
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "TERM": "screen",
            "TMPDIR": self._own.name,
        }

    def __enter__(self) -> Self:
        size = ("-x", str(COLUMNS), "-y", str(LINES))
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, "-c", str(self.folder), *self._command)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tmux("kill-server")
        self._own.cleanup()

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", f"{self._own.name}/socket", *arguments]
        ran = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, (arguments, ran.stderr)
        return ran.stdout

    @property
    def screen(self) -> str:
        """What stands on the screen, line by line."""
        return self._tmux("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        """Press keys, named as tmux names them: ``Enter``, ``Down``, ``Tab``."""
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        """Type a text."""
        self._tmux("send-keys", "-l", text)

    def read(self, *texts: str, ready: re.Pattern[str] = _ANYTHING) -> str:
        """Wait until all of ``texts`` can be read, and ``ready`` is found in the last lines.

        The screen then, with its lines put together.
        """

        def shown() -> str:
            screen = self.screen
            read = " ".join(screen.split())
            found = ready.search("\n".join(screen.splitlines()[-3:]))
            return read if found and all(text in read for text in texts) else ""

        try:
            return wait_until(shown, SECONDS, f"{texts}")
        except LabError as error:
            raise AssertionError(f"{error}; the screen:\n{self.screen}") from None
