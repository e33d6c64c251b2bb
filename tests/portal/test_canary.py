"""A whole life of a message on either database, whose files are then searched for everything that is secret in it.

The life: held, notice, wrong code, opened, read, downloaded, answered with a draft and a reply, enrolled with password
and one-time codes, signed in, opened from the inbox, the sender's page, frozen, freed, recalled, expired.

Searched for, in the forms of :mod:`tests.canaries`: words of subject, body and attachment, file names, names of people
and an address that stand in the message alone (recipients of the envelope are plain by design), tokens of recipients'
links and of the sender's, access codes, numbers of notices, password and key of one-time codes, greeting, draft, reply
and name and content of its file, and the secrets of every cookie.

Searched in, while it lives and at its end: SQLite's database, write-ahead log, shared memory and journals; of
PostgreSQL the files of the database, the write-ahead log from the test's beginning on, what it spills to temporary
files and its own log; and all that the portal wrote to standard output and error.  Processes, their logs, temporary
files and environments are looked at in tests/e2e/test_canary.py, where they run in earnest.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.policy import SMTP
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import update

from restante.store import holding, sender_links
from restante.store.models import Delivery, DeliveryState, Message
from restante_milter import reply_sender
from restante_portal.application import create_app
from restante_portal.context import portal_of
from tests.canaries import Search, forms
from tests.portal.authenticator import app_code
from tests.portal.conftest import RECIPIENT, Browser, make_post, make_settings
from tests.portal.test_enrolled import by_password, open_from_inbox, set_password
from tests.portal.test_openings import ask_history, proof_in, say_not_me
from tests.portal.test_reply import Place, Writer
from tests.portal.test_sender import act, enter
from tests.postgres import TemporaryPostgres

CORE = "QUOKKA-5f1e77a0"
SAID = f'Käse & "{CORE}" +1'
OTHER = "otto@patients.example"
PASSWORD = f"{CORE} Kennwort 42"
PLAIN = {"the recipient on the envelope": RECIPIENT, "the sender on the envelope": "anna@clinic.example"}


def _letter() -> bytes:
    message = EmailMessage()
    message["From"] = f"Anna {CORE} <anna@clinic.example>"
    message["To"] = f"Rita {CORE} <{RECIPIENT}>"
    message["Cc"] = f"{CORE.lower()}@elsewhere.example"
    message["Subject"] = SAID
    message.set_content(f"Guten Tag,\n{SAID}\n" * 50)
    message.add_alternative(f"<p>{SAID}</p><a href='https://clinic.example/{CORE}'>x</a>", subtype="html")
    message.add_attachment(f"{SAID}\r\n".encode() * 4000, maintype="a", subtype="b", filename=f"{SAID}.txt")
    return message.as_bytes(policy=SMTP)


class Life:
    """A message's life; ``secrets`` grows with what comes into being, ``stage`` is called between its parts."""

    def __init__(self, place: Place, stage: Callable[[dict[str, str | bytes]], None]) -> None:
        self.place, self.post, self._stage = place, place.post, stage
        self.secrets: dict[str, str | bytes] = {
            "all canaries": CORE,
            "the address in Cc": CORE.lower(),
            "what is said": SAID,
        }
        self.secrets |= {"password": PASSWORD}
        self._numbers = count(1)

    def keep(self, name: str, *secrets: str | bytes | None) -> None:
        """These are secret from now on."""
        self.secrets |= {f"{name} {next(self._numbers)}": secret for secret in secrets if secret}

    def keep_link(self, link: Any) -> Any:
        code = link.code or ""
        self.keep("link, code or number", link.token, code, code.replace("-", ""), link.number)
        return link

    def keep_cookies(self, browser: Browser) -> None:
        for cookie in (browser.client._cookies or {}).values():  # werkzeug asks for each by its name
            self.keep(f"cookie {cookie.key}", *(part for part in cookie.value.split(".") if len(part) > 12))

    def live(self) -> None:
        """All of it, from the first to the last."""
        summary = {"subject": SAID, "attachments": [f"{SAID}.txt"], "from": f"Anna {CORE}"}
        one, two, three = (
            self.post.hold(_letter(), recipients=(each,), summary=summary)[0] for each in (RECIPIENT, RECIPIENT, OTHER)
        )
        link = self.keep_link(self.post.link(one, code=True))
        self._stage(self.secrets)
        writer = self._read(link)
        self._stage(self.secrets)
        self._answer(writer)
        self._stage(self.secrets)
        self._enrol(writer.browser, two)
        self._stage(self.secrets)
        self._steer(one, link)
        self._end(three, two)
        self._stage(self.secrets)

    def _read(self, link: Any) -> Writer:
        browser = self.place.visitor()
        assert browser.open(link, "AAAA-AAAA").status_code == 403
        assert browser.open(link, link.code).status_code == 303
        self.keep_cookies(browser)
        page = browser.get("/message").text
        assert CORE in page
        paths = {path.replace("&amp;", "&") for path in re.findall(r'(?:href|src)="(/message[^"]*)"', page)}
        kinds = {path.partition("?")[0].rstrip("/0123456789") for path in paths}
        assert kinds >= {"/message.eml", "/message/body", "/message/attachments"}
        for path in sorted(paths):
            assert browser.get(path).status_code == 200, path
            browser.get(path, headers={"Range": "bytes=10-99"})
        return Writer(browser)

    def _answer(self, writer: Writer) -> None:
        assert writer.act("save", f"draft {SAID}", ((f"{CORE}-draft.txt", SAID.encode() * 999),)).status_code == 303
        self._stage(self.secrets)
        reply = writer.act("send", f"answer {SAID}", ((f"{CORE}-reply.txt", SAID.encode() * 9999),))
        assert reply.location.startswith("/message/reply/sent")
        self._stage(self.secrets)
        [(_, _, mail)] = self.place.mails()
        assert CORE in str(mail.get_body(("plain",)))

    def _enrol(self, browser: Browser, delivery_id: str) -> None:
        done, key = set_password(
            browser,
            "/enrol?" + browser.get("/message").text.partition("/enrol?")[2].partition('"')[0],
            self.post.clock.now,
            PASSWORD,
        )
        assert done.location == "/enrol?done=1"
        self.keep("key of one-time codes", key.replace(" ", ""), key, base64.b32decode(key.replace(" ", "")))
        browser.post("/enrol", {"act": "greeting", "greeting": SAID}, form_key=browser.form_key("/enrol"))
        self.keep_cookies(browser)
        self.post.clock.now += 60
        elsewhere = self.place.visitor()
        assert by_password(elsewhere, app_code(key, self.post.clock.now), PASSWORD).location == "/inbox"
        assert open_from_inbox(elsewhere, delivery_id).status_code == 303
        assert CORE in elsewhere.get("/message").text
        self.keep_cookies(elsewhere)

    def _steer(self, delivery_id: str, used: Any) -> None:
        with self.post.store.read() as session:
            message_id = session.get_one(Delivery, delivery_id).message_id
        link = sender_links.mint(self.post.store, message_id, b"digest", now=self.post.clock())
        self.keep("sender's link or number", link.token, link.number)
        browser = self.place.visitor()
        told = ask_history(browser, used.token, used.code)
        self.keep("proof", proof_in(told.text))
        assert say_not_me(browser, used.token, proof_in(told.text)).location == "/frozen"
        sender = self.place.visitor()
        assert enter(sender, link).status_code == 303
        self.keep_cookies(sender)
        for action in ("lift", "resend", "extend", "receipts"):
            assert act(sender, action, delivery_id, days="3").status_code in {200, 303}, action
        shown = act(sender, "code", delivery_id)
        page = sender.get(shown.location).text if shown.location else shown.text
        [code] = set(re.findall(r"\b[2-9A-HJ-NP-TV-Z]{4}-[2-9A-HJ-NP-TV-Z]{4}\b", page))
        self.keep("new code", code, code.replace("-", ""))
        self.post.send_notices()
        self.keep_link(self.post.link(delivery_id, code=True))

    def _end(self, recalled: str, expired: str) -> None:
        self.keep_link(self.post.link(recalled, code=True))
        holding.recall(self.post.store, recalled, actor="sender", now=self.post.clock())
        with self.post.store.write() as session:
            session.execute(update(Message).values(expires_at=1.0))
        while holding.expire_due(self.post.store, now=self.post.clock()):
            pass
        assert self.post.state(expired) == DeliveryState.EXPIRED


def _files_of_sqlite(folder: Path) -> list[Path]:
    found = list(folder.glob("restante.db*"))
    assert {path.name for path in found} >= {"restante.db", "restante.db-wal"}
    return found


class ServerFiles:
    """What a PostgreSQL server keeps of one database, from now on."""

    def __init__(self, server: TemporaryPostgres, url: str) -> None:
        self._data, self._log = server.folder / "data", server.folder / "log"
        name = url.partition("@/")[2].partition("?")[0]
        self._connection = {"host": str(server.folder), "user": "postgres", "dbname": name}
        self._oid = self._ask(f"SELECT oid FROM pg_database WHERE datname = '{name}'")
        self._first = self._ask("SELECT pg_walfile_name(pg_current_wal_lsn())")

    def _ask(self, query: str) -> str:
        with psycopg.connect(**self._connection, autocommit=True) as connection:  # type: ignore[arg-type]  # of options
            row = connection.execute(query.encode()).fetchone()
        return str(row[0]) if row else ""

    def __call__(self) -> list[Path]:
        with psycopg.connect(**self._connection, autocommit=True) as connection:  # type: ignore[arg-type]  # of options
            connection.execute("CHECKPOINT")
        tables = [path for path in (self._data / "base" / self._oid).iterdir() if path.is_file()]
        journal = [path for path in (self._data / "pg_wal").iterdir() if path.is_file() and path.name >= self._first]
        others = [path for name in ("global", "pg_stat", "pg_twophase") for path in (self._data / name).iterdir()]
        spilled = [*(self._data / "base").glob("pgsql_tmp*/*")]
        assert len(tables) > 100
        assert journal
        return [*tables, *journal, *(path for path in others if path.is_file()), *spilled, self._log]


@pytest.fixture
def place(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    sent: list[tuple[str, list[str], bytes]] = []

    def submit(_to: object, _host: str, sender: str, _options: object, recipients: Any, content: Any) -> dict[str, str]:
        sent.append((sender, [one.address for one in recipients], b"".join(content)))
        return {}

    monkeypatch.setattr(reply_sender, "submit", submit)
    settings, worker_private = make_settings(tmp_path, database_url, reply_max_bytes=1_000_000)
    post = make_post(settings.model_copy(update={"internal_domains": ("clinic.example",)}), worker_private)
    app = create_app(post.settings, store=post.store, clock=post.clock)
    yield Place(post, app, sent, tmp_path)
    portal_of(app).explainer.close()
    post.store.close()


@pytest.mark.behaviour("P11")
@pytest.mark.behaviour("P8")
def test_a_whole_life_leaves_no_secret_in_the_files_of_the_database(
    place: Place, request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    url = place.post.settings.database
    files: Callable[[], list[Path]] = lambda: _files_of_sqlite(place.folder)  # noqa: E731
    if url.startswith("postgresql"):
        files = ServerFiles(request.getfixturevalue("postgres"), url)

    def search(secrets: dict[str, str | bytes]) -> None:
        assert Search(secrets).in_files(files()) == {}

    life = Life(place, search)
    life.live()
    found = set().union(*Search(PLAIN).in_files(files()).values())
    assert found == set(PLAIN), "the files are those of this database"
    said = capfd.readouterr()
    assert Search(life.secrets).hits(f"{said.out}{said.err}".encode()) == set()
    assert {name.rstrip(" 0123456789") for name in life.secrets} >= {"cookie __Host-restante-pickup", "new code"}


@pytest.mark.behaviour("P11")
def test_the_search_finds_a_secret_in_every_form_and_place(tmp_path: Path) -> None:
    search = Search({"it": SAID})
    for number, form in enumerate(forms(SAID)):
        (tmp_path / str(number)).write_bytes(b"\0\xff" * 40_000 + form + b"...")
    assert len(search.in_files(tmp_path.iterdir())) == len(forms(SAID)) >= 18
    for before in (b"", b"a", b"ab", b"abc" * 19):  # in the last the line ends within it
        for raw in (SAID.encode(), SAID.encode("utf-16-le")):
            assert search.hits(base64.encodebytes(before + raw + b"zzz")) == {"it"}
    (tmp_path / f"named-{CORE}").touch()
    assert str(tmp_path / f"named-{CORE}") in Search({"it": CORE}).in_files(tmp_path.iterdir())
