"""A recipient at the door: the landing page of a link, opening it, asking for a fresh one.

``GET`` changes nothing, whoever sends it and however often.  Opening is a POST from that page.  The pickup window's
secret is derived from this browser's own secret and the link, so that a second click, or a try whose answer was
lost on the way, finds the window that the first one opened; no other browser can derive it.
"""

from __future__ import annotations

from flask import Blueprint, Response, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response as BaseResponse

from restante.envelope import Address, BadAddress
from restante.store import links, throttle
from restante.tokens import code_matches, token_hash
from restante_portal.context import Portal, browser_id, client_address, portal

blueprint = Blueprint("pickup", __name__)

CODE_PER_CLIENT = throttle.Limit("code-client", 5, 900)
CODE_PER_LINK = throttle.Limit("code-link", 30, 3600)
FRESH_PER_CLIENT = throttle.Limit("fresh-client", 10, 3600)
FRESH_PER_LINK = throttle.Limit("fresh-link", 3, 3600)

MOST_WINDOWS = 8
_COOKIE = "restante-pickup"


def window_id(secret: str) -> str:
    """A name for a window that may stand in an address: it opens nothing without the cookie."""
    return token_hash(secret)[:8].hex()


def held_secrets(here: Portal) -> list[str]:
    """The secrets of the windows that this browser has opened, the latest first."""
    return [s for s in request.cookies.get(here.cookie_name(_COOKIE), "").split(".") if s][:MOST_WINDOWS]


def set_secrets(here: Portal, response: BaseResponse, secrets: list[str]) -> None:
    """Give the browser its windows' secrets."""
    response.set_cookie(
        here.cookie_name(_COOKIE),
        ".".join(secrets[:MOST_WINDOWS]),
        httponly=True,
        secure=here.https,
        samesite="Strict",
        path="/",
    )


def _secret(here: Portal, token: str) -> str:
    return here.derive("window", browser_id(), token)


@blueprint.get("/")
def home() -> str:
    """Says what this place is, to whoever typed its name to check a notice."""
    return render_template("home.html")


@blueprint.get("/p/<token>")
def landing(token: str) -> Response:
    """The page behind a link.  Changes nothing."""
    here = portal()
    now = here.clock()
    if "browser" in session and links.holds_window(here.store, token, _secret(here, token), now=now):
        return Response(render_template("landing.html", token=token, again=True, needs_code=False))
    try:
        link = links.find_live_link(here.store, token, now=now)
    except links.NoSuchLink:
        return _no_such_link(token)
    return Response(render_template("landing.html", token=token, again=False, needs_code=link.needs_code))


def _no_such_link(token: str) -> Response:
    """The same for a link that is unknown, used, superseded, expired or recalled."""
    return Response(render_template("no_link.html", token=token), status=404)


@blueprint.post("/p/<token>/open")
def open_link(token: str) -> BaseResponse:
    """Open the message, once."""
    here = portal()
    now = here.clock()
    secret = _secret(here, token)
    if links.holds_window(here.store, token, secret, now=now):
        return _to_message(here, secret)
    try:
        link = links.find_live_link(here.store, token, now=now)
        refused = _check_proof(here, token, link)
        if refused is not None:
            return refused
        links.claim(
            here.store,
            here.vault,
            link.link_id,
            window_seconds=here.settings.portal.pickup_window_minutes * 60,
            now=now,
            secret=secret,
        )
    except links.NoSuchLink:
        if links.holds_window(here.store, token, secret, now=now):
            return _to_message(here, secret)  # the other click of a double click was first
        return _no_such_link(token)
    return _to_message(here, secret)


def _check_proof(here: Portal, token: str, link: links.LiveLink) -> Response | None:
    """``None`` when the visitor proved to be the person; else the page that says why not.

    Where no access code is needed, the recipient types the address that the notice came to.  That is no secret: it
    is what mail scanners that run scripts, press buttons and submit forms do not do.
    """
    field = "code" if link.needs_code else "address"
    typed = request.form.get(field, "")[:320]
    if not typed.strip():
        return _landing_again(token, link, "empty", 400)
    client = throttle.client_key(client_address())
    counters = (CODE_PER_CLIENT.of(link.link_id, client), CODE_PER_LINK.of(link.link_id))
    try:
        throttle.take(here.store, counters, now=here.clock())
    except throttle.Throttled as error:
        page = _landing_again(token, link, "throttled", 429, minutes=-(-int(error.retry_after) // 60))
        page.headers["Retry-After"] = str(int(error.retry_after))
        return page
    right = code_matches(link.code_hash or "", typed) if link.needs_code else _same_mailbox(link.recipient, typed)
    if not right:
        return _landing_again(token, link, "wrong", 403)
    throttle.give_back(here.store, counters)
    return None


def _same_mailbox(recipient: str, typed: str) -> bool:
    """Whether a person would call both the same address: case and surrounding space do not matter."""
    try:
        one, other = Address.parse(recipient), Address.parse(typed)
    except BadAddress:
        return False
    return (one.text.rpartition("@")[0].casefold(), one.domain) == (
        other.text.rpartition("@")[0].casefold(),
        other.domain,
    )


def _landing_again(token: str, link: links.LiveLink, problem: str, status: int, *, minutes: int = 0) -> Response:
    page = render_template(
        "landing.html",
        token=token,
        again=False,
        needs_code=link.needs_code,
        problem=problem,
        minutes=max(1, minutes),
    )
    return Response(page, status=status)


def _to_message(here: Portal, secret: str) -> BaseResponse:
    others = [each for each in held_secrets(here) if each != secret]
    target = url_for("message.show", window=window_id(secret)) if others else url_for("message.show")
    response = redirect(target, 303)
    set_secrets(here, response, [secret, *others])
    return response


@blueprint.post("/p/<token>/fresh")
def fresh(token: str) -> BaseResponse:
    """Ask for a fresh link to the mailbox that this one was sent to.  Answers alike, whatever happened."""
    here = portal()
    now = here.clock()
    client = throttle.client_key(client_address())
    counters = (FRESH_PER_CLIENT.of(client), FRESH_PER_LINK.of(token_hash(token).hex()))
    try:
        throttle.take(here.store, counters, now=now)
        links.request_fresh_link(here.store, token, now=now)
    except throttle.Throttled:
        pass  # told apart, it would tell a stranger which links exist
    return redirect(url_for("pickup.asked"), 303)


@blueprint.get("/asked")
def asked() -> str:
    """What everyone sees who asked for a fresh link."""
    return render_template("asked.html")
