"""A recipient at the door: the landing page of a link, opening it, asking for a fresh one.

``GET`` changes nothing, whoever sends it and however often.  Opening is a POST from that page, with something typed
that no program finds there (:mod:`restante_portal.proof`).  Who got a notice without a link types its number at the
front door instead.  The pickup window's secret is derived from this browser's own secret and the link, so that a
second click, or a try whose answer was lost on the way, finds the window that the first one opened; no other browser
can derive it.
"""

from __future__ import annotations

from flask import Blueprint, Response, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response as BaseResponse

from restante.access import Proof
from restante.store import fresh as asks
from restante.store import links, throttle
from restante.tokens import NUMBER_DIGITS, REFERENCE_DIGITS, plain_number, token_hash
from restante_portal.context import Portal, browser_id, client_address, portal
from restante_portal.proof import LONGEST, Refused, require
from restante_portal.windows import held_secrets, set_secrets, window_id

blueprint = Blueprint("pickup", __name__)

FRESH_PER_CLIENT = throttle.Limit("fresh-client", 20, 3600)
FRESH_PER_CLIENT_AND_LINK = throttle.Limit("fresh-client-link", 5, 3600)

TOKEN_LENGTH = 43


def _secret(here: Portal, token: str) -> str:
    return here.derive("window", browser_id(), token)


@blueprint.get("/")
def home() -> str:
    """Says what this place is, to whoever typed its name; and takes the number of a notice without a link."""
    return render_template("home.html")


@blueprint.get("/p/<token>")
def landing(token: str) -> Response:
    """The page behind a link.  Changes nothing."""
    here = portal()
    now = here.clock()
    if "browser" in session and links.holds_window(here.store, token, _secret(here, token), now=now):
        return Response(render_template("landing.html", token=token, again=True, link=None))
    link = _live(here, _named(token), now)
    if link is None:
        return _no_such_link(token)
    return Response(render_template("landing.html", token=token, again=False, link=link))


def _named(token: str) -> str:
    """The token of a link, and no number of a notice without one: those open at the front door alone, by code."""
    return token if len(token) == TOKEN_LENGTH else ""


def _live(here: Portal, token: str, now: float) -> links.LiveLink | None:
    try:
        return links.find_live_link(here.store, token, now=now)
    except links.NoSuchLink:
        return None


def _no_such_link(token: str) -> Response:
    """The same for a link that is unknown, used, superseded, expired or recalled."""
    return Response(render_template("no_link.html", token=token), status=404)


@blueprint.post("/p/<token>/open")
def open_link(token: str) -> BaseResponse:
    """Open the message, once."""
    here = portal()
    try:
        return _open(here, token, _named(token))
    except Refused as error:
        link = _live(here, _named(token), here.clock())
        if link is None:
            return _no_such_link(token)
        page = render_template("landing.html", token=token, again=False, link=link, refused=error)
        return _refusal(page, error)
    except links.NoSuchLink:
        return _no_such_link(token)


@blueprint.post("/open")
def open_by_number() -> BaseResponse:
    """Open the message that a notice without a link is about.  A number that no notice has is refused like a code."""
    here = portal()
    number = plain_number(request.form.get("number", "")[:LONGEST])
    refused = Refused("empty", 400)
    try:
        if len(number) == REFERENCE_DIGITS:
            return _open(here, number, number)
    except Refused as error:
        refused = error
    except links.NoSuchLink:
        refused = Refused("wrong", 403)
    return _refusal(render_template("home.html", refused=refused), refused)


def _open(here: Portal, token: str, named: str) -> BaseResponse:
    """Open what ``token`` stands for, with what the form holds.  Raises :class:`Refused` and ``NoSuchLink``."""
    now = here.clock()
    secret = _secret(here, token)
    if links.holds_window(here.store, token, secret, now=now):
        return _to_message(here, secret)
    link = require(here, token, _live(here, named, now), request.form)
    try:
        links.claim(
            here.store,
            here.vault,
            link.link_id,
            window_seconds=here.settings.portal.pickup_window_minutes * 60,
            now=now,
            secret=secret,
            proof=Proof.CODE if link.needs_code else Proof.NUMBER,
        )
    except links.NoSuchLink:
        if not links.holds_window(here.store, token, secret, now=now):
            raise
        # The other click of a double click was first.
    return _to_message(here, secret)


def _refusal(page: str, error: Refused) -> Response:
    response = Response(page, status=error.status)
    if error.retry_after:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _to_message(here: Portal, secret: str) -> BaseResponse:
    others = [each for each in held_secrets(here) if each != secret]
    target = url_for("message.show", window=window_id(secret)) if others else url_for("message.show")
    response = redirect(target, 303)
    set_secrets(here, response, [secret, *others])
    return response


@blueprint.post("/fresh")
@blueprint.post("/p/<token>/fresh")
def fresh(token: str = "") -> BaseResponse:
    """Ask for a fresh notice to the mailbox that the first one was sent to.  Answers alike, whatever happened."""
    here = portal()
    now = here.clock()
    number = plain_number(request.form.get("number", "")[:LONGEST])
    if len(number) != (NUMBER_DIGITS if token else REFERENCE_DIGITS):
        return Response(render_template("fresh.html", token=token, problem=True), status=400)
    client = throttle.client_key(client_address())
    link_key = token_hash(token or number).hex()
    try:
        throttle.take(
            here.store, (FRESH_PER_CLIENT.of(client), FRESH_PER_CLIENT_AND_LINK.of(client, link_key)), now=now
        )
        asks.ask(here.store, token, number, now=now, by_code="by_code" in request.form)
    except throttle.Throttled:
        pass  # told apart, it would tell a stranger which links exist
    return redirect(url_for("pickup.asked"), 303)


@blueprint.get("/asked")
def asked() -> str:
    """What everyone sees who asked for a fresh link."""
    return render_template("asked.html")
