"""Files of messages on their own origin, where the settings name one: one route, and nothing else of the portal.

A ticket that is used or over leads back to the portal, where the link that made it makes a new one.
"""

from __future__ import annotations

from flask import Blueprint, abort, g, redirect, url_for
from werkzeug.wrappers import Response as BaseResponse

from restante.store import admins, links
from restante_portal import message, review, tickets
from restante_portal.context import Portal, portal
from restante_portal.cookie_secrets import name_of

blueprint = Blueprint("files", __name__)


@blueprint.get("/f/<sealed>")
def fetch(sealed: str) -> BaseResponse:
    """The file that a ticket is for."""
    here = portal()
    ticket = tickets.read(here, sealed)
    if ticket is None:
        abort(404)
    again = tickets.came_before(here, ticket)
    if not again and not tickets.comes_first(here, ticket):
        return _back(here, ticket)
    try:
        response = _reviewed(here, ticket) if ticket.reviewed else _picked_up(here, ticket)
    except (links.NoPickup, admins.NotSignedIn):
        return _back(here, ticket)
    if not again:
        tickets.give_cookie(here, response, ticket)
    return response


def _picked_up(here: Portal, ticket: tickets.Ticket) -> BaseResponse:
    pickup = links.pickup_of(here.store, here.vault, ticket.secret_hash, now=here.clock())
    return message.send_file(here, pickup, ticket.part, window=name_of(ticket.secret_hash))


def _reviewed(here: Portal, ticket: tickets.Ticket) -> BaseResponse:
    g.restante_admin = admins.session_of(here.store, ticket.secret_hash, now=here.clock())
    return review.send_file(here, ticket.reviewed, ticket.part)


def _back(here: Portal, ticket: tickets.Ticket) -> BaseResponse:
    if ticket.reviewed:
        page = url_for("review.message", delivery_id=ticket.reviewed)
    else:
        page = url_for("message.show", window=name_of(ticket.secret_hash))
    return redirect(f"{here.settings.portal.url}{page}", 303)
