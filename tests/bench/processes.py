"""What the kernel knows of a process and its children: processor time used, memory at its highest."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Family:
    """A process and its direct children, as they are when asked."""

    pid: int

    def members(self) -> list[int]:
        """The process ids, the parent first."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii")
        return [self.pid, *map(int, children.split())]

    def cpu_seconds(self) -> float:
        """User and system time of all members since each began."""
        ticks = 0
        for pid in self.members():
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            ticks += int(stat[11]) + int(stat[12])
        return ticks / _TICK

    def peak_memory(self) -> dict[int, int]:
        """The highest resident set of each member, in bytes (VmHWM)."""
        return {pid: _status(pid, "VmHWM") for pid in self.members()}

    def forget_peaks(self) -> None:
        """Let each member's highest resident set begin anew at what it has now (proc(5), clear_refs)."""
        for pid in self.members():
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
