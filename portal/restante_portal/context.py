"""What every request needs, made once for each process and kept with the application."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from flask import Flask, current_app, request, session

from restante.enrolment_keys import PortalKeys
from restante.settings import Settings
from restante.store.engine import Store
from restante.vault import Opener, Sealer
from restante_portal.explainer import Explainer
from restante_portal.index_cache import IndexCache

EXTENSION = "restante"


@dataclass(frozen=True)
class Portal:
    """Settings, store and keys.  ``key`` derives secrets that only this service can derive again."""

    settings: Settings
    store: Store
    clock: Callable[[], float]
    vault: Opener = field(repr=False)
    worker: Sealer = field(repr=False)
    key: bytes = field(repr=False)
    explainer: Explainer = field(repr=False)
    people: PortalKeys = field(repr=False)
    indexes: IndexCache = field(default_factory=IndexCache, repr=False)

    def close(self) -> None:
        """Let go of the database and of the process that reads attachments."""
        self.explainer.close()
        self.store.close()

    @property
    def https(self) -> bool:
        """Whether browsers reach us by https; false only on localhost, as the settings demand."""
        return self.settings.portal.url.startswith("https:")

    def cookie_name(self, name: str) -> str:
        """A cookie's name.  Without https there is no ``__Host-``: browsers would drop the cookie."""
        return f"__Host-{name}" if self.https else name

    def derive(self, purpose: str, *parts: str) -> str:
        """A secret for ``purpose`` and ``parts``, URL-safe, 256 bits."""
        text = "\0".join((purpose, *parts)).encode("utf-8", "replace")
        return base64.urlsafe_b64encode(hmac.digest(self.key, text, hashlib.sha256)).rstrip(b"=").decode()


def portal() -> Portal:
    """The current application's."""
    return portal_of(current_app)


def portal_of(app: Flask) -> Portal:
    """That of ``app``."""
    return cast(Portal, app.extensions[EXTENSION])


def browser_id() -> str:
    """A secret that names this browser, in the signed session cookie.  Made at the first call.

    The cookie is SameSite=Lax, so that it also arrives when the recipient comes from a webmail page.
    """
    found = session.get("browser")
    if not isinstance(found, str):
        found = session["browser"] = secrets.token_urlsafe(32)
    return found


def client_address() -> str:
    """The client's address; a proxy's word counts only when the settings say how many proxies are ours."""
    return request.remote_addr or ""


def one_line(text: str) -> str:
    """What someone typed into a field, without control characters: PostgreSQL takes no NUL in a text."""
    return "".join(c for c in text if c.isprintable()).strip()
