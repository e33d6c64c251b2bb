"""Recipients who find that somebody was there before them: when the message was opened, and "it was not me".

Told to whoever has proved the access code, or has opened a fresh link; a dead link alone tells nothing.  From there one
button freezes the message: it takes what the proof gave to this browser, so that no program that presses buttons on
other pages can do it, and it closes the window of whoever presses it, too.
"""

from __future__ import annotations

import hmac
from contextlib import suppress

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from restante.store import openings
from restante.store.freezing import NotFrozen, freeze
from restante_portal.context import Portal, browser_id, portal
from restante_portal.proof import Refused, require
from restante_portal.windows import require_window

blueprint = Blueprint("openings", __name__)


@blueprint.get("/p/<token>/history")
@blueprint.get("/p/<token>/not-me")
def back(token: str) -> BaseResponse:
    """Where an answer is asked for in another language, or loaded again: back to the link's page."""
    return redirect(url_for("pickup.landing", token=token, lang=request.args.get("lang")), 303)


@blueprint.post("/p/<token>/history")
def history(token: str) -> Response:
    """When the message was opened, for whoever knows its access code.  Unknown links are the same work."""
    here = portal()
    try:
        link = require(here, token, openings.coded_link(here.store, token, now=here.clock()), request.form)
    except Refused as error:
        response = Response(render_template("no_link.html", token=token, refused=error), status=error.status)
        if error.retry_after:
            response.headers["Retry-After"] = str(error.retry_after)
        return response
    found = openings.openings(here.store, link.delivery_id)
    return Response(render_template("openings.html", token=token, openings=found, proof=_proof(here, token)))


def _proof(here: Portal, token: str) -> str:
    """What a browser gets that has proved the code of ``token``."""
    return here.derive("not-me", browser_id(), token)


@blueprint.post("/p/<token>/not-me")
def by_code(token: str) -> BaseResponse:
    """Freeze the message, with what :func:`history` gave."""
    here = portal()
    given = request.form.get("proof", "")
    link = openings.coded_link(here.store, token, now=here.clock())
    if link is None or not hmac.compare_digest(given.encode("utf-8", "replace"), _proof(here, token).encode()):
        return Response(render_template("no_link.html", token=token), status=404)
    return _freeze(here, link.delivery_id)


@blueprint.post("/message/not-me")
def by_window() -> BaseResponse:
    """Freeze the message of this browser's window."""
    here = portal()
    return _freeze(here, require_window(here).pickup.delivery_id)


def _freeze(here: Portal, delivery_id: str) -> BaseResponse:
    with suppress(NotFrozen):  # it was frozen before, or ended meanwhile: nobody opens it either way
        freeze(here.store, delivery_id, actor="recipient", now=here.clock())
    return redirect(url_for("openings.frozen"), 303)


@blueprint.get("/frozen")
def frozen() -> str:
    """After freezing."""
    return render_template("frozen.html")
