"""How this browser stands to an enrolment: signed in as a recipient, or with a pickup window to enrol on.

The session's cookie holds a secret that counts only together with this browser's own (:func:`browser_id`): taken to
another browser, it is worth nothing.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from flask import request
from werkzeug.wrappers import Response as BaseResponse

from restante.enrolment_keys import plain_address
from restante.store import enrolments, recipient_sessions
from restante.store.enrolments import Enrolled, Ground
from restante.store.recipient_sessions import NotSignedIn, SignedIn
from restante_portal.context import Portal, browser_id
from restante_portal.windows import held_secrets, window_id

_COOKIE = "restante-inbox"


@dataclass(frozen=True, slots=True)
class Standing:
    """Signed in as ``who``; or with ``ground`` for an address that is perhaps ``enrolled`` already."""

    who: SignedIn | None
    ground: Ground | None
    enrolled: Enrolled | None

    @property
    def address(self) -> str:
        """The recipient's address."""
        if self.who is not None:
            return self.who.enrolled.address
        return self.ground.recipient if self.ground is not None else ""

    @property
    def may_set(self) -> bool:
        """Whether a way to sign in may be set here, and what is set removed."""
        if self.who is not None:
            return True
        earlier = self.enrolled
        return self.ground is not None and (earlier is None or enrolments.replaces(self.ground.proof, earlier.proof))


def fresh_secret(here: Portal) -> tuple[str, str]:
    """A secret for a session's cookie, and what is to be stored of it."""
    value = secrets.token_urlsafe(32)
    return value, _bound(here, value)


def _bound(here: Portal, value: str) -> str:
    return here.derive("inbox", browser_id(), value)


def session_seconds(here: Portal) -> float:
    """How long a recipient stays signed in: as long as a message stays open."""
    return here.settings.portal.pickup_window_minutes * 60


def give_cookie(here: Portal, response: BaseResponse, value: str) -> None:
    """Let the browser keep its session's secret."""
    name = here.cookie_name(_COOKIE)
    response.set_cookie(name, value, httponly=True, secure=here.https, samesite="Strict", path="/")


def take_cookie(here: Portal, response: BaseResponse) -> None:
    """Let the browser forget it."""
    name = here.cookie_name(_COOKIE)
    response.delete_cookie(name, path="/", secure=here.https, httponly=True, samesite="Strict")


def signed_in(here: Portal) -> SignedIn | None:
    """Who is signed in with this browser."""
    value = request.cookies.get(here.cookie_name(_COOKIE), "")
    if not value:
        return None
    try:
        return recipient_sessions.signed_in(here.store, here.people, _bound(here, value), now=here.clock())
    except NotSignedIn:
        return None


def standing(here: Portal) -> Standing | None:
    """How this browser stands; ``None`` where it is a stranger's.

    The address of a page may name a window, for another address than the one that is signed in.
    """
    who = signed_in(here)
    wanted = request.args.get("window", "") or request.form.get("window", "")
    ground = _ground(here, wanted) if wanted or who is None else None
    if who is not None and (ground is None or plain_address(ground.recipient) == plain_address(who.enrolled.address)):
        return Standing(who, None, who.enrolled)
    if ground is None:
        return None
    return Standing(None, ground, enrolments.find(here.store, here.people.common, ground.recipient))


def _ground(here: Portal, wanted: str) -> Ground | None:
    for secret in held_secrets(here):
        if wanted and window_id(secret) != wanted:
            continue
        ground = enrolments.ground_of(here.store, secret, now=here.clock())
        if ground is not None:
            return ground
    return None
