"""Sending what recipients wrote in the portal, as ordinary mail from the address that notices come from.

A person on this site has a mailbox here and is reached in the ordinary way, through a port without our milter: nothing
of ours looks at a reply again, so that it cannot go round in a circle.  Anybody else is reached under mandatory TLS or
not at all; what the intake cannot deliver then goes back to where notices come from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from restante.envelope import Address
from restante.marks import NOTICE, ROUTE_HEADER, RouteMark
from restante.settings import Settings
from restante.store import outbox, replies
from restante.store.blobs import BlobReader
from restante.store.engine import Store
from restante.store.outbox import Job
from restante.tls.evidence import Requirement
from restante.vault import Opener
from restante_milter.handover import TlsWay
from restante_milter.submit import NotSubmitted, Recipient, TooLarge, submit

log = structlog.get_logger()


class ReplySender:
    """Sends replies.  ``is_internal`` tells whether a domain is this site's."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        opener: Opener,
        route_secret: bytes,
        is_internal: Callable[[str], bool],
    ) -> None:
        self._settings, self._store, self._opener = settings, store, opener
        self._secret, self._is_internal = route_secret, is_internal

    def send(self, job: Job) -> tuple[dict[str, Any], str]:
        """Send the reply; with whom the job goes on and what it remembers, and why.  Raises ``CannotOpen``.

        With nobody left the job is done, and there is no payload.
        """
        reply = replies.waiting(self._store, self._opener, job.payload["reply"])
        if reply is None:  # erased with the message meanwhile, or done before
            outbox.finish(self._store, job.id)
            return {}, ""
        recipients: list[str] = job.payload["recipients"]
        here = [one for one in recipients if Address.parse(one).stays_here(self._is_internal)]
        away = [one for one in recipients if one not in here]
        refused: dict[str, str] = {}
        left: list[str] = []
        problem = ""
        for group, requirement in ((here, None), (away, Requirement.ENCRYPTED)):
            try:
                refused |= self._submit(job, reply, group, requirement) if group else {}
            except TooLarge as answer:
                refused |= dict.fromkeys(group, str(answer))
            except NotSubmitted as answer:
                left += group
                problem = str(answer)
        if refused:
            log.error("reply-refused", job=job.id, recipients=len(refused))
        lost: str = job.payload.get("lost", "") or next(iter(refused.values()), "")
        reached = job.payload.get("reached", False) or len(refused) + len(left) < len(recipients)
        if left:
            return {**job.payload, "recipients": left, "lost": lost, "reached": reached}, problem
        error = "" if reached else lost
        replies.settle(self._store, job.id, job.payload["reply"], error=error, lost=lost, now=time.time())
        return {}, ""

    def _submit(
        self, job: Job, reply: replies.Waiting, group: Sequence[str], requirement: Requirement | None
    ) -> dict[str, str]:
        named = [Recipient(one) for one in group]
        endpoint, content = self._settings.worker.submit, BlobReader(self._store, reply.key, reply.size).read()
        if requirement is not None:
            way = TlsWay(self._settings, requirement)
            endpoint, named = way.endpoint, way.recipients(named)
            mark = RouteMark.fresh(requirement, NOTICE, "", time.time()).sign(self._secret)
            header = f"{ROUTE_HEADER}: {mark}\r\n".encode("ascii")
            content = (piece for pieces in ((header,), content) for piece in pieces)
        sender = self._settings.notice.sender
        return submit(endpoint, self._settings.hostname, sender, job.payload["mail"], named, content)

    def give_up(self, job: Job, error: str) -> None:
        """It was tried for long enough: the reply stays sealed until its message ends, and the job tells why."""
        lost = job.payload.get("lost", "") or error
        replies.settle(self._store, job.id, job.payload["reply"], error=error, lost=lost, now=time.time())
