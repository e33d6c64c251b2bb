"""What holds for every answer: headers, the right host, error pages that give nothing away."""

from __future__ import annotations

from urllib.parse import urlsplit

import structlog
from flask import Flask, Response, abort, g, render_template, request
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.exceptions import HTTPException

from restante.store.engine import StoreUnavailable
from restante.vault import CannotOpen
from restante_portal.context import portal

log = structlog.stdlib.get_logger(__name__)

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none';"
    " frame-src 'self'; base-uri 'none'"
)
FRAME_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; frame-ancestors 'self';"
    " base-uri 'none'; sandbox"
)
FILE_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
SCRIPT_POLICY = f"{PAGE_POLICY}; script-src 'self'"
UPLOAD_POLICY = f"{SCRIPT_POLICY}; connect-src 'self'"
RETRY_SECONDS = 30
FILES = "files.fetch"
_BESIDE_FILES = frozenset({FILES, "static", "branding.colours", "branding.logo", "branding.logo_dark"})

_ALWAYS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Origin-Agent-Cluster": "?1",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def install(app: Flask) -> None:
    """Put the guards around every route of ``app``."""
    app.before_request(_right_host)
    CSRFProtect(app)  # every POST, also of routes to come
    app.after_request(_headers)
    app.register_error_handler(CSRFError, _no_form_key)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(StoreUnavailable, _store_unavailable)
    app.register_error_handler(CannotOpen, _cannot_open)
    app.register_error_handler(Exception, _defect)


def as_frame() -> None:
    """The current answer is shown in a frame of our own page."""
    g.restante_frame = True


def as_file() -> None:
    """The current answer is a file of a message: a browser that showed it all the same would run and load nothing."""
    g.restante_file = True


def as_picture() -> None:
    """The current answer is a picture of the operator's: opened by itself, it runs and loads nothing."""
    g.restante_picture = True


def as_public() -> None:
    """The current answer is the same for everyone, and may be kept."""
    g.restante_public = True


def with_script() -> None:
    """The current answer may run our own script files, which only add to what works without."""
    g.restante_page_policy = SCRIPT_POLICY


def with_upload() -> None:
    """The current answer may run our own script files, which may send its form."""
    g.restante_page_policy = UPLOAD_POLICY


def _right_host() -> None:
    """Another Host than the settings' is refused: a page of ours under a stranger's name is a stranger's page.

    Under the name that is for files there are files, and what an error page shows.
    """
    if request.endpoint == "health":
        return
    settings = portal().settings.portal
    named = _with_port(request.environ.get("HTTP_HOST", ""), urlsplit(settings.url).scheme)
    if named == _host_of(settings.url):
        wrong = request.endpoint == FILES
    elif settings.files_url and named == _host_of(settings.files_url):
        g.restante_elsewhere = True
        wrong = request.endpoint is not None and request.endpoint not in _BESIDE_FILES
    else:
        abort(400, "host")
    if wrong:
        abort(404)


def _host_of(url: str) -> str:
    parts = urlsplit(url)
    return _with_port(parts.netloc, parts.scheme)


def _with_port(host: str, scheme: str) -> str:
    default = ":443" if scheme == "https" else ":80"
    host = host.strip().lower()
    return host if host.rpartition("]")[2].count(":") else host + default


def _headers(response: Response) -> Response:
    for name, value in _ALWAYS.items():
        response.headers[name] = value
    framed = g.get("restante_frame", False) and response.status_code == 200
    response.headers["Content-Security-Policy"] = policy = FRAME_POLICY if framed else _policy(response)
    if policy == FILE_POLICY:
        # Nothing is to be opened by a file; and beside a sandbox it is an error where what came is shown (HTML, 7.4.5).
        del response.headers["Cross-Origin-Opener-Policy"]
    response.headers["X-Frame-Options"] = "SAMEORIGIN" if framed else "DENY"
    shared = request.endpoint == "static" or g.get("restante_public", False)
    public = shared and response.status_code == 200
    response.headers["Cache-Control"] = "public, max-age=3600" if public else "no-store"
    if portal().https:
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    return response


def _policy(response: Response) -> str:
    if g.get("restante_picture", False):
        return PICTURE_POLICY
    if g.get("restante_file", False) and response.status_code < 300:
        return FILE_POLICY
    return str(g.get("restante_page_policy", PAGE_POLICY))


def _page(status: int, *, reason: str = "") -> Response:
    return Response(render_template("error.html", status=status, reason=reason), status=status, mimetype="text/html")


def _no_form_key(_error: CSRFError) -> Response:
    return _page(400, reason="form-key")


def _http_error(error: HTTPException) -> Response:
    if error.response is not None and error.code is not None and error.code < 400:
        return Response(error.get_body(), status=error.code)
    if error.code is not None and 300 <= error.code < 400:
        return Response(status=error.code, headers={"Location": dict(error.get_headers()).get("Location", "/")})
    response = _page(error.code or 500, reason=error.description or "")
    if error.code == 405:
        response.headers["Allow"] = dict(error.get_headers()).get("Allow", "GET, HEAD")
    return response


def _store_unavailable(error: StoreUnavailable) -> Response:
    log.error("store-unavailable", cause=str(error))
    response = _page(503, reason="store")
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def _cannot_open(error: CannotOpen) -> Response:
    log.error("cannot-open", cause=str(error))
    response = _page(503, reason="cannot-open")
    response.headers["Retry-After"] = "600"
    return response


def _defect(error: Exception) -> Response:
    # The request's boundary.  Flask would log the path, which holds the token of a link; the endpoint tells enough.
    log.error("defect", endpoint=request.endpoint, exc_info=error)
    return _page(500)
