"""What is remembered of recently read messages between requests: where their parts begin, and how large they are."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from restante.store.blobs import BlobReader
from restante_portal.reading import Index, index_message
from restante_portal.transfer import Measured


@dataclass(frozen=True, slots=True)
class Known:
    """The index of a message, and by number what was measured of its parts so far."""

    index: Index
    measured: dict[int, Measured] = field(default_factory=dict)


class IndexCache:
    """Thread-safe.  Holds offsets, names and sizes, and at most 128 bytes of each encoded MiB."""

    def __init__(self, most: int = 32) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Known] = OrderedDict()

    def get(self, reader: BlobReader, blob_id: str) -> Known:
        """What is known of a blob; indexes it at the first call.  Raises ``CannotOpen`` and ``StoreUnavailable``."""
        with self._lock:
            known = self._known.get(blob_id)
            if known is not None:
                self._known.move_to_end(blob_id)
                return known
        known = Known(index_message(reader))
        with self._lock:
            self._known[blob_id] = known
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return known
