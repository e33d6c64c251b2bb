"""Signing in as an enrolled recipient, the list of what waits, opening from there, and signing out.

Tries with a password are counted as those at a link (:mod:`restante_portal.proof`): for the address and the client, for
the address from everywhere, and with a reserve for each network, so that no stranger locks the recipient out.  Unknown
address, wrong password and wrong or used code are the same work and the same answer.  Who knows the password has few
tries at the one-time code, whose six digits bear no more.
"""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from restante import one_time
from restante.store import inbox as box
from restante.store import links, recipient_sessions, throttle
from restante.store.recipient_sessions import NotSignedIn
from restante.tokens import nobodys_hash, password_matches
from restante_portal import guard, passkeys, standing
from restante_portal.context import Portal, browser_id, client_address, one_line, portal
from restante_portal.proof import Refused
from restante_portal.windows import held_secrets, set_secrets, window_id

blueprint = Blueprint("inbox", __name__)

PASSKEY_PER_CLIENT = throttle.Limit("passkey-client", 60, 900)
PER_CLIENT = throttle.Limit("enrolled-client", 5, 900)
PER_CLIENT_OVERALL = throttle.Limit("enrolled-client-overall", 60, 3600)
PER_ADDRESS = throttle.Limit("enrolled-address", 30, 3600)
RESERVE_PER_NETWORK = throttle.Limit("enrolled-reserve-network", 2, 3600)
RESERVE_PER_ADDRESS = throttle.Limit("enrolled-reserve-address", 300, 3600)
CODE_PER_ADDRESS = throttle.Limit("enrolled-code", 20, 86_400)

LONGEST_PASSWORD = 1024
_NOBODYS_SECRET = b"\0" * one_time.SECRET_BYTES


@blueprint.get("/sign-in")
def form() -> BaseResponse:
    """The ways to sign in.  Changes nothing."""
    here = portal()
    if standing.signed_in(here) is not None:
        return redirect(url_for("inbox.show"), 303)
    return _form(here)


def _form(here: Portal, refused: Refused | None = None) -> Response:
    guard.with_script()
    page = render_template("sign_in.html", options=passkeys.to_sign_in(here), refused=refused)
    response = Response(page, status=refused.status if refused else 200)
    if refused and refused.retry_after:
        response.headers["Retry-After"] = str(refused.retry_after)
    return response


@blueprint.post("/sign-in")
def sign_in() -> BaseResponse:
    """Begin a session."""
    here = portal()
    value, secret = standing.fresh_secret(here)
    try:
        if request.form.get("answer"):
            _by_passkey(here, secret)
        else:
            _by_password(here, secret)
    except Refused as error:
        return _form(here, error)
    response = redirect(url_for("inbox.show"), 303)
    standing.give_cookie(here, response, value)
    return response


def _by_passkey(here: Portal, secret: str) -> None:
    counters = [PASSKEY_PER_CLIENT.of(throttle.client_key(client_address()))]
    now, seconds = here.clock(), standing.session_seconds(here)
    try:
        throttle.take(here.store, counters, now=now)
        way, count = passkeys.asserted(here, request.form["answer"])
        recipient_sessions.begin_by_passkey(here.store, way, count, secret, seconds=seconds, now=now)
    except throttle.Throttled as error:
        raise Refused("throttled", 429, error.retry_after) from None
    except (passkeys.BadAnswer, NotSignedIn):
        raise Refused("wrong", 403) from None
    throttle.give_back(here.store, counters)


def _by_password(here: Portal, secret: str) -> None:
    address = one_line(request.form.get("address", "")[:320])
    password, typed = request.form.get("password", "")[:LONGEST_PASSWORD], request.form.get("code", "")[:40]
    if not (address and password and typed.strip()):
        raise Refused("empty", 400)
    key = here.people.common.address_hash(address).hex()
    counters = _count(here, key)
    now = here.clock()
    way = recipient_sessions.password_way(here.store, here.people, address)
    right = password_matches(way.password_hash if way is not None else nobodys_hash(), password)
    step = one_time.matching_step(way.secret if way is not None else _NOBODYS_SECRET, typed, now)
    known = way is not None and right
    codes = [CODE_PER_ADDRESS.of(key, "known" if known else "unknown")]
    try:
        throttle.take(here.store, codes, now=now)
    except throttle.Throttled:
        known = False  # told apart, it would tell that the password is right
    if way is None or not known or step is None:
        raise Refused("wrong", 403)
    try:
        recipient_sessions.begin_by_password(
            here.store, way, step, secret, seconds=standing.session_seconds(here), now=now
        )
    except NotSignedIn:
        raise Refused("wrong", 403) from None
    throttle.give_back(here.store, [*counters, *codes])


def _count(here: Portal, key: str) -> Sequence[throttle.Counter]:
    client, network = throttle.client_key(client_address()), throttle.network_key(client_address())
    try:
        return throttle.take_or_reserve(
            here.store,
            (PER_CLIENT.of(key, client), PER_CLIENT_OVERALL.of(client)),
            PER_ADDRESS.of(key),
            (RESERVE_PER_NETWORK.of(key, network), RESERVE_PER_ADDRESS.of(key)),
            now=here.clock(),
        )
    except throttle.Throttled as error:
        raise Refused("throttled", 429, error.retry_after) from None


@blueprint.get("/inbox")
def show() -> BaseResponse:
    """What waits for who is signed in."""
    here = portal()
    who = standing.signed_in(here)
    if who is None:
        return redirect(url_for("inbox.form"), 303)
    messages = box.waiting(here.store, who.enrolled, now=here.clock())
    return Response(render_template("inbox.html", who=who, messages=messages))


@blueprint.post("/inbox/<delivery_id>/open")
def open_one(delivery_id: str) -> BaseResponse:
    """Open one of the messages; what is no longer there shows by the list."""
    here = portal()
    who = standing.signed_in(here)
    if who is None:
        return redirect(url_for("inbox.form"), 303)
    try:
        secret = box.open_waiting(
            here.store,
            here.vault,
            who.enrolled,
            delivery_id[:32],
            window_seconds=standing.session_seconds(here),
            now=here.clock(),
            secret_for=lambda link_id: here.derive("window", browser_id(), who.session_id, link_id),
        )
    except links.NoSuchLink:
        return redirect(url_for("inbox.show"), 303)
    others = [each for each in held_secrets(here) if each != secret]
    response = redirect(url_for("message.show", window=window_id(secret)), 303)
    set_secrets(here, response, [secret, *others])
    return response


@blueprint.get("/inbox/<delivery_id>/open")
@blueprint.get("/sign-out")
def back(delivery_id: str = "") -> BaseResponse:  # noqa: ARG001  the address has it
    """Where the answer to a form is asked for again."""
    return redirect(url_for("inbox.show"), 303)


@blueprint.post("/sign-out")
def sign_out() -> BaseResponse:
    """End the session and close the messages that are open in this browser, on the server first."""
    here = portal()
    who = standing.signed_in(here)
    if who is not None:
        recipient_sessions.sign_out(here.store, who, now=here.clock())
    for secret in held_secrets(here):
        links.close_window(here.store, secret, now=here.clock())
    response = redirect(url_for("pickup.home"), 303)
    standing.take_cookie(here, response)
    set_secrets(here, response, [])
    return response
