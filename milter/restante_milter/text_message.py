"""Sending an access code to a telephone: by a command of the operator's, or by a POST to a gateway.

The text goes to the command's standard input, where no list of processes shows it.  Neither text nor number nor the
gateway's token comes into a log or into an error.  Whatever is not a plain success raises :class:`NotSent`; a gateway
that took the text and was slow to say so may then have sent it all the same.
"""

from __future__ import annotations

import ssl
import subprocess

import httpx

from restante.settings import SmsSettings

_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


class NotSent(Exception):
    """The text message was not sent, or nobody knows.  The text tells why, without number, text and token."""


class TextMessages:
    """The way that the settings name.  ``token`` is the gateway's, empty for none."""

    def __init__(self, settings: SmsSettings, token: str, context: ssl.SSLContext | None = None) -> None:
        self._settings = settings
        self._headers = {"Authorization": f"{settings.authorization} {token}"} if token else {}
        self._context = context

    def send(self, number: str, text: str) -> None:
        """Send ``text`` to ``number``, an E.164 number with its plus sign.  Raises :class:`NotSent`."""
        if self._settings.command:
            self._run(number, text)
        else:
            self._post(number, text)

    def _run(self, number: str, text: str) -> None:
        arguments = [each.replace("{number}", number) for each in self._settings.command]
        try:
            ended = subprocess.run(
                arguments,
                input=text.encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                timeout=self._settings.seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NotSent(f"the command took longer than {self._settings.seconds:g} s") from None
        except OSError as error:
            raise NotSent(f"the command cannot be run: {error.strerror}") from None
        if ended.returncode != 0:
            raise NotSent(f"the command ended with status {ended.returncode}")

    def _post(self, number: str, text: str) -> None:
        values = {name: _filled(value, number, text) for name, value in self._settings.fields.items()}
        try:
            # Its own client each time: a code is rare, and a connection that lingers is one that broke.
            with (
                httpx.Client(
                    verify=self._context or ssl.create_default_context(),
                    timeout=self._settings.seconds,
                    trust_env=False,
                    headers=self._headers,
                ) as client,
                client.stream(
                    "POST",
                    self._settings.url,
                    json=values if self._settings.encoding == "json" else None,
                    data=values if self._settings.encoding == "form" else None,
                ) as response,
            ):
                status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotSent(f"the gateway cannot be reached: {type(error).__name__}") from None
        if not 200 <= status < 300:
            raise NotSent(f"the gateway answered {status}")


def _filled(value: str, number: str, text: str) -> str:
    """The value with its places filled in; what is filled in is not looked at again."""
    return text.join(part.replace("{number}", number) for part in value.split("{text}"))
