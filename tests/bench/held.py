"""A database full of held messages, quickly: two that are really held, and copies with ids and links of their own.

Most are copies of the first, made by the database itself with the sealed bytes as they are: they fill tables and
indexes, and nobody opens them.  Those of the second are sealed each under a key of its own, locked with the key ring:
they open.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table, event, func, select, text, update

from restante.routing import Route
from restante.settings import Settings
from restante.store import holding, links
from restante.store.engine import Store, new_id
from restante.store.epochs import lock_key, open_epoch, prepare_ring
from restante.store.migrate import upgrade
from restante.store.models import (
    AuditRecord,
    Base,
    Blob,
    BlobSegment,
    Delivery,
    DeliveryState,
    Link,
    Message,
    OutboxJob,
    OutboxState,
)
from restante.store.ring import KeyRing
from restante.store.rows import put_rows
from restante.tls.evidence import Requirement
from restante.tokens import code_hash, mint_code, mint_number, mint_token, number_hash, token_hash
from restante.vault import DataKey, Sealer, seal_stream
from tests.lab.waiting import LabError

DAY = 86_400.0
_EPOCH_SECONDS = 7 * DAY
_SUMMARY = b'{"subject": "Your order", "attachments": [], "findings": [], "from": "ann@site.example", "date": ""}'


@dataclass(frozen=True, slots=True)
class Letter:
    """What a recipient has in hand.  ``code`` is empty where the number of the notice opens the message."""

    token: str = field(repr=False)
    number: str = field(repr=False)
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Original:
    """A message that was held as the milter holds it, and its rows in the order in which they may be inserted."""

    message_id: str
    blob_id: str
    delivery_id: str

    def rows(self) -> tuple[tuple[type[Base], str, str], ...]:
        """Table, the column that finds the rows of this message in it, and its value."""
        return (
            (Blob, "id", self.blob_id),
            (BlobSegment, "blob_id", self.blob_id),
            (Message, "id", self.message_id),
            (Delivery, "message_id", self.message_id),
            (Link, "delivery_id", self.delivery_id),
            (OutboxJob, "message_id", self.message_id),
            (AuditRecord, "message_id", self.message_id),
        )


def fill(settings: Settings, held: int, *, mail: bytes, opening: bytes, by_number: int, by_code: int) -> list[Letter]:
    """Make schema and key ring, and hold ``held`` messages: ``opening`` so often as is to be opened, else ``mail``.

    The letters are those of the messages that open, ``by_number`` and ``by_code``.  Raises :class:`LabError` when the
    database does not have as many messages as it should.
    """
    if held < 2 + by_number + by_code:
        raise LabError(f"{held} messages are too few: {by_number + by_code} are to be opened")
    upgrade(settings.database)
    store, ring, now = Store(settings.database), KeyRing(settings.ring_path), time.time()
    try:
        if store.engine.dialect.name == "sqlite":
            event.listen(store.engine, "connect", _prepare_sqlite)
        prepare_ring(store, ring)
        open_epoch(store, ring, seconds=_EPOCH_SECONDS, now=now)
        vault = Sealer(settings.vault.key_id, b64decode(settings.vault.public_key))
        worker = Sealer("worker", b64decode(settings.vault.worker_public_key))
        shut = _hold(store, vault, worker, mail, now)
        model = _hold(store, vault, worker, opening, now)
        _copy(store, shut, held - 2 - by_number - by_code)
        letters = _copy_to_open(store, vault, model, opening, [""] * by_number + [mint_code()] * by_code)
        with store.read() as session:
            found = session.scalar(select(func.count()).where(Delivery.state == DeliveryState.HELD))
        if found != held:
            raise LabError(f"{found} messages are held where {held} should be")
        _settle(store)
    finally:
        store.close()
    return letters


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Write each page once, and have the two functions that PostgreSQL has of itself."""
    for pragma in ("journal_mode=OFF", "cache_size=-1000000"):
        connection.execute(f"PRAGMA {pragma}").close()
    connection.create_function("md5", 1, lambda value: hashlib.md5(value.encode()).hexdigest(), deterministic=True)
    connection.create_function("decode", 2, lambda value, _form: bytes.fromhex(value), deterministic=True)


def _settle(store: Store) -> None:
    """What a database does of itself while it grows slowly."""
    if store.engine.dialect.name == "postgresql":
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))


def _hold(store: Store, vault: Sealer, worker: Sealer, mail: bytes, now: float) -> _Original:
    key = DataKey.fresh(new_id())
    request = holding.HoldRequest(
        fingerprint=secrets.token_bytes(32),
        sender="ann@site.example",
        header_message_id="<m@site.example>",
        size=len(mail),
        key=key,
        chunks=lambda: seal_stream(key, [mail]),
        summary=key.seal_note(_SUMMARY, "summary"),
        rule="default",
        requirement=Requirement.ENCRYPTED,
        otherwise="portal",
        deadline=now,
        expires_at=now + 14 * DAY,
        always_code=False,
        deliveries=(
            holding.NewDelivery(
                "bob@partner.example", "partner.example", Route.PORTAL, DeliveryState.HELD, "no TLS at any MX host"
            ),
        ),
    )
    message_id = holding.hold(store, vault, worker, request, actor="milter", now=now)
    with store.read() as session:
        delivery_id = session.scalars(select(Delivery.id).where(Delivery.message_id == message_id)).one()
    links.mint_link(store, delivery_id, needs_code=False, new_code=False, now=now)
    with store.write() as session:  # the notice is sent
        session.execute(update(OutboxJob).where(OutboxJob.message_id == message_id).values(state=OutboxState.DONE))
    return _Original(message_id, key.blob_id, delivery_id)


def _own(seed: str) -> dict[str, str]:
    """What differs between copies, as SQL over their number ``n``; a column of the same name means the same copy."""

    def name(what: str) -> str:
        return f"md5('{seed}{what}' || n)"

    return {
        "blobs.id": name("blob"),
        "blob_id": name("blob"),
        "messages.id": name("message"),
        "message_id": name("message"),
        "fingerprint": f"decode({name('fingerprint')}, 'hex')",
        "deliveries.id": name("delivery"),
        "delivery_id": name("delivery"),
        "recipient": "'r' || n || '@partner.example'",
        "links.id": name("link"),
        "token_hash": f"decode({name('token')}, 'hex')",
        "number_hash": f"decode({name('number')}, 'hex')",
        "outbox.id": name("job"),
        # Over ten days, the newest first.
        **dict.fromkeys(("created_at", "changed_at", "at"), "t.{column} - n * :step"),
        "expires_at": "t.{column} - n * :step",
    }


def _columns(table: Table) -> list[str]:
    """All but the number that the database gives to a record itself."""
    return [column.name for column in table.columns if not (table.name == "audit" and column.name == "id")]


def _copy(store: Store, original: _Original, count: int) -> None:
    """Have the database copy the rows of ``original`` ``count`` times."""
    own = _own(secrets.token_hex(8))
    statements = []
    for model, key, value in original.rows():
        table = Base.metadata.tables[model.__tablename__]
        columns = _columns(table)
        values = [
            own.get(f"{table.name}.{column}", own.get(column, "t.{column}")).format(column=column) for column in columns
        ]
        statements.append(
            "WITH RECURSIVE copies(n) AS "
            "(SELECT 1 UNION ALL SELECT n + 1 FROM copies WHERE n < :count) "
            f"INSERT INTO {table.name} ({', '.join(columns)}) "
            f"SELECT {', '.join(values)} FROM {table.name} t, copies WHERE t.{key} = '{value}'"
        )
    if count:
        with store.write(durable=False) as session:
            for statement in statements:
                session.execute(text(statement), {"count": count, "step": 10 * DAY / count})


def _copy_to_open(store: Store, vault: Sealer, original: _Original, mail: bytes, codes: Sequence[str]) -> list[Letter]:
    """One copy of ``original``, with a link of its own, for each of ``codes``; an empty one asks for no code."""
    hashes = {code: code_hash(code) if code else None for code in set(codes)}
    letters = [Letter(mint_token(), mint_number(), code) for code in codes]
    with store.write(durable=False) as session:
        found: list[tuple[type[Base], list[dict[str, Any]]]] = []
        for model, key, value in original.rows():
            table = Base.metadata.tables[model.__tablename__]
            query = select(*(table.columns[name] for name in _columns(table))).where(table.columns[key] == value)
            found.append((model, [dict(row) for row in session.connection().execute(query).mappings()]))
        for number, letter in enumerate(letters):
            locked = lock_key(session, DataKey.fresh(new_id()), time.time())
            own = _own_values(locked, vault, mail, letter, hashes[letter.code], number)
            for model, rows in found:
                ours = own[model.__tablename__]
                put_rows(session, model, [{**row, **ours} for row in rows])
    return letters


def _own_values(
    key: DataKey, vault: Sealer, mail: bytes, letter: Letter, code: str | None, number: int
) -> dict[str, dict[str, Any]]:
    """What differs in a copy that opens, by table and column."""
    message_id, delivery_id = new_id(), new_id()
    return {
        "blobs": {
            "id": key.blob_id,
            "wrapped_key": vault.wrap(key),
            "epoch_id": key.lock.epoch_id if key.lock else None,
        },
        "blob_segments": {"blob_id": key.blob_id, "data": b"".join(seal_stream(key, [mail]))},
        "messages": {
            "id": message_id,
            "blob_id": key.blob_id,
            "fingerprint": secrets.token_bytes(32),
            "summary": key.seal_note(_SUMMARY, "summary"),
        },
        "deliveries": {"id": delivery_id, "message_id": message_id, "recipient": f"o{number}@partner.example"},
        "links": {
            "id": new_id(),
            "delivery_id": delivery_id,
            "token_hash": token_hash(letter.token),
            "number_hash": number_hash(letter.token, letter.number),
            "code_hash": code,
        },
        "outbox": {"id": new_id(), "message_id": message_id},
        "audit": {"message_id": message_id, "delivery_id": delivery_id},
    }
