"""``restante portal``: the portal under gunicorn, several processes with several threads each.

Refuses to start on a bad credential, a vault key that does not fit the settings, or an old schema.  The application
is made after the fork: no connection and no lock is shared.  There is no access log, and the error log has taken
out what visitors sent: an address here is a secret, and so is a form.
"""

from __future__ import annotations

import base64
import logging
import re
from typing import TYPE_CHECKING, Any, cast

import click
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]  # comes without types
from nacl.public import PrivateKey

from restante import dumps, log
from restante.credentials import BadCredential, Credential, read_credential
from restante.settings import Settings
from restante.store.schema import require_current
from restante_portal.application import create_app
from restante_portal.branding import load as load_branding

if TYPE_CHECKING:
    from flask import Flask

    from restante.cli import Invocation

# As the application routes them: it merges slashes and decodes letters.
_TOKEN = re.compile(r"/+([psf]|%(?:70|73|66))/+[^\s/?\"']+")
_QUERY = re.compile(r"\?\S+")
# What the server cannot read it writes out: a line of a header with cookies, or of a form with a code, which a wrong
# length made it take for the next request.  What is wrong stands in front of it.
_UNREADABLE = re.compile(r"(Invalid request from ip=\S+ [A-Za-z ]*).*", re.DOTALL)
_GRACE_SECONDS = 30
_TIMEOUT_SECONDS = 120


class _WithoutTokens(logging.Filter):
    """Takes out of a record what visitors sent: tokens and queries of addresses, and requests that make no sense."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = _UNREADABLE.sub(r"\1[not logged]", record.getMessage())
        record.msg, record.args = _QUERY.sub("?[not logged]", _TOKEN.sub(r"/\1/[not logged]", said)), ()
        return True


class Server(BaseApplication):  # type: ignore[misc]  # comes without types
    """gunicorn with our settings and nothing from its command line or environment."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Give gunicorn its options."""
        portal = self._settings.portal
        options: dict[str, Any] = {
            "bind": [str(portal.listen)],
            "workers": portal.workers,
            "threads": portal.threads,
            "worker_class": "gthread",
            "preload_app": False,
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "info",
            "umask": 0o077,
            "timeout": _TIMEOUT_SECONDS,
            "graceful_timeout": _GRACE_SECONDS,
            "keepalive": 5,
            "limit_request_line": 4094,
            "limit_request_fields": 64,
            # Whose X-Forwarded-* count is the application's business (trusted_proxies), not the server's.
            "forwarded_allow_ips": "",
            "proc_name": "restante-portal",
            "on_starting": _scrub,
            "post_worker_init": _scrub,
        }
        for name, value in options.items():
            self.cfg.set(name, value)
        # A door for the same user, below the home directory, that versions from 25 on open unasked.
        if "control_socket_disable" in self.cfg.settings:
            self.cfg.set("control_socket_disable", True)

    def load(self) -> Flask:
        """Make the application, in the worker."""
        log.configure(self._settings.log_level)
        return create_app(self._settings)


def _scrub(_server_or_worker: object) -> None:
    for handler in logging.getLogger("gunicorn.error").handlers:
        if not any(isinstance(each, _WithoutTokens) for each in handler.filters):
            handler.addFilter(_WithoutTokens())


def check(settings: Settings) -> None:
    """Raise a :class:`restante.errors.RestanteError` for what must keep the portal from starting."""
    read_credential(settings.credentials, Credential.PORTAL)
    private = read_credential(settings.credentials, Credential.VAULT)
    if bytes(PrivateKey(private).public_key) != base64.b64decode(settings.vault.public_key):
        raise BadCredential(
            f"{Credential.VAULT} does not belong to vault.public_key in the settings: what was sealed to that key could"
            " not be opened. Put back the file that restante init wrote together with the settings"
        )
    load_branding(settings)
    require_current(settings.database)


@click.command()
@click.pass_obj
def portal(invocation: Invocation) -> None:
    """Run the portal for recipients and administrators."""
    dumps.forbid()
    settings = invocation.settings
    log.configure(settings.log_level)
    check(settings)
    cast(Any, Server(settings)).run()
