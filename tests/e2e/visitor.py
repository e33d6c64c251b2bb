"""A browser without a screen: cookies, forms and no redirects followed; and what people read out of their notices."""

from __future__ import annotations

import html
import http.client
import http.cookiejar
import quopri
import re
import secrets
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message

from tests.lab.peers import ReceivedMail

SECONDS = 60
_FORM_KEY = re.compile(r'name="form_key" value="([^"]+)"')
_LINK = re.compile(r"https?://[^\s\"<>]+/[ps]/([A-Za-z0-9_-]{20,})")
NUMBER = re.compile(r"(?m)^  (\d{3}(?: \d{3})+)$")
CODE = re.compile(r"\b[2-9A-HJ-NP-TV-Z]{4}-[2-9A-HJ-NP-TV-Z]{4}\b")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the portal said."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        """The body, as text with its character references resolved."""
        return html.unescape(self.body.decode("utf-8", "replace"))

    @property
    def location(self) -> str:
        """Where a redirect leads; empty for anything else."""
        return self.headers["Location"] or ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


class _From(urllib.request.HTTPHandler):
    """Connects from one of this host's own addresses, of which it has 16 million: another client for each."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source = source

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(http.client.HTTPConnection, request, source_address=(self._source, 0))


class Visitor:
    """One browser at the portal ``url``, whose address is ``source``."""

    def __init__(self, url: str, source: str = "127.0.0.1") -> None:
        self.url = url
        self._jar = http.cookiejar.CookieJar()
        jar = urllib.request.HTTPCookieProcessor(self._jar)
        plain = urllib.request.ProxyHandler({})
        self._opener = urllib.request.build_opener(jar, _NoRedirect, plain, _From(source))

    def cookies(self) -> dict[str, str]:
        """The cookies that this browser has, by name."""
        return {cookie.name: cookie.value or "" for cookie in self._jar}

    def request(
        self,
        method: str,
        path: str,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, whatever the answer."""
        data = urllib.parse.urlencode(form).encode() if form is not None else None
        return self._send(method, path, data, headers)

    def upload(self, path: str, form: Mapping[str, str], name: str, content: bytes) -> Answer:
        """POST a form with a file, as multipart/form-data (RFC 7578)."""
        boundary = secrets.token_hex(16)
        fields = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
            for field, value in form.items()
        )
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        data = (fields + head).encode() + content + f"\r\n--{boundary}--\r\n".encode()
        return self._send("POST", path, data, {"Content-Type": f"multipart/form-data; boundary={boundary}"})

    def _send(self, method: str, path: str, data: bytes | None, headers: Mapping[str, str] | None) -> Answer:
        address = urllib.parse.urljoin(f"{self.url}/", path)
        request = urllib.request.Request(address, data=data, headers=dict(headers or {}), method=method)
        try:
            with self._opener.open(request, timeout=SECONDS) as response:
                return Answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def get(self, path: str, **headers: str) -> Answer:
        """GET ``path``; ``headers`` with underscores for dashes."""
        return self.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def submit(self, page: str, path: str, **form: str) -> Answer:
        """Look at ``page``, then send its form to ``path`` with the fields given."""
        found = _FORM_KEY.search(self.get(page).text)
        return self.request("POST", path, {"form_key": found.group(1) if found else "", **form})

    def open(self, token: str, code: str = "", number: str = "") -> Answer:
        """Open a link as a person does: from its page, with the code, or where there is none the notice's number."""
        form = {"code": code, "number": number}
        return self.submit(f"/p/{token}", f"/p/{token}/open", **{name: text for name, text in form.items() if text})

    def sign_in(self, name: str, password: str) -> None:
        """Sign in as an administrator."""
        answer = self.submit("/admin/sign-in", "/admin/sign-in", name=name, password=password)
        assert answer.status == 303, answer.text

    def act(self, action: str, delivery_id: str, **form: str) -> Answer:
        """Do something with one held copy, as the reviewer's buttons do."""
        return self.submit("/admin/", "/admin/act", action=action, delivery=delivery_id, **form)


def text_of(received: ReceivedMail) -> str:
    """The plain text of a notice."""
    part = received.message.get_body(("plain",))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def token_in(received: ReceivedMail) -> str:
    """The token of the link in a notice to a recipient."""
    found = _LINK.search(text_of(received))
    assert found is not None, text_of(received)
    return found.group(1)


def number_in(received: ReceivedMail) -> str:
    """The number of a notice to a recipient."""
    found = NUMBER.search(text_of(received))
    assert found is not None, text_of(received)
    return found.group(1)


def code_for(received: ReceivedMail, recipient: str) -> str:
    """The access code for ``recipient`` in a notice to the sender."""
    _, named, after = text_of(received).partition(f"{recipient} needs this access code")
    found = CODE.search(after)
    assert named, text_of(received)
    assert found is not None, after
    return found.group()


def tokens_in(raw: bytes) -> set[str]:
    """Every token that stands in ``raw``, as it is and with quoted-printable undone."""
    return {token for text in (raw, quopri.decodestring(raw)) for token in _LINK.findall(text.decode("latin-1"))}
