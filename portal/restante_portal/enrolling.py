"""Setting a way to sign in: passkey, or password with one-time codes; the greeting phrase; removing it all.

Whoever has an open pickup window may set one for the address of that message, in the place of what was set before; who
is signed in may add to it.  The secret of one-time codes travels in the form, sealed, until a first code shows that the
app has it.
"""

from __future__ import annotations

import json
import secrets

import segno
from flask import Blueprint, Response, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response as BaseResponse

from restante import one_time
from restante.store import enrolments, recipient_sessions
from restante.store.admins import SHORTEST_PASSWORD
from restante.store.enrolments import NewPasskey, NewPassword, NotAllowed, NotEnrolled
from restante.store.recipient_sessions import NotSignedIn
from restante.tokens import password_hash
from restante.vault import CannotOpen
from restante_portal import guard, passkeys, standing
from restante_portal.context import Portal, browser_id, one_line, portal
from restante_portal.inbox import LONGEST_PASSWORD
from restante_portal.standing import Standing

blueprint = Blueprint("enrolling", __name__)

SETUP_SECONDS = 1800
FEWEST_CHARACTERS = 6  # different ones, in a password


class _Problem(Exception):
    """Nothing was set.  The argument names the text of the page: "password", "code", "passkey" or "late"."""


@blueprint.get("/enrol")
def form() -> BaseResponse:
    """What is set, and what can be set."""
    here = portal()
    stands = standing.standing(here)
    if stands is None:
        return redirect(url_for("inbox.form"), 303)
    return _page(here, stands)


def _page(here: Portal, stands: Standing, problem: str = "") -> Response:
    guard.with_script()
    given = request.form.get("setup", "")[:400]
    secret = _opened(here, stands, given)
    if secret is None:
        secret = one_time.fresh_secret()
        given = _sealed(here, stands, secret)
    handle = stands.who.enrolled.user_handle if stands.who is not None else None
    uri = one_time.address_of(secret, stands.address, here.settings.organisation)
    picture = segno.make(uri, error="m", micro=False).svg_inline(scale=4, border=3, light="#fff", svgclass="qr")
    page = render_template(
        "enrol.html",
        stands=stands,
        window=request.values.get("window", ""),
        options=passkeys.to_register(here, stands.address, _purpose(stands), handle=handle),
        setup=given,
        key=one_time.written(secret),
        uri=uri,
        picture=Markup(picture),  # noqa: S704  made here, out of an escaped address
        problem=problem,
        done="done" in request.args,
        shortest=SHORTEST_PASSWORD,
    )
    return Response(page, status=400 if problem else 200)


def _purpose(stands: Standing) -> str:
    """What a challenge is for: this address, and not another that this browser has a window for."""
    return f"{'add' if stands.who is not None else 'enrol'}/{stands.address}"


def _context(stands: Standing) -> str:
    return f"setup/{browser_id()}/{stands.address}"


def _sealed(here: Portal, stands: Standing, secret: bytes) -> str:
    note = {"secret": secret.hex(), "ends_at": here.clock() + SETUP_SECONDS}
    return here.people.proofs.seal(json.dumps(note).encode(), _context(stands)).hex()


def _opened(here: Portal, stands: Standing, given: str) -> bytes | None:
    try:
        note = json.loads(here.people.proofs.open(bytes.fromhex(given), _context(stands)))
    except (CannotOpen, ValueError):
        return None
    return bytes.fromhex(note["secret"]) if note["ends_at"] > here.clock() else None


@blueprint.post("/enrol")
def change() -> BaseResponse:
    """Set a way to sign in or the greeting phrase, or remove everything."""
    here = portal()
    stands = standing.standing(here)
    if stands is None:
        return redirect(url_for("inbox.form"), 303)
    act = request.form.get("act", "")
    if act == "remove":
        return _remove(here, stands)
    if act == "greeting" and stands.who is not None:
        greeting = one_line(request.form.get("greeting", ""))
        enrolments.set_greeting(here.store, here.people.common, stands.who.enrolled.id, greeting, now=here.clock())
        return redirect(url_for("enrolling.form", done=1), 303)
    try:
        way, handle = _by_passkey(here, stands) if act == "passkey" else _by_password(here, stands)
        return _set(here, stands, way, handle)
    except (_Problem, NotAllowed, NotSignedIn) as error:
        return _page(here, stands, str(error) or "late")


def _by_passkey(here: Portal, stands: Standing) -> tuple[NewPasskey, bytes]:
    try:
        return passkeys.registered(here, request.form.get("answer", ""), _purpose(stands))
    except passkeys.BadAnswer:
        raise _Problem("passkey") from None


def _by_password(here: Portal, stands: Standing) -> tuple[NewPassword, bytes]:
    password = request.form.get("password", "")[:LONGEST_PASSWORD]
    if len(password) < SHORTEST_PASSWORD or len(set(password)) < FEWEST_CHARACTERS:
        raise _Problem("password")
    secret = _opened(here, stands, request.form.get("setup", "")[:400])
    step = one_time.matching_step(secret, request.form.get("code", "")[:40], here.clock()) if secret else None
    if secret is None or step is None:
        raise _Problem("code")
    return NewPassword(password_hash(password), secret, step), secrets.token_bytes(32)


def _set(here: Portal, stands: Standing, way: NewPasskey | NewPassword, handle: bytes) -> BaseResponse:
    response = redirect(url_for("enrolling.form", done=1), 303)
    now = here.clock()
    if stands.who is not None:
        enrolments.add_way(here.store, here.people, stands.who.enrolled.id, way, now=now)
        return response
    assert stands.ground is not None  # noqa: S101  what a standing without a session has
    enrolment_id = enrolments.enrol(here.store, here.people, stands.ground, way, handle=handle, now=now)
    value, secret = standing.fresh_secret(here)
    seconds = standing.session_seconds(here)
    recipient_sessions.begin_after_enrolling(here.store, enrolment_id, secret, seconds=seconds, now=now)
    standing.give_cookie(here, response, value)
    return response


def _remove(here: Portal, stands: Standing) -> BaseResponse:
    try:
        enrolments.remove(
            here.store, here.people.common, stands.address, actor="recipient", now=here.clock(), ground=stands.ground
        )
    except NotAllowed:
        return _page(here, stands, "late")
    except NotEnrolled:
        pass  # in another tab: it is as they want it
    response = redirect(url_for("pickup.home"), 303)
    standing.take_cookie(here, response)
    return response
