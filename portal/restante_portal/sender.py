"""A sender at the page about a message: what became of each copy, and what can still be done about it.

``GET`` changes nothing.  The link in the confirmation opens with the number of that mail, which a program that follows
links and submits forms does not find (:mod:`restante_portal.proof` says why), and gives this browser a session.  Every
action is a POST within it and concerns the session's own message alone; the content of the message is never shown.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response as BaseResponse

from restante.receipts import CHOSEN
from restante.store import fresh, holding, links, receipts, sender_links, throttle
from restante.store.extension import NotExtended, extend
from restante.store.freezing import NotFrozen, lift
from restante.store.sent import Sent, SentCopy, look
from restante.tokens import token_hash
from restante_portal import cookie_secrets
from restante_portal.context import Portal, browser_id, client_address, portal
from restante_portal.proof import LONGEST, Refused

blueprint = Blueprint("sender", __name__)

PER_CLIENT = throttle.Limit("sender-client", 5, 900)
PER_CLIENT_OVERALL = throttle.Limit("sender-client-overall", 60, 3600)
PER_LINK = throttle.Limit("sender-link", 30, 3600)
CODES = throttle.Limit("sender-codes", 20, 3600)

PAGE = 15  # a page with that many long histories is still a light one
LONGER_DAYS = (3, 7, 14, 30)
_COOKIE = "restante-sender"
_DAY = 86_400.0


def _secrets(here: Portal) -> list[str]:
    """The secrets of this browser's sessions, the latest first."""
    return cookie_secrets.held(here, _COOKIE)


def _find(here: Portal, token: str) -> sender_links.FoundSenderLink | None:
    try:
        return sender_links.find(here.store, token, now=here.clock())
    except sender_links.NoSuchSenderLink:
        return None


def _is_open(here: Portal, secret: str) -> bool:
    try:
        sender_links.find_visit(here.store, secret, now=here.clock())
    except sender_links.NoSenderSession:
        return False
    return True


@blueprint.get("/s/<token>")
def landing(token: str) -> Response:
    """The page behind a link.  Changes nothing."""
    here = portal()
    again = "browser" in session and _is_open(here, here.derive("sender", browser_id(), token))
    if not again and _find(here, token) is None:
        return _no_such_link()
    return Response(render_template("sender/landing.html", token=token, again=again))


def _no_such_link() -> Response:
    """The same for a link that is unknown and for one whose time is over."""
    return Response(render_template("sender/over.html", link=True), status=404)


@blueprint.get("/s/<token>/open")
def back(token: str) -> BaseResponse:
    """Where the answer to the form is loaded again: back to the form."""
    return redirect(url_for("sender.landing", token=token), 303)


@blueprint.post("/s/<token>/open")
def open_link(token: str) -> BaseResponse:
    """Begin a session in this browser."""
    here = portal()
    secret = here.derive("sender", browser_id(), token)
    if not _is_open(here, secret):
        link = _find(here, token)
        try:
            _require_number(here, token, link)
        except Refused as error:
            if link is None:
                return _no_such_link()
            page = render_template("sender/landing.html", token=token, again=False, refused=error)
            refusal = Response(page, status=error.status)
            if error.retry_after:
                refusal.headers["Retry-After"] = str(error.retry_after)
            return refusal
        if link is None:
            return _no_such_link()
        seconds = here.settings.portal.pickup_window_minutes * 60
        sender_links.begin(here.store, link, secret, seconds=seconds, now=here.clock())
    response = redirect(url_for("sender.show", window=cookie_secrets.public_name(secret)), 303)
    cookie_secrets.give(here, response, _COOKIE, [secret, *(each for each in _secrets(here) if each != secret)])
    return response


def _require_number(here: Portal, token: str, link: sender_links.FoundSenderLink | None) -> None:
    """Raise :class:`Refused` unless the form holds the number of the mail; a link that is none costs the same work."""
    typed = request.form.get("number", "")[:LONGEST]
    if not typed.strip():
        raise Refused("empty", 400)
    key, client = token_hash(token).hex(), throttle.client_key(client_address())
    counters = (PER_CLIENT.of(key, client), PER_CLIENT_OVERALL.of(client), PER_LINK.of(key))
    try:
        throttle.take(here.store, counters, now=here.clock())
    except throttle.Throttled as error:
        raise Refused("throttled", 429, error.retry_after) from None
    if link is None or not link.is_number(token, typed):
        raise Refused("wrong", 403)
    throttle.give_back(here.store, counters)


class _Session:
    """This browser's session, with its message."""

    def __init__(self, here: Portal, secret: str, visit: sender_links.Visit) -> None:
        self.here, self.secret, self.visit = here, secret, visit
        self.name = cookie_secrets.public_name(secret)
        self.sent: Sent = look(here.store, visit.message_id)

    def copy(self) -> SentCopy:
        """The copy that the form names, or 404: another message's copies are not known here."""
        found = self.sent.copy(request.form.get("delivery", ""))
        if found is None:
            abort(404)
        return found


def _session() -> _Session | None:
    """The session that the address or the form names, or the latest; ``None`` when it is over."""
    here = portal()
    wanted = request.args.get("window", "") or request.form.get("window", "")
    for secret in _secrets(here):
        if wanted and cookie_secrets.public_name(secret) != wanted:
            continue
        try:
            return _Session(here, secret, sender_links.find_visit(here.store, secret, now=here.clock()))
        except sender_links.NoSenderSession:
            continue
    return None


def _over() -> Response:
    return Response(render_template("sender/over.html", link=False), status=403)


@blueprint.get("/sent")
def show() -> Response:
    """What became of the message."""
    found = _session()
    return _over() if found is None else _page(found)


def _page(found: _Session, *, code: tuple[str, str] | None = None) -> Response:
    here, sent = found.here, found.sent
    asked = request.args.get("from", "")
    first = min(int(asked), len(sent.copies)) if asked.isdecimal() and len(asked) < 6 else 0
    page = render_template(
        "sender/page.html",
        window=found.name,
        ends_at=found.visit.ends_at,
        sent=sent,
        copies=sent.copies[first : first + PAGE],
        first=first,
        page=PAGE,
        code=code,
        longer=[days for days in LONGER_DAYS if sent.expires_at + days * _DAY < sent.extend_until],
        extensible=sent.extensible(here.clock()),
        chosen=CHOSEN,
        mailed=receipts.mailed(here.store, found.visit.sender_digest, here.settings.notice.receipts),
    )
    return Response(page)


@blueprint.post("/sent")
def act() -> BaseResponse:
    """Do something about the message of this session."""
    found = _session()
    if found is None:
        return _over()
    action = request.form.get("action", "")
    if action == "code":
        return _new_code(found)
    if action == "close":
        return _close(found)
    perform = _ACTIONS.get(action)
    if perform is None:
        abort(400)
    try:
        flash(perform(found), "sent-done")
    except (holding.IllegalTransition, NotFrozen, NotExtended, links.NoSuchLink):
        flash("late", "sent-late")
    return redirect(url_for("sender.show", window=found.name), 303)


def _recall(found: _Session) -> str:
    holding.recall(found.here.store, found.copy().delivery_id, actor="sender", now=found.here.clock())
    return "recalled"


def _extend(found: _Session) -> str:
    typed = request.form.get("days", "")
    days = int(typed) if typed.isdecimal() and len(typed) < 5 else 0
    now = found.here.clock()
    until = found.sent.expires_at + days * _DAY if days else found.sent.extend_until
    extend(found.here.store, found.sent.message_id, until=until, actor="sender", now=now)
    return "extended"


def _resend(found: _Session) -> str:
    queued = fresh.resend(found.here.store, found.copy().delivery_id, actor="sender", now=found.here.clock())
    if not queued:
        raise links.NoSuchLink
    return "resent"


def _lift(found: _Session) -> str:
    lift(found.here.store, found.copy().delivery_id, actor="sender", now=found.here.clock())
    return "lifted"


def _receipts(found: _Session) -> str:
    wanted = [one for one in CHOSEN if one in request.form.getlist("mailed")]
    receipts.prefer(found.here.store, found.visit.sender_digest, wanted, now=found.here.clock())
    return "receipts"


_ACTIONS: dict[str, Callable[[_Session], str]] = {
    "recall": _recall,
    "extend": _extend,
    "resend": _resend,
    "lift": _lift,
    "receipts": _receipts,
}


def _new_code(found: _Session) -> BaseResponse:
    """A new access code, in this answer and nowhere else."""
    copy, here = found.copy(), found.here
    try:
        throttle.take(here.store, (CODES.of(found.sent.message_id),), now=here.clock())
        code = links.renew_code(here.store, copy.delivery_id, actor="sender", now=here.clock())
    except (links.NoSuchLink, throttle.Throttled):
        flash("late", "sent-late")
        return redirect(url_for("sender.show", window=found.name), 303)
    return _page(_Session(here, found.secret, found.visit), code=(copy.recipient, code))


def _close(found: _Session) -> BaseResponse:
    """End the session before its time, as on somebody else's computer."""
    sender_links.end(found.here.store, found.secret, now=found.here.clock())
    response = redirect(url_for("pickup.home"), 303)
    cookie_secrets.give(found.here, response, _COOKIE, [each for each in _secrets(found.here) if each != found.secret])
    return response
