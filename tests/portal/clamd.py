"""A peer that stands for clamd, as far as INSTREAM goes: it finds EICAR's test string, as the real one does.

What it answers was taken down from clamd 1.4.6 with a signature of that string: "stream: OK", "stream: NAME FOUND", and
"INSTREAM size limit exceeded. ERROR" with the connection closed at once.
"""

from __future__ import annotations

import socketserver
import struct
import threading
from pathlib import Path
from typing import Self

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


class _Handler(socketserver.StreamRequestHandler):
    server: FakeClamd

    def handle(self) -> None:
        if self.rfile.read(10) != b"zINSTREAM\0":
            self.wfile.write(b"UNKNOWN COMMAND\0")
            return
        content = b""
        while length := struct.unpack("!I", self.rfile.read(4))[0]:
            content += self.rfile.read(length)
            if len(content) > self.server.limit:
                self.wfile.write(b"INSTREAM size limit exceeded. ERROR\0")
                return
        self.server.seen.append(content)
        self.wfile.write(b"stream: Eicar-Test FOUND\0" if EICAR in content else self.server.answer)


class FakeClamd(socketserver.ThreadingUnixStreamServer):
    """Listens at ``path`` while the block lasts; ``seen`` is what it was shown, ``answer`` what it says of the rest."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.seen: list[bytes] = []
        self.answer = b"stream: OK\0"
        self.limit = 1_000_000
        super().__init__(str(path), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_about: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()
