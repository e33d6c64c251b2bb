"""Addresses of files on an origin of their own, where the settings name one (``portal.files_url``).

That origin has none of the portal's cookies, so its address has to say which file it is and who may have it: a ticket,
sealed so that only this service reads it.  Addresses are logged and remembered, by proxies and in histories: so a
ticket opens to whoever has it for a minute only.  Who uses it by then is given a cookie for this one address, and
after the minute it opens to that browser alone, as for a download that goes on.  A ticket names a pickup window or an
administrator's session by its hash; with that, its file is out of reach.
"""

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass, field

from cryptography.fernet import Fernet, InvalidToken
from flask import redirect, request
from werkzeug.wrappers import Response as BaseResponse

from restante.tokens import token_hash
from restante_portal.context import Portal

OPEN_SECONDS = 60
"""How long a ticket opens without the cookie."""

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
    """What a ticket says, however old; ``None`` where it is none of ours."""
    # The library reads no further than the first padding, so that more could stand behind it.
    if not _SEALED.fullmatch(sealed):
        return None
    token = sealed + "=" * (-len(sealed) % 4)
    try:
        plain = _fernet(here).decrypt(token)
    except InvalidToken:
        return None
    secret_hash, part, reviewed = json.loads(plain)
    return Ticket(bytes.fromhex(secret_hash), part, reviewed, sealed, _fernet(here).extract_timestamp(token))


def opens(here: Portal, ticket: Ticket) -> bool:
    """Whether ``ticket`` opens for this request."""
    if here.clock() - ticket.made_at <= OPEN_SECONDS:
        return True
    given = request.cookies.get(_cookie_name(here), "")
    return hmac.compare_digest(given.encode("utf-8", "replace"), _proof(here, ticket).encode())


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
