"""Mailing receipts: to the sender where the sender wants that one, to the operator where somebody else read a message.

Each mail to a sender carries a fresh link to the page about the message, and goes by the way of access codes: into a
mailbox of this site, or to any other under mandatory TLS alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email.message import EmailMessage

import structlog

from restante.marks import NoticeMark
from restante.notices import NoticeWriter, Way
from restante.receipt_texts import Happened, subject_of, text_of
from restante.receipts import CHOSEN, Receipt, sender_digest
from restante.settings import Settings
from restante.store import outbox, receipts, sender_links
from restante.store.engine import Store
from restante.store.outbox import Case, Copy, Job

log = structlog.get_logger()

Submit = Callable[[EmailMessage, str], None]
"""Submits a mail to an address.  Raises ``NotSubmitted``."""


class ReceiptTeller:
    """Does the jobs of kind "receipt"."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        writer: NoticeWriter,
        secret: bytes,
        to_sender: Submit,
        to_operator: Submit,
    ) -> None:
        self._settings, self._store, self._writer, self._secret = settings, store, writer, secret
        self._to_sender, self._to_operator = to_sender, to_operator

    def page(self, case: Case) -> Way:
        """A fresh link for the sender to the page about the message."""
        digest = sender_digest(self._secret, case.sender)
        minted = sender_links.mint(self._store, case.message_id, digest, now=time.time())
        return Way(minted.token, minted.number, None)

    def tell(self, job: Job) -> None:
        """Send what the job asks for, if anybody wants it, and finish it.  Raises ``NotSubmitted``."""
        case = outbox.load_case(self._store, job.message_id)
        copy = case.copy(job.payload["delivery"])
        event = Receipt(job.payload["event"])
        if copy is not None and job.payload.get("operator"):
            self._alarm(copy)
        elif copy is not None and case.sender and self._wanted(case, event):
            self._receipt(job, case, copy, event)
        outbox.finish(self._store, job.id)

    def _wanted(self, case: Case, event: Receipt) -> bool:
        default = self._settings.notice.receipts
        digest = sender_digest(self._secret, case.sender)
        return event not in CHOSEN or event in receipts.mailed(self._store, digest, default)

    def _receipt(self, job: Job, case: Case, copy: Copy, event: Receipt) -> None:
        happened = Happened(
            event,
            copy.recipient,
            job.payload["at"],
            case.created_at,
            case.expires_at,
            was=job.payload.get("was", ""),
            status=job.payload.get("status", ""),
            reply=job.payload.get("reply", ""),
            about=job.payload.get("about", ""),
        )
        mail = self._writer.of_receipt(
            mark=NoticeMark(case.message_id),
            sender=case.sender,
            about=case.header_message_id,
            subject=subject_of(event),
            text=text_of(happened),
            page=self.page(case),
        )
        self._to_sender(mail, case.sender)

    def _alarm(self, copy: Copy) -> None:
        log.warning("access-frozen", delivery=copy.delivery_id)
        postmaster = self._settings.notice.postmaster
        if postmaster:
            self._to_operator(self._writer.of_freezing(postmaster=postmaster, delivery_id=copy.delivery_id), postmaster)
