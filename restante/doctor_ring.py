"""The doctor's look at the key ring: it is there, apart from the main database, its services' alone, and in use."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select

from restante.doctor_finding import Finding
from restante.settings import Settings
from restante.store.engine import Store, StoreUnavailable
from restante.store.models import Epoch
from restante.store.ring import KeyRing


def ring_findings(settings: Settings, *, busy_seconds: float) -> Iterator[Finding]:
    """What is wrong with the ring of ``settings``; nothing where they do without one."""
    if not settings.ring.use:
        return
    path = settings.ring_path
    yield from _separate(settings, path)
    try:
        ring, folder = path.stat(), path.parent.stat()
    except OSError as error:
        yield Finding(
            "ring-missing",
            f"{path} cannot be looked at: {error.strerror}; no message that was sealed to it opens without it",
            "put it back; on a fresh installation: restante db upgrade; if it is lost for good: restante ring create",
        )
        return
    for place, mode, bad in (
        (path, ring.st_mode, stat.S_IRWXO | stat.S_IWGRP),
        (path.parent, folder.st_mode, stat.S_IRWXO | stat.S_IWGRP),
    ):
        if mode & bad:
            yield Finding(
                "ring-exposed",
                f"others than the worker and the portal can read or change {place} (mode {stat.S_IMODE(mode):04o})",
                f"chmod o-rwx,g-w {place}",
            )
    yield from _in_use(settings, KeyRing(path), busy_seconds)


def _separate(settings: Settings, path: Path) -> Iterator[Finding]:
    """A ring that whoever copies the main database's folder takes along opens every backup for ever."""
    if not settings.database.startswith("sqlite:///"):
        return
    folder = Path(settings.database.removeprefix("sqlite:///")).absolute().parent
    if path.parent == folder or folder in path.parents or path.parent in folder.parents:
        yield Finding(
            "ring-not-separate",
            f"{path} and the main database in {folder} lie in one folder, whose backup has both and erases nothing",
            "stop the services, move it to a folder of its own, and name it as path in [ring]",
        )


def _in_use(settings: Settings, ring: KeyRing, busy_seconds: float) -> Iterator[Finding]:
    database = settings.database.removeprefix("sqlite:///")
    if database != settings.database and not Path(database).exists():
        return  # named elsewhere; to open it would make it
    store = Store(settings.database, busy_seconds=busy_seconds)
    try:
        with store.read() as session:
            epoch = session.scalars(
                select(Epoch).where(Epoch.closed_at.is_(None)).order_by(Epoch.opened_at.desc()).limit(1)
            ).one_or_none()
    except StoreUnavailable:
        return  # named elsewhere
    finally:
        store.close()
    if epoch is None:
        return  # the worker has not run yet
    try:
        ours = ring.holds_epoch(epoch.id)
    except StoreUnavailable as error:
        yield Finding("ring-unreadable", str(error), "see the text; a damaged ring comes from its own copy only")
        return
    if not ours:
        yield Finding(
            "ring-of-another",
            f"{ring.path} has no key for the present epoch: what is held now could not be opened",
            "put back the ring that belongs to this database, and start the worker",
        )
    elif epoch.seals_until < time.time():
        yield Finding(
            "ring-not-tended",
            "the last epoch is over and the worker opened no other: messages cannot be held",
            f"start the worker, and let it write {ring.path.parent}",
        )
