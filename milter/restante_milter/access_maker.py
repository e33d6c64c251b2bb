"""A recipient's way in, made at the moment the notice is written: link, number and code, and where the code goes.

The code goes by the way that the message's rule chose.  Where that way is closed (no telephone number, no phrase, a
gateway that refuses) it goes to the sender, who is told why: a message never waits for a telephone.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass, field, replace

import structlog

from restante.access import CodeWay
from restante.credentials import read_sms_token
from restante.enrolment_keys import EnrolmentKeys
from restante.errors import RestanteError
from restante.notices import Way, text_message
from restante.settings import Settings
from restante.store import enrolments, links, phrases
from restante.store.engine import Store
from restante.store.enrolments import Enrolled
from restante.store.outbox import Case, Copy
from restante_milter.phone_book import PhoneBook
from restante_milter.text_message import NotSent, TextMessages

log = structlog.get_logger()

_TO_SENDER = "the access code goes through you"
_SIGNS_IN = "the recipient signs in to read it and needs no access code"


@dataclass(frozen=True, slots=True)
class Access:
    """What the notice says, what the sender is told besides, and the code with where it is to go.

    ``for_sender`` is the code where the sender is to pass it on; ``telephone`` the number where it is sent to one.
    """

    link_id: str
    way: Way
    remark: str = ""
    code: str | None = field(default=None, repr=False)
    telephone: str = field(default="", repr=False)

    @property
    def for_sender(self) -> str | None:
        """The code, where the sender passes it on."""
        return self.code if self.way.code is CodeWay.SENDER else None


@dataclass(frozen=True, slots=True)
class _Choice:
    """The way for the code, what it needs, and why it is not the one that the rule chose."""

    way: CodeWay
    remark: str = ""
    number: str = field(default="", repr=False)
    phrase: str | None = field(default=None, repr=False)


class AccessMaker:
    """Mints links and sends codes on their way.  Raises :class:`restante.errors.RestanteError` for bad credentials."""

    def __init__(self, settings: Settings, store: Store, keys: EnrolmentKeys | None = None) -> None:
        self._settings, self._store, self._keys = settings, store, keys
        self._book: PhoneBook | None = None
        self._texts: TextMessages | None = None
        if settings.sms is not None:
            context = ssl.create_default_context(cafile=settings.tls.ca_file) if settings.sms.url else None
            self._book = PhoneBook(settings.sms.numbers)
            self._texts = TextMessages(settings.sms, read_sms_token(settings.credentials), context)

    def mint(self, case: Case, copy: Copy, *, tls: bool, first_try: bool, by_code: bool = False) -> Access | None:
        """The way in for one copy; ``None`` where it can no longer be collected.

        ``tls``: the notice goes under enforced TLS.  A code that an earlier try minted may have reached nobody, so that
        only a first try keeps codes.  ``by_code``: an enrolled recipient gets a code all the same.
        """
        needs_code = case.needs_code(copy, tls=tls)
        enrolled = self._enrolled(copy.recipient)
        if not needs_code:
            choice = _Choice(CodeWay.SENDER)
        elif (
            enrolled
            and not (by_code or copy.suspected)
            and enrolled.may_open(accepted=case.enrolled, always_code=case.always_code)
        ):
            choice = _Choice(CodeWay.ENROLLED, _SIGNS_IN)
        else:
            choice = self._choice(case.code_way, copy)
        minted = links.mint_link(
            self._store,
            copy.delivery_id,
            needs_code=needs_code,
            new_code=not first_try,
            now=time.time(),
            way=choice.way,
            phrase=choice.phrase,
            form=case.notice,
        )
        if minted is None:
            return None
        greeting = enrolled.greeting if enrolled else ""
        way = Way(minted.token, minted.number, choice.way if needs_code else None, greeting, case.notice)
        return Access(minted.link_id, way, choice.remark, minted.code, choice.number)

    def _enrolled(self, recipient: str) -> Enrolled | None:
        return enrolments.find(self._store, self._keys, recipient) if self._keys is not None else None

    def _choice(self, wanted: CodeWay, copy: Copy) -> _Choice:
        recipient = copy.recipient
        if wanted is CodeWay.PHRASE and copy.suspected:
            return _Choice(CodeWay.SENDER, f"somebody else may know the phrase that was agreed, so that {_TO_SENDER}")
        if wanted is CodeWay.PHRASE:
            phrase = phrases.hash_for(self._store, recipient)
            if phrase is None:
                return _Choice(CodeWay.SENDER, f"no phrase is agreed with the recipient, so that {_TO_SENDER}")
            return _Choice(wanted, "opens with the phrase that was agreed", phrase=phrase)
        if wanted is CodeWay.SMS:
            return self._by_telephone(recipient)
        return _Choice(CodeWay.SENDER)

    def _by_telephone(self, recipient: str) -> _Choice:
        try:
            number = self._book.number_of(recipient) if self._book is not None else None
        except RestanteError as error:
            log.error("phone-book-unreadable", error=str(error))
            number = None
        if self._book is None:
            log.error("sms-not-set-up", remedy='add [sms] to the settings, or take code = "sms" out of the rule')
        if number is None:
            return _Choice(CodeWay.SENDER, f"no telephone number of the recipient is known, so that {_TO_SENDER}")
        return _Choice(CodeWay.SMS, "the access code was sent to the recipient's telephone", number=number)

    def send_code(self, access: Access, sender: str, *, language: str) -> Access:
        """Send a code that goes to a telephone, once its notice is on its way; where that fails, the sender has it."""
        if access.way.code is not CodeWay.SMS or self._texts is None or access.code is None:
            return access
        words = text_message(self._settings.organisation, access.code, sender, language=language)
        try:
            self._texts.send(access.telephone, words)
        except NotSent as error:
            log.error("sms-not-sent", error=str(error))
            links.code_went_to_sender(self._store, access.link_id, now=time.time())
            remark = f"the text message could not be sent, so that {_TO_SENDER}"
            return replace(access, way=replace(access.way, code=CodeWay.SENDER), remark=remark)
        return access
