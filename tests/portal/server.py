"""The portal as it runs in earnest: ``restante portal`` under gunicorn on a free port of localhost; and a visitor."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

from restante.settings import Settings
from restante.store.links import MintedLink
from tests.lab.waiting import tcp_port_answers, wait_until


def free_port() -> int:
    """A TCP port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_settings(settings: Settings, path: Path) -> None:
    """The settings file that reads as ``settings``."""
    portal = settings.portal
    path.write_text(
        f"""hostname = "{settings.hostname}"
organisation = "{settings.organisation}"
database = "{settings.database}"
credentials = "{settings.credentials}"
[vault]
key_id = "{settings.vault.key_id}"
public_key = "{settings.vault.public_key}"
worker_public_key = "{settings.vault.worker_public_key}"
[portal]
url = "{portal.url}"
{f'files_url = "{portal.files_url}"' if portal.files_url else ""}
listen = "{portal.listen}"
workers = {portal.workers}
threads = {portal.threads}
trusted_proxies = {portal.trusted_proxies}
reply_max_bytes = {portal.reply_max_bytes}
[notice]
sender = "{settings.notice.sender}"
contact = "{settings.notice.contact}"
""",
        encoding="utf-8",
    )


class PortalServer:
    """A running portal; ``log`` is what it wrote."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.url = settings.portal.url
        self._listen = settings.portal.listen
        self._settings_path = folder / "restante.toml"
        self._log_path = folder / "portal.log"
        write_settings(settings, self._settings_path)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log_path.read_text(encoding="utf-8")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        program = str(Path(sys.executable).with_name("restante"))
        with self._log_path.open("ab") as output:
            self._process = subprocess.Popen(
                [program, "--settings", str(self._settings_path), "portal"], stdout=output, stderr=output
            )
        wait_until(self._answers, 90, f"the portal to listen: {self._log_path}")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        return tcp_port_answers(self._listen.host, self._listen.port)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(90)  # longer than the grace that the portal gives its own workers


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: http.client.HTTPMessage
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()


class Visitor:
    """A client with cookies, without JavaScript; one connection for each request."""

    def __init__(self, settings: Settings) -> None:
        self._listen, self._host = settings.portal.listen, settings.portal.url.partition("//")[2]
        self._cookies: dict[str, str] = {}

    def connection(self) -> http.client.HTTPConnection:
        """A fresh connection."""
        return http.client.HTTPConnection(self._listen.host, self._listen.port, timeout=60)

    def headers(self) -> dict[str, str]:
        """What this visitor sends with every request."""
        return {"Host": self._host, "Cookie": "; ".join(f"{k}={v}" for k, v in self._cookies.items())}

    def begin(
        self, method: str, path: str, body: str | None = None, **headers: str
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a request; the caller reads the answer and closes the connection."""
        connection = self.connection()
        connection.request(method, path, body, {**self.headers(), **headers})
        response = connection.getresponse()
        for cookie in response.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        return connection, response

    def _whole(self, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
        connection, response = self.begin(method, path, body, **headers)
        try:
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self._whole("GET", path, **headers)

    def post(self, path: str, form: dict[str, str]) -> Answer:
        return self._whole("POST", path, urlencode(form), **{"Content-Type": "application/x-www-form-urlencoded"})

    def form_key(self, path: str) -> str:
        return self.get(path).text.partition('name="form_key" value="')[2].partition('"')[0]

    def open(self, link: MintedLink, code: str = "") -> Answer:
        """Go to a link and open it."""
        form = {"form_key": self.form_key(f"/p/{link.token}"), "code": code, "number": link.number}
        return self.post(f"/p/{link.token}/open", form)
