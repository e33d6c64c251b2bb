"""A capture of all SMTP traffic of a notice in clear, replayed with everything that a program can think of.

The capture is what the peers' hosts read outside of TLS: every byte of every connection of this site to others.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, product
from urllib.parse import quote, urlsplit

import pytest
from sqlalchemy import func, select
from werkzeug.routing import Rule

from restante.store.models import (
    AdminSession,
    DeliveryState,
    Enrolment,
    PickupSession,
    RecipientSession,
    Reply,
    SenderSession,
)
from restante_portal.application import create_app
from restante_portal.context import portal_of
from tests.e2e.test_held import Waiting, assert_opens
from tests.e2e.visitor import CODE, Answer, Visitor, number_in, text_of, token_in, tokens_in
from tests.e2e.world import World
from tests.lab.lab import SITE
from tests.lab.peers import Peer
from tests.lab.waiting import wait_until

# Where a door that has opened leads to, and some that have not, so that one has to look.
DOORS = {"/message", "/inbox", "/sent", "/message/reply/sent", "/admin/", "/enrol"}
COOKIES = ("restante", "restante-pickup", "restante-sender", "restante-inbox", "restante-admin")
FIELDS = "answer proof phrase act action delivery window text name greeting setup days to email token files reply stamp"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")
PREFETCH = {"Sec-Purpose": "prefetch;prerender", "Range": "bytes=0-"}


@dataclass(frozen=True)
class Capture:
    """What was read, with its parts decoded; ``words`` is all that could be typed, likely codes and numbers first."""

    raw: bytes

    @classmethod
    def of(cls, world: World) -> Capture:
        return cls(b"\n".join(one.clear_bytes() for one in world.lab.peers if one.domain != SITE))

    @property
    def texts(self) -> list[str]:
        found = [self.raw, quopri.decodestring(self.raw)]
        for block in re.findall(rb"[A-Za-z0-9+/=\r\n]{40,}", self.raw):
            with contextlib.suppress(ValueError):
                found.append(base64.b64decode(block))
        return [each.decode("latin-1") for each in found]

    @property
    def words(self) -> list[str]:
        found: set[str] = set()
        for text in self.texts:
            found |= {*text.split(), *CODE.findall(text), *re.findall(r"\d{3}(?: \d{3})+", text)}
            found |= {word.strip("<>,;:=\"'.") for word in text.split()}
        likely = sorted(word for word in found if 3 <= len(word) <= 300)
        return sorted(likely, key=lambda word: (not CODE.fullmatch(word), not word[:3].isdigit(), len(word) != 8))

    @property
    def addresses(self) -> list[str]:
        """Of the web, as they stand there, also cut by the end of a line within the path."""
        found = {one for text in self.texts for one in re.findall(r"https?://[\w.-]+:\d+/[^\s\"'<>]*", text)}
        return sorted(one for one in found if one.isascii())

    def tokens(self) -> list[str]:
        return sorted(tokens_in(self.raw))


class Thief:
    """Somebody who has the capture, at an address that changes, so that no limit of one stops another."""

    _hosts = count(1)

    def __init__(self, world: World, waiting: Waiting) -> None:
        self._world, self._waiting = world, waiting
        self.tries = 0

    def client(self) -> Visitor:
        """A browser without cookies, in a network of its own."""
        return Visitor(self._world.services.portal_url, f"127.9.{next(self._hosts)}.1")

    def judge(self, client: Visitor, answer: Answer, *what: object) -> None:
        """Nothing was opened, and nothing broke."""
        self.tries += 1
        assert answer.status < 500, (answer.status, what)
        if answer.location.partition("?")[0] in DOORS:
            assert client.get(answer.location).status in {303, 403}, (answer.location, what)
        assert self._world.marker not in answer.text, what
        assert not {"Content-Disposition", "Content-Range"} & set(answer.headers), what

    def follow(self, capture: Capture) -> None:
        """Every address in the capture, by every method."""
        for address, headers in product(capture.addresses, ({}, PREFETCH)):
            client = self.client()
            for method in METHODS:
                self.judge(client, client.request(method, address, headers=headers), method, address)

    def type_words(self, capture: Capture) -> None:
        """What looks most like a code, into every field that takes one: as many as the limits let pass, and more."""
        for token in capture.tokens():
            client = self.client()
            for word in capture.words[:3]:
                for number in (word, self._waiting.number):
                    self.judge(client, client.open(token, word, number), "open", word)
                    self.judge(client, client.submit("/", "/open", number=number, code=word), "by number", word)

    def fire(self, rules: list[Rule], capture: Capture) -> None:
        """Every route of the portal, with what the capture has in the place of every argument and every field."""
        client, word = self.client(), capture.words[0]
        notice = self._world.notices(self._waiting.recipient)[-1]
        mark = str(notice.message["X-Restante-Notice"])
        recipient = self._waiting.recipient
        key = self._key(client, f"/p/{self._waiting.token}")
        common = {"form_key": key, "number": self._waiting.number, "address": recipient}
        for rule, argument in product(rules, (self._waiting.token, self._waiting.number, mark)):
            if "<" not in rule.rule and argument != self._waiting.token:
                continue
            path = re.sub(r"<int:\w+>", "1", rule.rule)
            path = re.sub(r"<(\w+:)?\w+>", quote(argument, safe=""), path)
            form = common | dict.fromkeys(("code", "password", *FIELDS.split()), word)
            if path.endswith("/fresh"):
                continue  # :meth:`ask`: this is granted to who has the notice, and leads to the same mailbox
            for method in sorted({*(rule.methods or ()), "POST", "PUT"} - {"OPTIONS"}):
                body = form if method in {"POST", "PUT"} else None
                self.judge(client, client.request(method, path, body), method, path)

    def _key(self, client: Visitor, page: str) -> str:
        found = re.search(r'name="form_key" value="([^"]+)"', client.get(page).text)
        return found.group(1) if found else ""

    def forge_cookies(self, capture: Capture) -> None:
        """What was read, as the secret of every cookie."""
        values = [*capture.tokens(), self._waiting.number.replace(" ", ""), *capture.words[:4]]
        for value, path in product(values, ("/message", "/message.eml", "/message/body", "/sent", "/inbox", "/admin/")):
            safe = quote(value, safe="")
            cookie = "; ".join(f"{prefix}{name}={safe}" for prefix in ("", "__Host-") for name in COOKIES)
            client = self.client()
            self.judge(client, client.request("GET", path, headers={"Cookie": cookie}), path, value)

    def speak_raw(self) -> None:
        """Without a library that minds the rules: HTTP/1.0, no Host, two Hosts, pipelined, absolute addresses."""
        address = urlsplit(self._world.services.portal_url)
        link = f"/p/{self._waiting.token}"
        body = f"number={self._waiting.number.replace(' ', '')}"
        host = f"Host: {address.netloc}\r\n"
        form = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        for request in (
            f"GET {link} HTTP/1.0\r\n\r\n",
            f"POST {link}/open HTTP/1.0\r\n{form}",
            f"POST {link}/open HTTP/1.1\r\n{host}{host}{form}",
            f"GET {link} HTTP/1.1\r\n{host}\r\nPOST {link}/open HTTP/1.1\r\n{host}{form}",
            f"POST http://{address.netloc}{link}/open HTTP/1.1\r\n{host}{form}",
            f"POST {link}/open HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n{form}",
        ):
            connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
            with contextlib.closing(connection), contextlib.suppress(OSError):
                connection.connect()
                connection.sock.sendall(request.encode())
                said = connection.sock.recv(65_536)
                assert self._world.marker.encode() not in said
                assert b"restante-pickup=" not in said
                self.tries += 1

    def ask(self) -> None:
        """For a fresh link, to himself."""
        page, form = f"/p/{self._waiting.token}", {"number": self._waiting.number, "to": "mallory@evil.example"}
        assert self.client().submit(page, f"{page}/fresh", **form).location == "/asked"


def _sessions(world: World) -> int:
    """How many doors stand open for anybody."""
    tables = (PickupSession, RecipientSession, SenderSession, AdminSession, Enrolment, Reply)
    with world.store.read() as session:
        return sum(session.scalar(select(func.count()).select_from(table)) or 0 for table in tables)


@pytest.fixture
def rules(world: World) -> Iterator[list[Rule]]:
    """Every route that the portal has, also those of later versions."""
    app = create_app(world.services.settings, store=world.store)
    yield [rule for rule in app.url_map.iter_rules() if rule.endpoint != "static"]
    portal_of(app).explainer.close()


@pytest.fixture
def peer(world: World) -> Peer:
    """A recipient's MTA without TLS."""
    return world.peer("clear")


@pytest.mark.behaviour("P4")
@pytest.mark.behaviour("P5")
def test_who_captured_all_smtp_traffic_outside_of_tls_opens_nothing(
    world: World, peer: Peer, rules: list[Rule]
) -> None:
    waiting = Waiting(world, f"carol@{peer.domain}")
    thief = Thief(world, waiting)
    sessions = _sessions(world)
    for notices in (1, 2):
        capture = Capture.of(world)
        assert waiting.token in capture.tokens()  # the notice itself did cross in clear
        assert waiting.number.encode() in capture.raw
        for secret in (waiting.code, waiting.code.replace("-", ""), world.marker):
            assert all(secret not in text for text in capture.texts)
        thief.follow(capture)
        thief.type_words(capture)
        if notices == 1:
            thief.forge_cookies(capture)
            thief.fire(rules, capture)
            thief.speak_raw()
        assert world.states() == {waiting.recipient: DeliveryState.HELD}
        assert _sessions(world) == sessions
        if notices == 1:
            thief.ask()
            wait_until(lambda: len(world.notices(waiting.recipient)) == 2, 15, "the second notice")
            world.settle()
            newest = world.notices(waiting.recipient)[-1]
            waiting.token, waiting.number = token_in(newest), number_in(newest)
    assert thief.tries > 300
    assert {one.recipients for one in peer.mails()} == {(waiting.recipient,)}
    assert not {"became-opened", "froze", "became-recalled", "extended"} & set(world.audit())
    assert "access code" in text_of(world.notices(waiting.recipient)[-1])
    assert_opens(world, waiting)
