"""The application factory: one Flask application for each worker process."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable

from flask import Flask, Response
from sqlalchemy import text
from werkzeug.middleware.proxy_fix import ProxyFix

from restante.credentials import Credential, read_credential
from restante.enrolment_keys import PortalKeys
from restante.settings import Settings
from restante.store.engine import Store
from restante.store.ring import KeyRing
from restante.tokens import nobodys_hash
from restante.vault import Opener, Sealer
from restante_portal import (
    branding,
    context,
    enrolling,
    explaining,
    files,
    guard,
    inbox,
    language,
    message,
    openings,
    pickup,
    replying,
    review,
    sender,
    signin,
)
from restante_portal.explainer import Explainer
from restante_portal.uploads import UploadRequest

FORM_BYTES = 65_536


def create_app(settings: Settings, *, store: Store | None = None, clock: Callable[[], float] = time.time) -> Flask:
    """The portal.  Raises :class:`restante.credentials.BadCredential`.

    ``store`` replaces the one named in the settings; ``clock`` gives Unix seconds.  Call it after the fork.
    """
    key = read_credential(settings.credentials, Credential.PORTAL)
    vault_key = read_credential(settings.credentials, Credential.VAULT)
    worker_public = base64.b64decode(settings.vault.worker_public_key)
    look = branding.load(settings)
    store = store or Store(settings.database)
    here = context.Portal(
        settings=settings,
        store=store,
        clock=clock,
        vault=Opener(vault_key, KeyRing(settings.ring_path)),
        worker=Sealer("worker", worker_public),
        key=key,
        explainer=Explainer(settings, store),
        people=PortalKeys.of(vault_key, worker_public, key),
    )
    nobodys_hash()  # made now, so that the first visitor with an unknown link waits no longer than others
    app = Flask(__name__)
    app.request_class = UploadRequest
    app.extensions[context.EXTENSION] = here
    app.config.update(
        SECRET_KEY=here.derive("session"),
        SESSION_COOKIE_NAME=here.cookie_name("restante"),
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SECURE=here.https,
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=FORM_BYTES,
        MAX_FORM_MEMORY_SIZE=FORM_BYTES,
        MAX_FORM_PARTS=200,
        WTF_CSRF_FIELD_NAME="form_key",
        # A landing page may stay open for days; the key dies with the browser's session.
        WTF_CSRF_TIME_LIMIT=None,
        # The check of Referer: our own Referrer-Policy blanks it.
        WTF_CSRF_SSL_STRICT=False,
    )
    app.jinja_env.globals.update(settings=settings)
    app.jinja_options["autoescape"] = True
    app.before_request(explaining.make_room)  # before the guards, which read the form
    replying.install(app)
    guard.install(app)
    language.install(app)
    branding.install(app, look)
    for blueprint in (
        pickup.blueprint,
        message.blueprint,
        inbox.blueprint,
        enrolling.blueprint,
        openings.blueprint,
        sender.blueprint,
        signin.blueprint,
        review.blueprint,
        explaining.blueprint,
        files.blueprint,
    ):
        app.register_blueprint(blueprint)
    _plain_routes(app, here.store)
    if settings.portal.trusted_proxies:
        hops = settings.portal.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=0)  # type: ignore[method-assign]
    return app


def _plain_routes(app: Flask, store: Store) -> None:
    @app.get("/healthz", endpoint="health")
    def health() -> Response:
        with store.read() as session:
            session.execute(text("SELECT 1"))
        return Response("ok\n", mimetype="text/plain")

    @app.get("/robots.txt")
    def robots() -> Response:
        return Response("User-agent: *\nDisallow: /\n", mimetype="text/plain")
