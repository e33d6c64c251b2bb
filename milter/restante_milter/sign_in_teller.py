"""Mailing notices about ways to sign in: what was set, changed or removed, to the address that it is for.

Nothing in them opens anything or is secret, so that they go the way of notices: under TLS where the recipient's domain
does it, in the ordinary way where it does not.
"""

from __future__ import annotations

from collections.abc import Callable
from email.message import EmailMessage

from restante.access import CodeWay
from restante.enrolment_keys import EnrolmentKeys
from restante.marks import NoticeMark
from restante.notice_ids import notice_message_id
from restante.notices import NoticeWriter, Way
from restante.settings import Settings
from restante.sign_in_changes import Changed
from restante.store import enrolments, outbox
from restante.store.engine import Store
from restante.store.enrolments import Enrolled
from restante.store.outbox import Case, Copy, Job

Submit = Callable[[EmailMessage, str, Case | None], None]
"""Submits a notice to an address, under the case's TLS requirement if there is one.  Raises ``NotSubmitted``."""


class SignInTeller:
    """Does the jobs of kind "sign-in"."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        writer: NoticeWriter,
        keys: EnrolmentKeys | None,
        language: Callable[[str], str],
        submit: Submit,
    ) -> None:
        self._settings, self._store, self._writer, self._keys = settings, store, writer, keys
        self._language, self._submit = language, submit

    def tell(self, job: Job, case: Case, *, tls: bool) -> None:
        """Send what the job asks for, and finish it.  Raises ``NotSubmitted``."""
        copy = case.copy(job.payload["delivery"])
        if copy is not None:
            self._submit(self._notice(job, case, copy), copy.recipient, case if tls else None)
        outbox.finish(self._store, job.id)

    def _notice(self, job: Job, case: Case, copy: Copy) -> EmailMessage:
        enrolled = self._enrolled(copy.recipient)
        notice = self._writer.of_sign_in(
            mark=NoticeMark(case.message_id, copy.delivery_id, job.id),
            recipient=copy.recipient,
            changes=[Changed.of(one) for one in job.payload["changes"]],
            way=Way("", "", CodeWay.ENROLLED, enrolled.greeting if enrolled else "", case.notice),
            enrolled=enrolled is not None,
            language=self._language(copy.domain),
        )
        notice.replace_header("Message-ID", notice_message_id(job.id, self._settings.hostname))
        return notice

    def _enrolled(self, recipient: str) -> Enrolled | None:
        return enrolments.find(self._store, self._keys, recipient) if self._keys is not None else None
