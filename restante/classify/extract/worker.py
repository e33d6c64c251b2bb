"""An extractor: a process that reads attachments for a service, one after another, until the service hangs up.

Run as ``python -I -m restante.classify.extract.worker FD``: the number is that of a socket, over which come jobs (a
line of JSON and the attachment's descriptor) and go frames (:mod:`restante.classify.extract.wire`).
"""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import fields
from typing import Any

from restante.classify.extract.archives import read_bzip2, read_gzip, read_tar, read_xz, read_zip
from restante.classify.extract.confine import confine, limit, limit_cpu
from restante.classify.extract.databases import read_database
from restante.classify.extract.images import read_image
from restante.classify.extract.job import Job, Part, Reader
from restante.classify.extract.limits import Limits, Unreadable
from restante.classify.extract.ole import read_ole
from restante.classify.extract.output import Output
from restante.classify.extract.pdf import read_pdf
from restante.classify.extract.rtf import read_rtf
from restante.classify.extract.sevenzip import read_sevenzip
from restante.classify.extract.tnef import read_tnef
from restante.classify.extract.wire import Kind, encode_fields

READERS: dict[str, Reader] = {
    "zip": read_zip,
    "gz": read_gzip,
    "bz2": read_bzip2,
    "xz": read_xz,
    "lzma": read_xz,
    "tar": read_tar,
    "7z": read_sevenzip,
    "pdf": read_pdf,
    "ole": read_ole,
    "rtf": read_rtf,
    "tnef": read_tnef,
    "image": read_image,
    "database": read_database,
}
_JOB = 65_536


def serve(channel: socket.socket, limits: Limits) -> None:
    """Take jobs until the other side closes ``channel``."""
    while True:
        line, descriptors, _, _ = socket.recv_fds(channel, _JOB, 1)
        if not line or not descriptors:
            return
        with os.fdopen(descriptors[0], "rb") as source:
            os.lseek(source.fileno(), 0, os.SEEK_SET)
            content = source.read()
        limit_cpu(limits.seconds)
        read(Output(channel), limits, content, str(json.loads(line)["name"]))


def read(output: Output, limits: Limits, content: bytes, name: str) -> None:
    """Read one attachment to the end of what can be read."""
    job = Job(output, limits, len(content), READERS)
    try:
        job.read(Part(content, name=name))
    except Unreadable as reason:
        output.sealed("", str(reason))
    except MemoryError:
        output.sealed("", "takes more memory than one attachment may")
    output.end()


def limits_from(values: dict[str, Any]) -> Limits:
    """The limits that the service wrote on the command line."""
    return Limits(**{field.name: values[field.name] for field in fields(Limits)})


def main() -> None:
    """Confine this process, say so, and serve."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    limits = limits_from(json.loads(sys.argv[2]))
    limit(limits.memory)
    held = confine(programs=bool(limits.ocr))
    channel.sendall(encode_fields(Kind.READY, " ".join(held)))
    serve(channel, limits)


if __name__ == "__main__":
    main()
