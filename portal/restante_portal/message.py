"""A recipient inside the pickup window: the message, its attachments, saving and closing it."""

from __future__ import annotations

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from restante.store import links, receipts
from restante.store.openings import openings
from restante_portal import tickets
from restante_portal.content import ALL_ATTACHMENTS, WHOLE, Opened, require, send, send_body, shown, summary_of
from restante_portal.context import Portal, portal
from restante_portal.watermark import Watermark
from restante_portal.windows import Window, held_secrets, named_window, require_window, set_secrets

blueprint = Blueprint("message", __name__)


def _watermark(here: Portal, window: Window) -> Watermark | None:
    return Watermark.of(window.pickup.recipient, here.clock()) if window.pickup.view_only else None


def _opened(here: Portal, window: Window) -> Opened:
    return Opened.of(here, window.pickup.key, window.pickup.size)


@blueprint.get("/message")
def show() -> str:
    """The message."""
    here = portal()
    window = require_window(here)
    opened = _opened(here, window)
    return render_template(
        "message.html",
        window=window.name,
        pickup=window.pickup,
        summary=summary_of(window.pickup.summary),
        index=opened.index,
        watermark=_watermark(here, window),
        openings=openings(here.store, window.pickup.delivery_id, besides=window.secret),
        **shown(opened),
    )


@blueprint.get("/message/body")
@blueprint.get("/message/body/<int:number>")
def body(number: int = 0) -> Response:
    """The HTML of the message, for the frame."""
    here = portal()
    window = require_window(here)
    opened = _opened(here, window)
    html = [part.number for part in opened.index.bodies if part.content_type == "text/html"]
    return send_body(opened, number or (html[0] if html else 0), _watermark(here, window))


@blueprint.get("/message/attachments/<int:number>")
def attachment(number: int) -> BaseResponse:
    """One attachment, decoded, byte by byte as the sender attached it."""
    if number < 1:
        abort(404)
    return _take(number)


@blueprint.get("/message/attachments.zip")
def attachments() -> BaseResponse:
    """All attachments at once."""
    return _take(ALL_ATTACHMENTS)


@blueprint.get("/message.eml")
def save() -> BaseResponse:
    """The whole message, byte by byte as it was sent."""
    return _take(WHOLE)


def _take(part: int) -> BaseResponse:
    here = portal()
    window = require_window(here)
    if here.settings.portal.files_url:
        # What there is not, or cannot be read, is told on a page of ours.
        require(_taking(here, window.pickup), part)
        return tickets.to_files(here, window.secret, part)
    return send_file(here, window.pickup, part, window=window.name)


def _taking(here: Portal, pickup: links.Pickup) -> Opened:
    """The content, for what leaves for the recipient's disk; 404 where that may only be read."""
    if pickup.view_only:
        abort(404)
    return Opened.of(here, pickup.key, pickup.size)


def send_file(here: Portal, pickup: links.Pickup, part: int, *, window: str) -> Response:
    """Part ``part`` of the message in the pickup window that is called ``window``.

    Its tag (RFC 9110, section 8.8.3) is the same in a later window, where a download can be resumed.  The sender is let
    know that the recipient begins to take a part; not of what only resumes or asks for the size.
    """
    answer = send(_taking(here, pickup), part, here.derive("tag", pickup.delivery_id)[:22])
    begins = answer.status_code == 200 or answer.headers.get("Content-Range", "").startswith("bytes 0-")
    if request.method == "GET" and begins:
        moment = here.clock()
        receipts.downloaded(here.store, pickup.message_id, pickup.delivery_id, window=window, part=part, now=moment)
    return answer


@blueprint.post("/message/close")
def close() -> BaseResponse:
    """End the window before its time, as on somebody else's computer."""
    here = portal()
    window = named_window(here)
    response = redirect(url_for("message.closed"), 303)
    if window is not None:
        links.close_window(here.store, window.secret, now=here.clock())
        set_secrets(here, response, [each for each in held_secrets(here) if each != window.secret])
    return response


@blueprint.get("/closed")
def closed() -> str:
    """After closing."""
    return render_template("closed.html")
