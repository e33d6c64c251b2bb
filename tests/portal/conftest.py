"""A portal over a fresh store, and ways to put messages into it as the milter would."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from jinja2.bccache import Bucket, BytecodeCache
from playwright.sync_api import Browser as Chromium
from sqlalchemy import select, update

from restante import tokens
from restante.credentials import Credential, write_credential
from restante.reply import ReplyTo
from restante.routing import Route
from restante.settings import NoticeSettings, PortalSettings, Settings, VaultSettings
from restante.store import fresh, holding, links
from restante.store.engine import Store, new_id
from restante.store.models import Delivery, DeliveryState, OutboxJob, OutboxState
from restante.tls.evidence import Requirement
from restante.vault import DataKey, Sealer, generate_keypair, seal_stream
from restante_portal.application import create_app
from restante_portal.context import portal_of
from tests.migrated import upgrade
from tests.portal.chromium import launched

URL = "https://pickup.test.example"
RECIPIENT = "rita@patients.example"
SIMPLE = (
    b"From: Anna Arzt <anna@clinic.example>\r\nTo: rita@patients.example\r\nSubject: Ihr Befund\r\n"
    b"Date: Fri, 20 Nov 2026 09:30:00 +0100\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    b"Der Befund ist unauff\xc3\xa4llig.\r\n"
)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@dataclass
class Post:
    """The store and its keys, with what the milter and the worker do to them."""

    settings: Settings
    store: Store
    clock: Clock
    vault: Sealer = field(repr=False)
    worker: Sealer = field(repr=False)
    worker_private: bytes = field(repr=False)

    def hold(
        self,
        content: bytes = SIMPLE,
        *,
        recipients: tuple[str, ...] = (RECIPIENT,),
        state: DeliveryState = DeliveryState.HELD,
        summary: dict[str, Any] | None = None,
        sender: str = "anna@clinic.example",
        rule: str = "default",
        days: float = 14,
        vault: Sealer | None = None,
        view_only: bool = False,
        four_eyes: bool = False,
        reply: ReplyTo = ReplyTo.SENDER,
    ) -> list[str]:
        """Hold a message; the ids of its deliveries in the order of ``recipients``."""
        key = DataKey.fresh(new_id())
        note = {"subject": "Ihr Befund", "attachments": [], "findings": [], "from": sender, "date": ""}
        request = holding.HoldRequest(
            fingerprint=new_id().encode(),
            sender=sender,
            header_message_id="<m@clinic.example>",
            size=len(content),
            key=key,
            chunks=lambda: seal_stream(key, [content]),
            summary=key.seal_note(json.dumps(note | (summary or {})).encode(), "summary"),
            rule=rule,
            requirement=Requirement.ENCRYPTED,
            otherwise="portal",
            deadline=0,
            expires_at=self.clock() + days * 86_400,
            always_code=False,
            view_only=view_only,
            four_eyes=four_eyes,
            reply=reply,
            deliveries=tuple(
                holding.NewDelivery(each, each.rpartition("@")[2], Route.PORTAL, state, "no TLS at any MX host")
                for each in recipients
            ),
        )
        message_id = holding.hold(
            self.store, vault or self.vault, self.worker, request, actor="milter", now=self.clock()
        )
        with self.store.read() as session:
            rows = session.scalars(select(Delivery).where(Delivery.message_id == message_id)).all()
        by_recipient = {row.recipient: row.id for row in rows}
        return [by_recipient[each] for each in recipients]

    def link(self, delivery_id: str, *, code: bool = False, **more: Any) -> links.MintedLink:
        """A link as the worker mints it for a notice."""
        minted = links.mint_link(self.store, delivery_id, needs_code=code, new_code=False, now=self.clock(), **more)
        assert minted is not None
        return minted

    def waiting(self, content: bytes = SIMPLE, *, code: bool = False, **more: Any) -> links.MintedLink:
        """A message that waits for one recipient, and the link to it."""
        return self.link(self.hold(content, **more)[0], code=code)

    def send_notices(self) -> None:
        """Hear what was asked for and take every notice for sent, as the worker does."""
        fresh.serve(self.store, now=self.clock())
        with self.store.write() as session:
            session.execute(update(OutboxJob).values(state=OutboxState.DONE))

    def fresh_asked(self) -> list[str]:
        """The deliveries for which a fresh notice was queued, one for each notice."""
        with self.store.read() as session:
            jobs = session.scalars(select(OutboxJob)).all()
        return [each for job in jobs if job.payload.get("cause") == "fresh" for each in job.payload["deliveries"]]

    def state(self, delivery_id: str) -> str:
        with self.store.read() as session:
            return session.get_one(Delivery, delivery_id).state


def make_settings(folder: Path, database: str, *, url: str = URL, **portal: Any) -> tuple[Settings, bytes]:
    """Settings with fresh keys, and the worker's private key."""
    private, public = generate_keypair()
    worker_private, worker_public = generate_keypair()
    credentials = folder / "credentials"
    credentials.mkdir()
    write_credential(credentials, Credential.VAULT, private)
    write_credential(credentials, Credential.PORTAL, generate_keypair()[0])
    settings = Settings(
        hostname="mail.test.example",
        organisation="Clinic Example",
        database=database,
        credentials=credentials,
        vault=VaultSettings(
            key_id="k1",
            public_key=base64.b64encode(public).decode(),
            worker_public_key=base64.b64encode(worker_public).decode(),
        ),
        portal=PortalSettings(url=url, **portal),
        notice=NoticeSettings(sender="notice@clinic.example", contact="telephone +49 30 0000"),
    )
    return settings, worker_private


def make_post(settings: Settings, worker_private: bytes) -> Post:
    """A migrated store for ``settings``."""
    upgrade(settings.database)
    return Post(
        settings,
        Store(settings.database),
        Clock(),
        Sealer("k1", base64.b64decode(settings.vault.public_key)),
        Sealer("worker", base64.b64decode(settings.vault.worker_public_key)),
        worker_private,
    )


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Codes, phrases and passwords of a test are hashed with little work; tests/core/test_tokens.py has the real one.

    A hash says how it is to be checked, so a portal in a process of its own has as little work with it.
    """
    cheap = tokens.SlowHasher(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1), at_once=2)
    monkeypatch.setattr(tokens, "_hasher", cheap)
    tokens.nobodys_hash.cache_clear()
    yield
    tokens.nobodys_hash.cache_clear()


class CompiledPages(BytecodeCache):
    """Compiled pages in memory: tests look at what the portal writes to disk."""

    def __init__(self) -> None:
        self._pages: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give what an earlier portal compiled; Jinja itself finds out whether its source has changed."""
        if bucket.key in self._pages:
            bucket.bytecode_from_string(self._pages[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what was compiled."""
        self._pages[bucket.key] = bucket.bytecode_to_string()


@pytest.fixture(autouse=True, scope="session")
def _pages_compiled_once() -> Iterator[None]:
    """Every test has a portal of its own, and would compile every page anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Flask.jinja_options, "bytecode_cache", CompiledPages())
        yield


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """Not for longer than a module: while it lives, an event loop of its own runs in this thread."""
    with launched() as found:
        yield found


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    settings, worker_private = make_settings(tmp_path, f"sqlite:///{tmp_path}/restante.db")
    made = make_post(settings, worker_private)
    yield made
    made.store.close()


@pytest.fixture
def app(post: Post) -> Iterator[Flask]:
    made = create_app(post.settings, store=post.store, clock=post.clock)
    made.testing = False
    yield made
    portal_of(made).explainer.close()


@pytest.fixture
def browser(app: Flask) -> Browser:
    return Browser(app)


def without_form_keys(page: str) -> str:
    """A page as it is for everyone: the keys of its forms are new with every second and browser."""
    return re.sub(r'name="form_key" value="[^"]*"', "", page)


class Browser:
    """A browser without JavaScript: keeps cookies, fills in the forms of the page that it was given."""

    def __init__(self, app: Flask, address: str = "192.0.2.1") -> None:
        self.client: FlaskClient = app.test_client()
        self.address = address

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(path, base_url=URL, environ_overrides={"REMOTE_ADDR": self.address}, **more)

    def post(self, path: str, data: dict[str, Any] | None = None, *, form_key: str | None = None, **more: Any) -> Any:
        if form_key is None:
            form_key = self.form_key()
        return self.client.post(
            path,
            base_url=URL,
            data={"form_key": form_key, **(data or {})},
            environ_overrides={"REMOTE_ADDR": self.address},
            **more,
        )

    def form_key(self, path: str = "/admin/sign-in") -> str:
        page: str = self.get(path, follow_redirects=True).text
        return page.partition('name="form_key" value="')[2].partition('"')[0]

    def open(self, link: links.MintedLink, code: str | None = None, number: str | None = None) -> Any:
        """Go to the link and open it, as the person who has the notice, or who types ``number`` for its number."""
        form_key = self.form_key(f"/p/{link.token}")
        form = {"number": link.number if number is None else number} | ({"code": code} if code else {})
        return self.post(f"/p/{link.token}/open", form, form_key=form_key)

    def ask_fresh(self, link: links.MintedLink, number: str | None = None) -> Any:
        """Ask for a fresh link from the page of ``link``."""
        form_key = self.form_key(f"/p/{link.token}")
        form = {"number": link.number if number is None else number}
        return self.post(f"/p/{link.token}/fresh", form, form_key=form_key)
