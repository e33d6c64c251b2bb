"""A whole life of messages in the running services, and everything that they leave behind searched for its secrets.

The life: held, notices, wrong codes, opened, read, downloaded, answered with a draft and a reply, enrolled with
password and one-time codes, signed in, opened from the inbox, the sender's page, a new code, frozen, freed, recalled,
expired; and requests that are refused, by the application or by the server before it, with secrets in their addresses.

Searched for, in the forms of :mod:`tests.canaries`: words of subject, body and attachments, names of files and of
people, an address that stands in the message alone, draft, reply and its file, tokens of recipients' and senders'
links, access codes, numbers of notices, password and key of one-time codes, greeting, and the secrets of cookies.

Searched in, contents and names:

- the database, its write-ahead log, shared memory and journal, the key ring and its journal, settings and all other
  files below the installation's folder;
- what milter, worker and portal wrote to standard output and error, which is all the logs that there are: none writes
  an access log; and the MTA's log.  Postfix's queue is not searched, since what passes it is the message itself;
- temporary files: named ones at the end, and unnamed ones that a process of the services has open, whenever they are
  looked at while messages and uploads are under way;
- environment and command line of each process, as a core dump would hold them.  A core dump itself cannot be had: each
  process is looked at for the limit of zero; that they are not dumpable at all is in tests/core/test_dumps.py.

There are no metrics: no route of the portal and no file gives any.  The Referer is in tests/portal/test_referer.py, the
files of PostgreSQL in tests/portal/test_canary.py.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from email.message import EmailMessage
from itertools import count
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest
from sqlalchemy import update

from restante.store.models import DeliveryState, Message
from tests.canaries import Search, tree_of, unnamed_files
from tests.e2e.test_held import Waiting, visitor
from tests.e2e.visitor import CODE, NUMBER, Visitor, number_in, text_of, token_in, tokens_in
from tests.e2e.world import SENDER, World
from tests.lab.lab import SITE
from tests.lab.services import Service
from tests.lab.waiting import wait_until
from tests.portal.authenticator import app_code

PAUSE_SECONDS = 0.03
LARGE = 3_000_000  # what the milter and the portal no longer keep in memory


class Secrets:
    """What must be found nowhere; each with a name under which it is reported."""

    def __init__(self, core: str) -> None:
        self.core = core
        self.said = f'Käse & "{core}" +1'
        self.found: dict[str, str | bytes] = {
            "a canary": core,
            "a canary in Cc": core.lower(),
            "what is said": self.said,
        }
        self._numbers = count(1)

    def keep(self, name: str, *secrets: str | bytes) -> None:
        """These are secret as well."""
        self.found |= {f"{name} {next(self._numbers)}": secret for secret in secrets if secret}

    def keep_notices(self, world: World, *recipients: str) -> None:
        for notice in [one for each in (SENDER, *recipients) for one in world.notices(each)]:
            self.keep("link", *tokens_in(notice.content))
            self.keep("number", *NUMBER.findall(text_of(notice)))
            self.keep(
                "code", *(form for code in CODE.findall(text_of(notice)) for form in (code, code.replace("-", "")))
            )

    def keep_cookies(self, browser: Visitor) -> None:
        for name, value in browser.cookies().items():
            self.keep(f"cookie {name}", *(part for part in value.split(".") if len(part) > 12))

    @property
    def password(self) -> str:
        return f"{self.core} Kennwort 42"


def _letter(world: World, recipient: str, secrets: Secrets) -> EmailMessage:
    message = world.sensitive(recipient)
    subject = str(message["Subject"])
    for name in ("From", "Subject"):
        del message[name]
    message["From"] = f"Anna {secrets.core} <{SENDER}>"
    message["Cc"] = f"Otto <{secrets.core.lower()}@elsewhere.example>"
    message["Subject"] = f"{subject} {secrets.said}"
    message.add_alternative(
        f"<p>{secrets.said}</p><a href='https://clinic.example/{secrets.core}'>x</a>", subtype="html"
    )
    message.add_attachment(_filled(secrets), maintype="application", subtype="x", filename=f"{secrets.said}.bin")
    return message


def _filled(secrets: Secrets) -> bytes:
    line = f"{secrets.said}\r\n".encode()
    return line * (LARGE // len(line))


def _processes(world: World) -> dict[int, Service]:
    """Every process of every service."""
    return {one: each for each in Service for one in tree_of(world.services.process(each).pid)}


class Watch:
    """Looks into the unnamed files of all services; ``hits`` is what it found of a secret, ``largest`` in bytes."""

    def __init__(self, world: World, secret: str) -> None:
        self._world, self._search = world, Search({"a canary": secret})
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.hits: set[str] = set()
        self.largest = 0

    def _run(self) -> None:
        while not self._over.wait(PAUSE_SECONDS):
            for process, service in _processes(self._world).items():
                for content in unnamed_files(process):
                    self.largest = max(self.largest, len(content))
                    self.hits |= {f"{hit} in {service}" for hit in self._search.hits(content)}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _read(world: World, waiting: Waiting, secrets: Secrets) -> Visitor:
    """Open it with a wrong code and then the right one; fetch everything that the page names."""
    browser = visitor(world)
    assert browser.open(waiting.token, "AAAA-AAAA").status == 403
    assert browser.open(waiting.token, waiting.code).status == 303
    secrets.keep_cookies(browser)
    page = browser.get("/message").text
    assert secrets.core in page
    paths = set(re.findall(r'(?:href|src)="(/message[^"]*)"', page))
    kinds = {path.partition("?")[0].rstrip("/0123456789") for path in paths}
    assert kinds >= {"/message.eml", "/message/body", "/message/attachments"}
    for path in sorted(paths):
        assert browser.get(path).status == 200
    assert secrets.core.encode() in browser.get("/message.eml", Range="bytes=0-9999").body
    return browser


def _answer(world: World, browser: Visitor, secrets: Secrets, watch: Watch) -> None:
    """A draft, once more where nobody looked at the right moment, and then a reply with a file that the sender gets."""

    def fields() -> dict[str, str]:
        page = browser.get("/message/reply").text
        return dict(re.findall(r'<input type="hidden" name="(form_key|reply|stamp)" value="([^"]*)"', page))

    def upload(action: str, place: str) -> None:
        form = {**fields(), "action": action, "text": f"{action} {secrets.said}"}
        answer = browser.upload("/message/reply", form, f"{secrets.core}-{action}.bin", _filled(secrets))
        assert (answer.status, answer.location.partition("?")[0]) == (303, place)

    upload("save", "/message/reply")
    for _ in range(30):
        if watch.largest > LARGE // 10:
            break
        upload("save", "/message/reply")
    upload("send", "/message/reply/sent")
    home = world.lab.peer(SITE)
    home.wait_for_mails(1, 90, lambda one: str(one.message["Subject"]).startswith("Re: "))


def _enrol(browser: Visitor, secrets: Secrets) -> str:
    """Set a password with one-time codes, and a greeting; the key that the app has."""
    [path] = set(re.findall(r'href="(/enrol\?window=[0-9a-f]+)"', browser.get("/message").text))
    page = browser.get(path).text
    key = page.partition('<p class="address" dir="ltr"><a href="')[2].partition(">")[2].partition("<")[0]
    [setup] = re.findall(r'name="setup" value="([^"]*)"', page)
    form = {"act": "password", "setup": setup, "password": secrets.password, "code": app_code(key, time.time())}
    assert browser.submit(path, path, **form).location == "/enrol?done=1"
    secrets.keep("password or key of one-time codes", secrets.password, key, key.replace(" ", ""))
    secrets.keep("key of one-time codes", base64.b32decode(key.replace(" ", "")))
    assert browser.submit("/enrol", "/enrol", act="greeting", greeting=secrets.said).status == 303
    secrets.keep_cookies(browser)
    return key


def _sign_in(world: World, key: str, address: str, secrets: Secrets) -> None:
    """From another browser, and open what waits."""
    browser = visitor(world, "127.0.5.1")
    form = {"address": address, "password": secrets.password}
    assert browser.submit("/sign-in", "/sign-in", **form, code="000000").status == 403
    assert browser.submit("/sign-in", "/sign-in", **form, code=app_code(key, time.time() + 30)).location == "/inbox"
    path = re.findall(r'action="(/inbox/[0-9a-f]+/open)"', browser.get("/inbox").text)[0]
    assert browser.submit("/inbox", path).status == 303
    assert secrets.core in browser.get("/message").text
    secrets.keep_cookies(browser)


def _steer(world: World, waiting: Waiting, delivery: str, secrets: Secrets) -> None:
    """It was not me; and the sender's page with everything that it can do."""
    stranger = visitor(world, "127.0.6.1")
    told = stranger.submit(f"/p/{waiting.token}", f"/p/{waiting.token}/history", code=waiting.code)
    [proof] = set(re.findall(r'name="proof" value="([^"]+)"', told.text))
    secrets.keep("proof", proof)
    assert stranger.submit(f"/p/{waiting.token}", f"/p/{waiting.token}/not-me", proof=proof).location == "/frozen"
    notices = [one for one in world.notices(SENDER) if waiting.recipient in text_of(one)]
    token, number = token_in(notices[0]), number_in(notices[0])
    secrets.keep("sender's link or number", token, number)
    sender = visitor(world, "127.0.7.1")
    assert sender.submit(f"/s/{token}", f"/s/{token}/open", number="000 000").status == 403
    assert sender.submit(f"/s/{token}", f"/s/{token}/open", number=number).status == 303
    secrets.keep_cookies(sender)
    for action in ("lift", "code", "resend", "extend", "receipts", "recall"):
        answer = sender.submit("/sent", "/sent", action=action, delivery=delivery, days="3")
        assert answer.status in {200, 303}, action
        page = answer.text or sender.get(answer.location or "/sent").text
        secrets.keep("new code", *(form for code in CODE.findall(page) for form in (code, code.replace("-", ""))))
    assert DeliveryState.RECALLED in [one.state for one in world.held() if one.delivery_id == delivery]


def _misuse(world: World, waiting: Waiting) -> None:
    """Requests that bring secrets where they do not belong, and that something refuses."""
    browser = visitor(world, "127.0.8.1")
    token, code = waiting.token, waiting.code
    for method, path in (
        ("GET", f"/p/{token}?code={code}"),
        ("GET", f"/p/{token}/nowhere/{code}"),
        ("GET", f"/open?number={waiting.number.replace(' ', '+')}&code={code}"),
        ("POST", f"/p/{token}/open"),
        ("PUT", f"/p/{token}/{code}"),
        ("GET", f"/s/{token}"),
        ("GET", f"/p/{token}%00%ff"),
    ):
        assert browser.request(method, path, headers={"Referer": f"{browser.url}/p/{token}"}).status < 500
    address = urlsplit(browser.url)
    for line in (
        f"GET /p/{token}?{'x' * 5000} HTTP/1.1",
        f"GET /p/{token} HTTP/9.9\r\nX",
        f"\0 /p/{token}",
        f"G{token}",
    ):
        raw = http.client.HTTPConnection(str(address.hostname), address.port or 80, timeout=10)
        with contextlib.closing(raw), contextlib.suppress(OSError):
            raw.connect()
            raw.sock.sendall(f"{line}\r\nHost: {address.netloc}\r\nCookie: a={token}\r\n\r\n".encode())
            raw.sock.recv(4096)


def _expire(world: World, waiting: Waiting) -> None:
    with world.store.write() as session:
        session.execute(update(Message).values(expires_at=1.0))
    world.services.restart(Service.WORKER)  # it looks for what has expired at its start and then every minute
    world.wait_until_held(waiting.recipient, DeliveryState.EXPIRED, 90)


def _files(world: World) -> Iterator[Path]:
    """Everything that the site keeps: not the peers' records nor Postfix's queue."""
    for path in world.lab.directory.rglob("*"):
        inside = path.relative_to(world.lab.directory).parts
        if path.is_file() and inside[0] != "peers" and inside[:2] != ("postfix", "spool"):
            yield path
    ring = world.services.settings.ring_path
    yield from (path for path in ring.parent.rglob("*") if path.is_file())
    yield from (path for path in Path(tempfile.gettempdir()).glob("restante-*") if path.is_file())


@pytest.mark.behaviour("P11")
def test_a_whole_life_leaves_no_secret_anywhere(world: World) -> None:
    secrets = Secrets(world.marker)
    domain = world.peer("clear").domain
    carol, dave = f"carol@{domain}", f"dave@{domain}"
    with Watch(world, secrets.core) as watch:
        first = Waiting(world, carol, _letter(world, carol, secrets))
        late = Waiting(world, dave, _letter(world, dave, secrets))
        browser = _read(world, first, secrets)
        _answer(world, browser, secrets, watch)
    delivery = world.wait_until_held(carol, DeliveryState.OPENED).delivery_id
    assert (watch.hits, watch.largest > LARGE // 10) == (set(), True)
    key = _enrol(browser, secrets)
    assert world.send(_letter(world, carol, secrets), carol).accepted
    wait_until(lambda: len(world.held(recipient=carol)) == 2, 90, "the second message to be held")
    _sign_in(world, key, carol, secrets)
    _misuse(world, late)
    secrets.keep_notices(world, carol, dave)
    processes = _processes(world)
    files = _search_all(world, secrets, processes)
    assert {"restante.db", "restante.db-wal", "mail.log", *(f"restante-{each}.log" for each in Service)} <= files
    _steer(world, first, delivery, secrets)
    _expire(world, late)
    secrets.keep_notices(world, carol, dave)
    assert {"ring.db", "ring.db-journal"} <= _search_all(world, secrets, processes | _processes(world))
    assert {name.rstrip("0123456789 ") for name in secrets.found} >= {
        "new code",
        "proof",
        "cookie restante-pickup",
        "code",
    }


def _search_all(world: World, secrets: Secrets, processes: Mapping[int, Service]) -> set[str]:
    """Finds nothing in files, in processes; the names of the files."""
    search = Search(secrets.found)
    files = list(_files(world))
    assert search.in_files(files) == {}
    assert set(processes.values()) == set(Service)
    for process, service in processes.items():
        for place in ("environ", "cmdline"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                assert search.hits(Path(f"/proc/{process}/{place}").read_bytes()) == set(), (service, place)
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            limits = Path(f"/proc/{process}/limits").read_text(encoding="ascii")
            assert re.search(r"(?m)^Max core file size +0 +0 ", limits), (service, limits)
    envelope = Search({"recipient": next(one.recipient for one in world.held())})
    # In the log or, once it was moved on, in the database itself.
    assert any("/restante.db" in path for path in envelope.in_files(files)), "it finds what is there"
    return {path.name for path in files}
