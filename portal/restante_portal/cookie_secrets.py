"""Secrets of what one browser has opened, several in one cookie, the latest first."""

from __future__ import annotations

from flask import request
from werkzeug.wrappers import Response as BaseResponse

from restante.tokens import token_hash
from restante_portal.context import Portal

MOST = 8
"""Secrets that one browser keeps."""


def public_name(secret: str) -> str:
    """A name for what ``secret`` opens that may stand in an address: it opens nothing without the cookie."""
    return name_of(token_hash(secret))


def name_of(secret_hash: bytes) -> str:
    """The same name by what is stored of the secret."""
    return secret_hash[:8].hex()


def held(here: Portal, cookie: str) -> list[str]:
    """The secrets that this browser has in ``cookie``."""
    return [secret for secret in request.cookies.get(here.cookie_name(cookie), "").split(".") if secret][:MOST]


def give(here: Portal, response: BaseResponse, cookie: str, secrets: list[str]) -> None:
    """Have the browser keep ``secrets`` in ``cookie``, in the place of those that it has."""
    response.set_cookie(
        here.cookie_name(cookie),
        ".".join(secrets[:MOST]),
        httponly=True,
        secure=here.https,
        samesite="Strict",
        path="/",
    )
