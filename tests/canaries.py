"""Secrets that are looked for where none may be, in every form in which a program may have written them."""

from __future__ import annotations

import base64
import html
import json
import os
import quopri
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

import re2

SHORTEST = 7
_MEMORY = ("/memfd:", "/dev/shm/")
_FILE_BYTES = 256 * 1024 * 1024
_DFA_BYTES = 512 * 1024 * 1024


def _base64_forms(raw: bytes) -> Iterator[bytes]:
    """What stands in base64 of anything that ``raw`` is a part of, wherever in it ``raw`` begins (RFC 4648)."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw).rstrip(b"=")
        certain = encoded[(0, 2, 3)[before] : len(encoded) - ((before + len(raw)) % 3 > 0)]
        yield certain
        yield certain.translate(bytes.maketrans(b"+/", b"-_"))


def forms(secret: str | bytes) -> frozenset[bytes]:
    """Every form of ``secret``: raw, URL-encoded, base64 in three alignments, base32, hex, quoted-printable, UTF-16
    and Latin-1, as JSON, HTML, SQL and Python write it."""
    raw = secret.encode() if isinstance(secret, str) else secret
    found = {
        raw,
        raw.hex().encode(),
        raw.hex().upper().encode(),
        *_base64_forms(raw),
        base64.b32encode(raw).rstrip(b"="),
    }
    found |= {quopri.encodestring(raw).replace(b"=\n", b""), quote(raw).encode(), quote(raw, safe="").encode()}
    found |= {quote_plus(raw).encode(), quote(raw).lower().encode(), repr(raw)[2:-1].encode()}
    if isinstance(secret, str):
        found |= {secret.encode("utf-16-le"), secret.encode("utf-16-be"), secret.encode("latin-1", "replace")}
        found |= set(_base64_forms(secret.encode("utf-16-le")))
        found |= {json.dumps(secret)[1:-1].encode(), json.dumps(secret, ensure_ascii=False)[1:-1].encode()}
        found |= {html.escape(secret).encode(), repr(secret)[1:-1].encode(), secret.replace("'", "''").encode()}
    return frozenset(found)


class Search:
    """Looks for ``secrets``, each under the name by which a hit is reported: a report must not repeat them."""

    def __init__(self, secrets: Mapping[str, str | bytes]) -> None:
        short = [name for name, secret in secrets.items() if len(secret) < SHORTEST]
        assert not short, f"too short to be told from chance: {short}"
        self._needles = {form: name for name, secret in secrets.items() for form in forms(secret)}
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        options.max_mem = _DFA_BYTES
        self._any = re2.compile(b"|".join(re2.escape(form) for form in self._needles), options)

    def hits(self, content: bytes) -> set[str]:
        """The names of what stands in ``content``, also where a line was broken within it."""
        unbroken = content.replace(b"=\r\n", b"").replace(b"=\n", b"").replace(b"\r", b"").replace(b"\n", b"")
        return {self._needles[found] for text in (content, unbroken) for found in self._any.findall(text)}

    def in_files(self, files: Iterable[Path]) -> dict[str, set[str]]:
        """The hits in the contents and in the names of files, by path; a file that went away meanwhile has none."""
        found = {}
        for path in files:
            hits = self.hits(os.fsencode(path))
            try:
                assert path.stat().st_size < _FILE_BYTES, path
            except FileNotFoundError:
                continue
            # By another process: where this one closes a database's file, all its locks on that are gone (fcntl(2)):
            # a service that ends would then remove the log that our own connections still read.
            hits |= self.hits(subprocess.run(["cat", "--", path], stdout=subprocess.PIPE, check=False).stdout)
            if hits:
                found[str(path)] = hits
        return found


def tree_of(process: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    except FileNotFoundError:
        return []
    return [process, *(one for child in children for one in tree_of(int(child)))]


def unnamed_files(process: int) -> Iterator[bytes]:
    """What stands in the regular files that a process has open and that have no name any more.

    Not in anonymous memory (memfd, /dev/shm), which is no more on a disk than the process's own is.
    """
    for entry in _entries(Path(f"/proc/{process}/fd")):
        try:
            name = str(entry.readlink())
            if name.endswith("(deleted)") and not name.startswith(_MEMORY) and entry.is_file():
                yield entry.read_bytes()
        except OSError:
            continue  # closed meanwhile


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []  # the process is gone
