"""The pickup windows of this browser: messages that were opened with it and that are still open to it.

Every request looks its window up again, so that expiry and recall take effect at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flask import abort, g, request
from werkzeug.wrappers import Response as BaseResponse

from restante.store import links
from restante_portal import cookie_secrets
from restante_portal.context import Portal

_COOKIE = "restante-pickup"


@dataclass(frozen=True)
class Window:
    """An open message, and the secret that it is open to."""

    secret: str = field(repr=False)
    pickup: links.Pickup

    @property
    def name(self) -> str:
        """As it stands in addresses."""
        return window_id(self.secret)


def window_id(secret: str) -> str:
    """A name for a window that may stand in an address: it opens nothing without the cookie."""
    return cookie_secrets.public_name(secret)


def held_secrets(here: Portal) -> list[str]:
    """The secrets of the windows that this browser has opened, the latest first."""
    return cookie_secrets.held(here, _COOKIE)


def set_secrets(here: Portal, response: BaseResponse, secrets: list[str]) -> None:
    """Give the browser its windows' secrets."""
    cookie_secrets.give(here, response, _COOKIE, secrets)


def find_window(here: Portal, wanted: str, *, late_seconds: float = 0) -> Window | None:
    """The window that is called ``wanted``, or the latest where that is empty; ``None`` when it is over.

    One that ended by itself ``late_seconds`` ago is found as well.
    """
    for secret in held_secrets(here):
        if wanted and window_id(secret) != wanted:
            continue
        try:
            found = links.find_pickup(
                here.store,
                here.vault,
                secret,
                now=here.clock(),
                late_seconds=late_seconds,
                window_seconds=here.settings.portal.pickup_window_minutes * 60,
            )
        except links.NoPickup:
            continue
        return Window(secret, found)
    return None


def named_window(here: Portal) -> Window | None:
    """The window that the address or the form names, or the latest."""
    return find_window(here, request.args.get("window", "") or request.form.get("window", ""))


def require_window(here: Portal) -> Window:
    """The same, or 403."""
    window = named_window(here)
    if window is None:
        abort(403, "window")
    g.restante_window = window.name
    return window
