"""A Flask application that says hello, under gunicorn with the portal's own options: what the portal is measured by.

``python -m tests.bench.hello SETTINGS ENDPOINT``, the endpoint as in ``portal.listen``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from flask import Flask

from restante.settings import Settings, load_settings
from restante_portal.command import Server


class Hello(Server):
    """The portal's server with another application in it."""

    def load(self) -> Flask:
        """Make the application, in the worker."""
        app = Flask(__name__)

        @app.get("/")
        def hello() -> str:
            return "<p>Hello, World!</p>\n"

        return app


def main(settings: Path, listen: str) -> None:
    """Serve until the process is told to end."""
    given = load_settings(settings).model_dump()
    given["portal"]["listen"] = listen
    Hello(Settings.model_validate(given)).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
