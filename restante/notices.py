"""Notices: what recipients and senders are told by mail.

They hold nothing of the message: no subject, no body, no file name.  The text part and the HTML part say the same,
because both are rendered from one list of paragraphs; the HTML loads nothing and carries no tracking.

Recipients are written to in the language that the caller names, with the same in English below; senders in English.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.headerregistry import Address as MailAddress
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, make_msgid

from restante.access import CodeWay, NoticeForm
from restante.brand import worded
from restante.languages import ENGLISH, Words, marked
from restante.marks import NOTICE_HEADER, NoticeMark
from restante.settings import Settings
from restante.sign_in_changes import Changed


@dataclass(frozen=True, slots=True)
class Told:
    """One line of a sender's notice: a recipient, what happened to the copy, and the code to pass on, if any."""

    recipient: str
    outcome: str
    code: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Way:
    """How somebody gets in: the link's token, empty for a notice without link, the notice's number, and the code.

    ``code`` is by which way an access code travels; ``None`` where none is needed, as for the sender's own page.
    ``greeting`` is the phrase by which an enrolled recipient knows our notices; who signs in is told where, unless
    ``form`` has no address.
    """

    token: str = field(repr=False)
    number: str = field(repr=False)
    code: CodeWay | None
    greeting: str = field(default="", repr=False)
    form: NoticeForm = NoticeForm.LINK


_CODES = {
    CodeWay.SENDER: marked(
        "You also need an access code. The sender has it and will pass it on to you in another way, by telephone for "
        "instance. Ask for it if you did not get it."
    ),
    CodeWay.SMS: marked("You also need an access code. It comes to your telephone as a text message."),
    CodeWay.PHRASE: marked("You also need the phrase that was agreed with you for such messages. It is in no mail."),
}


@dataclass(frozen=True, slots=True)
class _Paragraph:
    text: str
    link: str = field(default="", repr=False)
    code: str = field(default="", repr=False)
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Section:
    """Paragraphs in one language; ``heading`` parts them from those above."""

    words: Words
    paragraphs: tuple[_Paragraph, ...]
    heading: str = ""


def text_message(organisation: str, code: str, sender: str, *, language: str) -> str:
    """What a telephone is sent: the access code, and whose message it opens."""
    return Words(language).gettext(
        "%(organisation)s: access code %(code)s for the message from %(sender)s.",
        organisation=organisation,
        code=code,
        sender=sender,
    )


class NoticeWriter:
    """Writes notices in the name of one organisation.  Returns finished messages, ready to submit."""

    def __init__(self, settings: Settings, route_secret: bytes) -> None:
        self._settings = settings
        self._secret = route_secret

    def for_recipient(
        self,
        *,
        mark: NoticeMark,
        recipient: str,
        sender: str,
        way: Way,
        expires_at: float,
        language: str = ENGLISH,
    ) -> EmailMessage:
        """The notice that carries the one-time link, or where ``way`` has no token, the number of the notice alone."""
        words = Words(language)
        sections = [_Section(words, self._to_recipient(words, recipient, sender, way, expires_at))]
        if language != ENGLISH and self._settings.notice.english_below:
            english = Words(ENGLISH)
            below = self._to_recipient(english, recipient, sender, way, expires_at)
            sections.append(_Section(english, below, heading=english.language.name))
        subject = words.gettext("A confidential message from %(sender)s is waiting for you", sender=sender)
        return self._message(mark, recipient, subject, sections, reply_to=sender)

    def _to_recipient(
        self, words: Words, recipient: str, sender: str, way: Way, expires_at: float
    ) -> tuple[_Paragraph, ...]:
        held = words.gettext(
            "%(sender)s has written to you at %(recipient)s. The message is confidential, and your mail provider could "
            "not receive it over an encrypted connection. %(organisation)s therefore keeps it for you.",
            sender=words.isolated(sender),
            recipient=words.isolated(recipient),
            organisation=words.isolated(self._settings.organisation),
        )
        return (
            _Paragraph(held),
            *self._way_in(words, way, expires_at),
            *self._greeting(words, way),
            self._how_to_know(words, sender, way),
            _Paragraph(words.gettext("If you do not know the sender, you may ignore this notice.")),
        )

    def _way_in(self, words: Words, way: Way, expires_at: float) -> list[_Paragraph]:
        if way.code is CodeWay.ENROLLED:
            return self._by_signing_in(words, way, expires_at)
        return self._by_link(words, way, expires_at) if way.token else self._by_number(words, way, expires_at)

    def _by_signing_in(self, words: Words, way: Way, expires_at: float) -> list[_Paragraph]:
        """Nothing here opens anything: the address is the same in every notice, and the number asks for a code."""
        url = self._settings.portal.url
        where = words.gettext(
            "Sign in on the page for secure mail of %(organisation)s, with the passkey or password that you have set "
            "there.",
            organisation=words.isolated(self._settings.organisation),
        )
        until = words.gettext("The message is kept until %(moment)s.", moment=words.moment(expires_at))
        return [
            _Paragraph(where, link=f"{url}/sign-in" if way.form is NoticeForm.LINK else ""),
            _Paragraph(until),
            _Paragraph(words.gettext("If you can no longer sign in, you need this number there:"), code=way.number),
        ]

    def _greeting(self, words: Words, way: Way) -> list[_Paragraph]:
        return [_Paragraph(words.gettext("Your greeting phrase:"), items=(way.greeting,))] if way.greeting else []

    def _by_link(self, words: Words, way: Way, expires_at: float) -> list[_Paragraph]:
        until = words.gettext(
            "The link opens once, in one browser. The message is kept until %(moment)s.",
            moment=words.moment(expires_at),
        )
        return [
            _Paragraph(words.gettext("Collect it here:"), link=f"{self._settings.portal.url}/p/{way.token}"),
            # In a line of its own and in two halves: for the eyes of a person, and no word by itself.
            _Paragraph(words.gettext("The page may ask for the number of this notice:"), code=way.number),
            _Paragraph(until if way.code is None else f"{until} {words.gettext(_CODES[way.code])}"),
        ]

    def _by_number(self, words: Words, way: Way, expires_at: float) -> list[_Paragraph]:
        until = words.gettext(
            "It opens once, in one browser. The message is kept until %(moment)s.", moment=words.moment(expires_at)
        )
        return [
            _Paragraph(
                words.gettext(
                    "Collect it on the page for secure mail of %(organisation)s, at the address that you know. This "
                    "notice has no link on purpose. Type there the number of this notice:",
                    organisation=words.isolated(self._settings.organisation),
                ),
                code=way.number,
            ),
            _Paragraph(f"{until} {words.gettext(_CODES[way.code or CodeWay.SENDER])}"),
        ]

    def _how_to_know(self, words: Words, sender: str, way: Way) -> _Paragraph:
        address = words.isolated(f"{self._settings.portal.url}/")
        sender = words.isolated(sender)
        if way.code is CodeWay.ENROLLED and way.form is NoticeForm.LINK:
            text = words.gettext(
                "How to know that this notice is true: the page where you sign in begins with %(address)s and nothing "
                "else; and you can ask %(sender)s directly.",
                address=address,
                sender=sender,
            )
        elif way.code is CodeWay.ENROLLED:
            text = words.gettext(
                "How to know that this notice is true: it has no link; and you can ask %(sender)s directly.",
                sender=sender,
            )
        elif way.token:
            text = words.gettext(
                "How to know that this notice is true: its link begins with %(address)s and nothing else; we never ask "
                "for a password, an account or a payment; and you can ask %(sender)s directly.",
                address=address,
                sender=sender,
            )
        else:
            text = words.gettext(
                "How to know that this notice is true: it has no link; we never ask for a password, an account or a "
                "payment; and you can ask %(sender)s directly.",
                sender=sender,
            )
        contact = self._settings.notice.contact
        return _Paragraph(f"{text} {words.isolated(contact)}" if contact else text)

    def of_sign_in(
        self,
        *,
        mark: NoticeMark,
        recipient: str,
        changes: Sequence[Changed],
        way: Way,
        enrolled: bool,
        language: str = ENGLISH,
    ) -> EmailMessage:
        """The recipient's ways to sign in were changed.  ``way`` is an enrolled one; ``enrolled``: one is set now."""
        words = Words(language)
        sections = [_Section(words, self._of_changes(words, recipient, changes, way, enrolled=enrolled))]
        if language != ENGLISH and self._settings.notice.english_below:
            english = Words(ENGLISH)
            below = self._of_changes(english, recipient, changes, way, enrolled=enrolled)
            sections.append(_Section(english, below, heading=english.language.name))
        return self._message(mark, recipient, words.gettext("Your ways to sign in have changed"), sections)

    def _of_changes(
        self, words: Words, recipient: str, changes: Sequence[Changed], way: Way, *, enrolled: bool
    ) -> tuple[_Paragraph, ...]:
        organisation = words.isolated(self._settings.organisation)
        what = words.gettext(
            "The ways to sign in as %(recipient)s on the page for secure mail of %(organisation)s have changed:",
            recipient=words.isolated(recipient),
            organisation=organisation,
        )
        if enrolled:
            now = words.gettext("To change these, sign in, or open a message with an access code.")
        else:
            now = words.gettext("Later messages then need an access code again.")
        link = f"{self._settings.portal.url}/sign-in" if enrolled and way.form is NoticeForm.LINK else ""
        if_not = words.gettext(
            "If it was you, there is nothing to do. If it was not you, somebody may be reading your mailbox. Tell "
            "%(organisation)s at once, by a telephone number that you already know.",
            organisation=organisation,
        )
        return (
            _Paragraph(what, items=tuple(one.line(words) for one in changes)),
            _Paragraph(now, link=link),
            _Paragraph(if_not),
            *self._greeting(words, way),
            self._how_to_know(words, self._settings.organisation, way),
        )

    def for_sender(
        self,
        *,
        mark: NoticeMark,
        sender: str,
        about: str,
        sent_at: float,
        told: Sequence[Told],
        expires_at: float,
        page: Way | None = None,
    ) -> EmailMessage:
        """The confirmation: which way each recipient's copy went.  Threaded under ``about``, a Message-ID.

        ``page`` is the way to the sender's page about the message.
        """
        codes = [one for one in told if one.code]
        paragraphs = [
            _Paragraph(
                f"Your message of {_moment(sent_at)} was classified as sensitive. This is what became of it:",
                items=tuple(f"{one.recipient}: {one.outcome}" for one in told),
            )
        ]
        paragraphs += [
            _Paragraph(
                f"{one.recipient} needs this access code. Pass it on by telephone or in person, not by mail:",
                code=one.code or "",
            )
            for one in codes
        ]
        if any("portal" in one.outcome for one in told):
            paragraphs.append(_Paragraph(f"What waits in the portal is kept until {_day(expires_at)}."))
        paragraphs += self._to_page(page)
        subject = "Your message: access code to pass on" if codes else "Your message: how it was sent"
        return self._threaded(self._message(mark, sender, subject, _english(paragraphs)), about)

    def of_refusal(
        self, *, mark: NoticeMark, sender: str, about: str, sent_at: float, recipients: Sequence[str], text: str
    ) -> EmailMessage:
        """A reviewer refused to send the message on, and says why."""
        paragraphs = [
            _Paragraph(f"Your message of {_moment(sent_at)} was reviewed and not sent to:", items=tuple(recipients)),
            _Paragraph(f"The reviewer writes: {text}" if text else "The reviewer gave no reason."),
        ]
        return self._threaded(self._message(mark, sender, "Your message was not sent", _english(paragraphs)), about)

    def _to_page(self, page: Way | None) -> list[_Paragraph]:
        if page is None:
            return []
        what = "What becomes of it, and what you can still do (recall it, keep it longer, send another notice or code):"
        return [
            _Paragraph(what, link=f"{self._settings.portal.url}/s/{page.token}"),
            _Paragraph("The page asks for the number of this mail:", code=page.number),
        ]

    def of_receipt(
        self, *, mark: NoticeMark, sender: str, about: str, subject: str, text: str, page: Way
    ) -> EmailMessage:
        """Something happened to a copy.  Threaded under ``about``, a Message-ID."""
        paragraphs = [_Paragraph(text), *self._to_page(page)]
        return self._threaded(self._message(mark, sender, subject, _english(paragraphs)), about)

    def of_freezing(self, *, postmaster: str, delivery_id: str) -> EmailMessage:
        """A recipient says that somebody else opened a message.  Names nobody."""
        paragraphs = [
            _Paragraph(
                "A recipient says that somebody else opened a message. Nobody can open it now; its sender was told.",
                link=f"{self._settings.portal.url}/admin/messages/{delivery_id}",
            ),
            _Paragraph("Somebody may be reading the recipient's mail, or had the link from elsewhere."),
        ]
        mark = NoticeMark("not-me")
        return self._message(mark, postmaster, "A message was opened by somebody else", _english(paragraphs))

    def of_alarm(self, *, postmaster: str, domains: Sequence[str]) -> EmailMessage:
        """Domains long seen with TLS suddenly show none: the operator should look at the path."""
        paragraphs = [
            _Paragraph(
                "These domains were seen with TLS again and again, and now every mail host of theirs that can be "
                "reached offers none. Somebody on the path may be removing it. Sensitive mail to them is held.",
                items=tuple(domains[:100]),
            ),
            _Paragraph("Look closer with: restante domain NAME --recheck. At most one such notice is sent in a day."),
        ]
        return self._message(NoticeMark("strip-alarm"), postmaster, "Domains have lost their TLS", _english(paragraphs))

    def _threaded(self, message: EmailMessage, about: str) -> EmailMessage:
        if about.startswith("<") and about.endswith(">") and about.isascii() and " " not in about:
            message["In-Reply-To"] = about
            message["References"] = about
        return message

    def _foot(self, language: str) -> list[str]:
        """Who writes: the organisation, and its imprint where it has one."""
        settings = self._settings
        imprint, _ = worded(settings.brand.imprint, language, settings.notice.language)
        return [settings.organisation, *imprint.splitlines(), *filter(None, [settings.brand.imprint_url])]

    def _message(
        self, mark: NoticeMark, to: str, subject: str, sections: Sequence[_Section], *, reply_to: str = ""
    ) -> EmailMessage:
        # Words beyond ASCII can be encoded (RFC 2047), addresses cannot.
        message = EmailMessage(policy=SMTP if to.isascii() and reply_to.isascii() else SMTPUTF8)
        message["From"] = MailAddress(self._settings.organisation, addr_spec=self._settings.notice.sender)
        _set_address(message, "To", to)
        if reply_to:
            _set_address(message, "Reply-To", reply_to)
        message["Subject"] = subject
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Message-ID"] = make_msgid(domain=self._settings.hostname)
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834, section 5
        message[NOTICE_HEADER] = mark.sign(self._secret)
        foot = self._foot(sections[0].words.language.code)
        message.set_content(_as_text(sections, foot))
        accent = self._settings.brand.light.accent
        message.add_alternative(_as_html(subject, sections, foot, accent), subtype="html")
        message["Content-Language"] = ", ".join(one.words.language.tag for one in sections)  # RFC 3282
        return message


def _set_address(message: EmailMessage, name: str, address: str) -> None:
    """Put an address from an envelope into a header field; a local part that needs quoting is quoted."""
    local, _, domain = address.rpartition("@")
    message[name] = MailAddress(username=local.strip('"'), domain=domain) if local else address


def _english(paragraphs: Sequence[_Paragraph]) -> tuple[_Section, ...]:
    return (_Section(Words(ENGLISH), tuple(paragraphs)),)


def _as_text(sections: Sequence[_Section], foot: Sequence[str]) -> str:
    blocks = []
    for section in sections:
        if section.heading:
            blocks.append(f"* * *\n\n{section.heading}")
        for one in section.paragraphs:
            lines = [one.text]
            lines += [f"  {extra}" for extra in (one.link, one.code) if extra]
            lines += [f"- {item}" for item in one.items]
            blocks.append("\n".join(lines))
    return "\n\n".join([*blocks, "\n".join(["-- ", *foot])]) + "\n"


def _as_html(subject: str, sections: Sequence[_Section], foot: Sequence[str], accent: str) -> str:
    """The same as the text; nothing in it is fetched from anywhere.

    The accent is for a rule alone: a mail program with a dark page changes the colours of text as it likes.
    """
    spoken = sections[0].words.language
    body = "\n".join(map(_section_as_html, sections))
    return (
        f'<!doctype html>\n<html lang="{spoken.tag}" dir="{spoken.direction}"><head><meta charset="utf-8">'
        f"<title>{html.escape(subject)}</title></head>"
        f'<body style="font-family:sans-serif;max-width:40em;border-top:4px solid {accent};padding-top:1em">\n{body}\n'
        f'<p dir="auto">{"<br>".join(map(html.escape, foot))}</p>\n</body></html>\n'
    )


def _section_as_html(section: _Section) -> str:
    spoken = section.words.language
    blocks = [f"<hr><h2>{html.escape(section.heading)}</h2>"] if section.heading else []
    for one in section.paragraphs:
        blocks.append(f"<p>{html.escape(one.text)}</p>")
        if one.link:
            link = html.escape(one.link)
            blocks.append(f'<p dir="ltr"><a href="{link}">{link}</a></p>')
        if one.code:
            code = html.escape(one.code)
            blocks.append(f'<p dir="ltr" style="font-size:150%"><strong>{code}</strong></p>')
        if one.items:
            blocks.append("<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in one.items) + "</ul>")
    return f'<div lang="{spoken.tag}" dir="{spoken.direction}">\n' + "\n".join(blocks) + "\n</div>"


def _day(when: float) -> str:
    moment = datetime.fromtimestamp(when, UTC)
    return f"{moment.day} {moment:%B %Y}"


def _moment(when: float) -> str:
    return f"{_day(when)}, {datetime.fromtimestamp(when, UTC):%H:%M} UTC"
