"""Addresses of files on an origin of their own, where the settings name one (``portal.files_url``).

That origin has none of the portal's cookies, so its address has to say which file it is and who may have it: a ticket,
sealed so that only this service reads it.  Addresses are logged and remembered, by proxies and in histories, and
fetched again by programs that look at them: so a ticket opens once, to who comes first, and within a minute.  Who came
first is given a cookie for this one address, and to nobody else does it open again, as for a download that goes on.
A ticket names a pickup window or an administrator's session by its hash; with that, its file is out of reach.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from dataclasses import dataclass, field

from cryptography.fernet import Fernet, InvalidToken
from flask import redirect, request
from werkzeug.wrappers import Response as BaseResponse

from restante.store.spent import spend
from restante.tokens import token_hash
from restante_portal.context import Portal

OPEN_SECONDS = 60
"""How long a ticket waits for who comes first."""

_COOKIE = "restante-file"
_SEALED = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Ticket:
    """Part ``part`` of what the session with ``secret_hash`` may take.

    It is a recipient's pickup window, or an administrator's session where ``reviewed`` is the delivery looked at.
    ``sealed`` is how it stands in the address, and ``made_at`` when it was made, in Unix seconds.
    """

    secret_hash: bytes = field(repr=False)
    part: int
    reviewed: str
    sealed: str = field(repr=False)
    made_at: float


def to_files(here: Portal, secret: str, part: int, *, reviewed: str = "") -> BaseResponse:
    """The way to a file on its own origin, for the session that ``secret`` belongs to."""
    plain = json.dumps([token_hash(secret).hex(), part, reviewed]).encode()
    sealed = _fernet(here).encrypt_at_time(plain, int(here.clock())).decode().rstrip("=")
    return redirect(f"{here.settings.portal.files_url}/f/{sealed}", 303)


def _fernet(here: Portal) -> Fernet:
    return Fernet(here.derive("files") + "=")


def read(here: Portal, sealed: str) -> Ticket | None:
    """What a ticket says, however old; ``None`` where it is none of ours, or is not written as we write it."""
    if not _SEALED.fullmatch(sealed):
        return None
    token = sealed + "=" * (-len(sealed) % 4)
    try:
        plain = _fernet(here).decrypt(token)
    except InvalidToken:
        return None
    if base64.urlsafe_b64encode(base64.urlsafe_b64decode(token)).decode() != token:
        return None  # the last letter has bits that say nothing
    secret_hash, part, reviewed = json.loads(plain)
    return Ticket(bytes.fromhex(secret_hash), part, reviewed, sealed, _fernet(here).extract_timestamp(token))


def came_before(here: Portal, ticket: Ticket) -> bool:
    """Whether this browser is the one that came first."""
    given = request.cookies.get(_cookie_name(here), "")
    return hmac.compare_digest(given.encode("utf-8", "replace"), _proof(here, ticket).encode())


def comes_first(here: Portal, ticket: Ticket) -> bool:
    """Whether nobody has used ``ticket`` before this request, in its minute; it is used with that."""
    now = here.clock()
    if request.method != "GET" or abs(now - ticket.made_at) > OPEN_SECONDS:
        return False
    name = b"restante-file/" + ticket.sealed.encode()
    return spend(here.store, name, ends_at=ticket.made_at + OPEN_SECONDS + 1, now=now)


def give_cookie(here: Portal, response: BaseResponse, ticket: Ticket) -> None:
    """Let this browser use ``ticket`` for as long as what it names is open."""
    response.set_cookie(
        _cookie_name(here),
        _proof(here, ticket),
        httponly=True,
        secure=here.https,
        # Not Strict: a browser may count a download that it takes up again as coming from somewhere else.
        samesite="Lax",
        path=f"/f/{ticket.sealed}",
    )


def _cookie_name(here: Portal) -> str:
    """With a path of its own it cannot be ``__Host-``."""
    return f"__Secure-{_COOKIE}" if here.https else _COOKIE


def _proof(here: Portal, ticket: Ticket) -> str:
    return here.derive("file-browser", ticket.sealed)
