"""A milter in plain pymilter that looks at everything and does nothing.  Usage: noop_pymilter.py SOCKET-PATH"""

from __future__ import annotations

import os
import sys

import Milter


class Noop(Milter.Base):
    """The callbacks that Restante has."""

    @Milter.decode("bytes")
    def envfrom(self, address: bytes, *parameters: bytes) -> int:  # noqa: ARG002
        return int(Milter.CONTINUE)

    @Milter.decode("bytes")
    def envrcpt(self, address: bytes, *parameters: bytes) -> int:  # noqa: ARG002
        return int(Milter.CONTINUE)

    @Milter.noreply
    @Milter.decode("bytes")
    def header(self, name: str, value: bytes) -> int:  # noqa: ARG002
        return int(Milter.CONTINUE)

    def eoh(self) -> int:
        return int(Milter.CONTINUE)

    @Milter.noreply
    def body(self, chunk: bytes) -> int:  # noqa: ARG002
        return int(Milter.CONTINUE)

    def eom(self) -> int:
        return int(Milter.CONTINUE)


if __name__ == "__main__":
    os.umask(0o117)
    Milter.factory = Noop
    Milter.runmilter("noop", f"unix:{sys.argv[1]}", 300)
