"""Administrators: signing in and out, and who is signed in.

Sessions are rows in the store, not Flask-Login's: that keeps a user's id in a signed cookie, which the server cannot
take back, and all that is left of it then is one decorator.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import structlog
from flask import Blueprint, Response, g, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response as BaseResponse

from restante.store import admins, throttle
from restante_portal.context import Portal, client_address, one_line, portal

blueprint = Blueprint("signin", __name__, url_prefix="/admin")
log = structlog.stdlib.get_logger(__name__)

PER_NAME_AND_CLIENT = throttle.Limit("signin-name-client", 5, 900)
PER_CLIENT = throttle.Limit("signin-client", 20, 900)
PER_KNOWN_BROWSER = throttle.Limit("signin-known-browser", 5, 900)

_COOKIE = "restante-admin"
_KNOWN_COOKIE = "restante-known"
_KNOWN_SECONDS = 180 * 86_400
_P = ParamSpec("_P")
_R = TypeVar("_R")


def current() -> admins.SignedIn:
    """The administrator of this request; only behind :func:`signed_in_only`."""
    who = g.restante_admin
    assert isinstance(who, admins.SignedIn)  # noqa: S101  a view without its decorator is a defect
    return who


def is_signed_in(here: Portal) -> bool:
    """Whether this request comes from an administrator."""
    try:
        admins.signed_in(here.store, session_secret(here), now=here.clock())
    except admins.NotSignedIn:
        return False
    return True


def session_secret(here: Portal) -> str:
    """The secret of an administrator's session that this browser has, or an empty string."""
    return request.cookies.get(here.cookie_name(_COOKIE), "")


def signed_in_only(view: Callable[_P, _R]) -> Callable[_P, _R | BaseResponse]:
    """Let only administrators pass."""

    @wraps(view)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R | BaseResponse:
        here = portal()
        try:
            g.restante_admin = admins.signed_in(here.store, session_secret(here), now=here.clock())
        except admins.NotSignedIn:
            return redirect(url_for("signin.form"), 303)
        return view(*args, **kwargs)

    return guarded


@blueprint.get("/sign-in")
def form() -> str:
    """The form."""
    return render_template("admin/sign_in.html")


@blueprint.post("/sign-in")
def sign_in() -> BaseResponse:
    """Begin a session.  Wrong name and wrong password are told alike and take as long."""
    here = portal()
    now = here.clock()
    name, password = one_line(request.form.get("name", ""))[:64].lower(), request.form.get("password", "")[:1024]
    client = throttle.client_key(client_address())
    known = _known_browser(here, name)
    counters = (
        [PER_KNOWN_BROWSER.of(name, known)] if known else [PER_NAME_AND_CLIENT.of(name, client), PER_CLIENT.of(client)]
    )
    seconds = here.settings.portal.admin_session_minutes * 60
    try:
        throttle.take(here.store, counters, now=now)
        secret = admins.sign_in(here.store, name, password, session_seconds=seconds, now=now)
    except throttle.Throttled as error:
        minutes = max(1, -(-int(error.retry_after) // 60))
        page = Response(render_template("admin/sign_in.html", problem="throttled", minutes=minutes), status=429)
        page.headers["Retry-After"] = str(int(error.retry_after))
        return page
    except admins.NotSignedIn:
        log.warning("sign-in-refused", client=client)
        return Response(render_template("admin/sign_in.html", problem="wrong"), status=403)
    throttle.give_back(here.store, counters)
    session.clear()  # forms that were fetched before signing in are worth nothing after it
    response = redirect(url_for("review.queue_page"), 303)
    response.set_cookie(
        here.cookie_name(_COOKIE), secret, httponly=True, secure=here.https, samesite="Strict", path="/"
    )
    _make_known(here, response, name, known or secrets.token_urlsafe(16))
    return response


def _known_browser(here: Portal, name: str) -> str:
    """What names this browser, when ``name`` has signed in with it before; else empty.

    Its tries are counted apart, so that strangers who share the reviewer's address (or a proxy that is not believed)
    cannot use up the reviewer's tries.  It proves nothing else: the password is asked for all the same.
    """
    browser, _, proof = request.cookies.get(here.cookie_name(_KNOWN_COOKIE), "").partition(".")
    expected = here.derive("known-browser", name, browser)
    return browser if hmac.compare_digest(proof.encode("utf-8", "replace"), expected.encode()) else ""


def _make_known(here: Portal, response: BaseResponse, name: str, browser: str) -> None:
    response.set_cookie(
        here.cookie_name(_KNOWN_COOKIE),
        f"{browser}.{here.derive('known-browser', name, browser)}",
        max_age=_KNOWN_SECONDS,
        httponly=True,
        secure=here.https,
        samesite="Strict",
        path="/",
    )


@blueprint.post("/sign-out")
@signed_in_only
def sign_out() -> BaseResponse:
    """End this session, on the server first."""
    here = portal()
    admins.sign_out(here.store, current(), now=here.clock())
    response = redirect(url_for("signin.form"), 303)
    response.delete_cookie(here.cookie_name(_COOKIE), path="/", secure=here.https, httponly=True, samesite="Strict")
    return response
