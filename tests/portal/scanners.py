"""What mail scanners, link previews and bots do with a link, as data for one test.

A robot here runs in a real browser, fills every field of every form with a value that it found somewhere, and sends
every form.  Where it finds its values, and how it sends, makes the strategies.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage

from restante.store.links import MintedLink
from tests.portal.conftest import RECIPIENT


@dataclass(frozen=True)
class Scene:
    """What a robot can know: the link, the mail that brought it, and the page behind it."""

    link: MintedLink
    notice: EmailMessage
    page: str

    @property
    def text(self) -> str:
        """The plain text of the notice."""
        part = self.notice.get_body(("plain",))
        assert part is not None
        return str(part.get_content())


Values = Callable[[Scene], list[str]]


@dataclass(frozen=True)
class Robot:
    """``script`` runs in the page with the list of values; ``code`` says whether the link asks for an access code."""

    values: Values
    script: str
    code: bool = False
    scripting: bool = True
    extra: dict[str, str] = field(default_factory=dict)


# Sends every form of the page without leaving it, whatever the page's policy says, as the values come.
SEND = """async ({values, all, method}) => {
  for (const value of values) for (const form of document.forms) {
    const data = new URLSearchParams();
    for (const field of form.elements) if (field.name)
      data.append(field.name, field.type === 'hidden' && !all ? field.value : value);
    for (const name of EXTRA) data.append(name, value);
    const target = method === 'GET' ? form.action + '?' + data : form.action;
    await fetch(target, method === 'GET' ? {} : {method, body: data, redirect: 'follow'});
  }
}"""
WITH_EVERY_NAME = "['number', 'code', 'address', 'email', 'token', 'password', 'otp', 'q', 'search', 'confirm']"
SEND_EVERY_NAME = SEND.replace("EXTRA", WITH_EVERY_NAME)
SEND = SEND.replace("EXTRA", "[]")
# The choice of a language is the last form of a page: robots that send one form after the other would end with it.
NO_LANGUAGES = "document.querySelector('form.languages')?.remove();"
# Presses everything that can be pressed, with every field filled in, and stays for what comes.
PRESS = """async ({values}) => { NO_LANGUAGES
  for (const each of document.querySelectorAll('details')) each.open = true;
  for (const field of document.querySelectorAll('input:not([type=hidden])')) {
    field.removeAttribute('required'); field.value = values[0] || '';
    for (const kind of ['input', 'change', 'keydown', 'keyup', 'blur'])
      field.dispatchEvent(new Event(kind, {bubbles: true}));
  }
  for (const each of document.querySelectorAll('HOW')) each.click();
}""".replace("NO_LANGUAGES", NO_LANGUAGES)
PRESS_ALL = PRESS.replace("HOW", "a, button, summary, label, input, [onclick], [role=button]")
PRESS_LAST_BUTTON = PRESS.replace("HOW", "details button")
PRESS_BUTTONS = PRESS.replace("HOW", "button")
SUBMIT = """({values}) => { NO_LANGUAGES for (const form of document.forms) {
  for (const field of form.elements) if (field.type !== 'hidden') field.value = values[0] || '';
  HTMLFormElement.prototype.submit.call(form); } }""".replace("NO_LANGUAGES", NO_LANGUAGES)
REQUEST_SUBMIT = """({values}) => { NO_LANGUAGES for (const form of document.forms) { form.noValidate = true;
  for (const field of form.elements) if (field.type !== 'hidden') field.value = values[0] || '';
  form.requestSubmit(); } }""".replace("NO_LANGUAGES", NO_LANGUAGES)
SWAP_ACTIONS = """({values}) => { NO_LANGUAGES
  const [first, last] = [document.forms[0], document.forms[document.forms.length - 1]];
  const keep = first.action; last.action = keep;
  for (const field of last.elements) if (field.type !== 'hidden') field.value = values[0] || '';
  HTMLFormElement.prototype.submit.call(last); }""".replace("NO_LANGUAGES", NO_LANGUAGES)
PREFETCH = """async ({values}) => { for (const kind of ['prefetch', 'prerender', 'preload', 'dns-prefetch']) {
  const link = document.createElement('link'); link.rel = kind; link.as = 'document';
  link.href = location.href; document.head.append(link); }
  for (const rule of ['prefetch', 'prerender']) { const script = document.createElement('script');
    script.type = 'speculationrules';
    script.textContent = JSON.stringify({[rule]: [{source: 'list', eagerness: 'immediate',
      urls: [location.href, ...[...document.forms].map(form => form.action)]}]});
    document.head.append(script); }
  await new Promise(done => setTimeout(done, 50)); }"""
EMBED = """async () => { for (const [tag, name] of [['iframe', 'src'], ['img', 'src'], ['object', 'data'],
    ['embed', 'src'], ['script', 'src'], ['link', 'href']]) {
  const each = document.createElement(tag); each[name] = location.href; document.body.append(each); }
  navigator.sendBeacon(document.forms[0].action, new FormData(document.forms[0]));
  await new Promise(done => setTimeout(done, 50)); }"""


def _of_page(scene: Scene) -> list[str]:
    return re.findall(r"[\w@.-]{4,}", re.sub(r"<[^>]*>", " ", scene.page))[:4]


def _codes_of_page(scene: Scene) -> list[str]:
    return re.findall(r"\b[A-Z0-9]{4}-[A-Z0-9]{4}\b", scene.page)


def _headers(*names: str) -> Values:
    return lambda scene: [str(scene.notice[name] or "") for name in names]


def _fixed(*values: str) -> Values:
    return lambda _: list(values)


def _digits(text: Callable[[Scene], str]) -> Values:
    return lambda scene: [("".join(re.findall(r"\d", text(scene))) + "000000")[:6]]


def _halves(scene: Scene) -> list[str]:
    return scene.link.number.split()


def _one_time_codes(scene: Scene) -> list[str]:
    """What programs take for a code in a mail: four to eight digits or capitals that stand together."""
    return re.findall(r"\b(?:\d{4,8}|[A-Z0-9]{4}-[A-Z0-9]{4}|[A-Z0-9]{6,8})\b", scene.text)


def _likely_words(scene: Scene) -> list[str]:
    return re.findall(r"\b\w*\d\w*\b", scene.text)[:4]


MAILBOX = _fixed(RECIPIENT)
ROBOTS: dict[str, Robot] = {
    "the recipient's address": Robot(MAILBOX, SEND),
    "the recipient's address in capitals and in brackets": Robot(_fixed(RECIPIENT.upper(), f"<{RECIPIENT}>"), SEND),
    "name and address as a person": Robot(_fixed("Rita Roth", "rita", f"Rita <{RECIPIENT}>"), SEND),
    "a tester's values": Robot(_fixed("test", "test@example.com", "John Doe"), SEND),
    "numbers that come first": Robot(_fixed("123456", "000000", "111111", "654321"), SEND),
    "small numbers": Robot(_fixed("0", "1", "42"), SEND),
    "blanks": Robot(_fixed("", " ", "\u00a0"), SEND),
    "long values": Robot(_fixed("9" * 400, "x" * 5000), SEND),
    "words of the page": Robot(_of_page, SEND),
    "the example on the page": Robot(_codes_of_page, SEND, code=True),
    "the recipient's address as the code": Robot(MAILBOX, SEND, code=True),
    "the number of the notice as the code": Robot(lambda scene: [scene.link.number, *_halves(scene)], SEND, code=True),
    "the whole address of the link": Robot(lambda scene: [scene.link.token, f"/p/{scene.link.token}"], SEND),
    "digits of the link": Robot(_digits(lambda scene: scene.link.token), SEND),
    "headers of the mail": Robot(_headers("To", "From", "Subject"), SEND),
    "our own marks in the mail": Robot(_headers("Message-ID", "X-Restante-Notice", "Date"), SEND),
    "digits of the mail's id": Robot(_digits(lambda scene: str(scene.notice["Message-ID"])), SEND),
    "the day": Robot(_digits(lambda scene: str(scene.notice["Date"])), SEND),
    "one-time codes in the mail": Robot(_one_time_codes, SEND),
    "words with digits in the mail": Robot(_likely_words, SEND),
    "each half of the number": Robot(_halves, SEND),
    "hidden fields too": Robot(MAILBOX, SEND, extra={"all": "yes"}),
    "fields of every name": Robot(MAILBOX, SEND_EVERY_NAME),
    "fields of every name, with a number": Robot(_fixed("123456"), SEND_EVERY_NAME, code=True),
    "the forms as GET": Robot(MAILBOX, SEND, extra={"method": "GET"}),
    "the forms as PUT": Robot(MAILBOX, SEND, extra={"method": "PUT"}),
    "presses everything, fills nothing": Robot(_fixed(""), PRESS_ALL),
    "presses everything, filled in": Robot(MAILBOX, PRESS_ALL),
    "presses everything, with a code asked for": Robot(_fixed("7KQM-3XRT"), PRESS_ALL, code=True),
    "presses the buttons": Robot(_fixed("123456"), PRESS_BUTTONS),
    "asks for a fresh link": Robot(_fixed("123456"), PRESS_LAST_BUTTON),
    "submits past the browser's checks": Robot(_fixed(""), SUBMIT),
    "submits with an address past the checks": Robot(MAILBOX, SUBMIT),
    "asks to submit": Robot(MAILBOX, REQUEST_SUBMIT),
    "sends one form to the other's place": Robot(_fixed("123456"), SWAP_ACTIONS),
    "prefetches and prerenders": Robot(MAILBOX, PREFETCH),
    "embeds the page and sends a beacon": Robot(MAILBOX, EMBED),
}

CLIENTS: dict[str, tuple[str, str, dict[str, str], str | None]] = {
    "GET": ("GET", "", {}, None),
    "HEAD": ("HEAD", "", {}, None),
    "OPTIONS": ("OPTIONS", "", {}, None),
    "a range": ("GET", "", {"Range": "bytes=0-10"}, None),
    "a prefetch": ("GET", "", {"Sec-Purpose": "prefetch", "Purpose": "prefetch"}, None),
    "a prerender": ("GET", "", {"Sec-Purpose": "prefetch;prerender"}, None),
    "a preview": ("GET", "", {"User-Agent": "Slackbot-LinkExpanding 1.0"}, None),
    "GET of the form's target": ("GET", "/open", {}, None),
    "HEAD of the form's target": ("HEAD", "/open", {}, None),
    "POST to the page": ("POST", "", {}, "address=x"),
    "POST without a form key": ("POST", "/open", {}, "number=123456"),
    "POST of a fresh link without a form key": ("POST", "/fresh", {}, "number=123456"),
}
