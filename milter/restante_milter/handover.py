"""How the worker asks the MTA for mandatory TLS: by the port on Postfix, by the recipient's address on Sendmail."""

from __future__ import annotations

from collections.abc import Sequence

from restante.sendmail import secured
from restante.settings import HostPort, Mta, Settings
from restante.tls.evidence import Requirement
from restante_milter.submit import Recipient


class TlsWay:
    """Where to submit what needs TLS of one level, and how to name its recipients there."""

    def __init__(self, settings: Settings, requirement: Requirement) -> None:
        self._settings, self._requirement = settings, requirement

    @property
    def endpoint(self) -> HostPort:
        """The MTA's port."""
        worker = self._settings.worker
        if self._settings.mta is Mta.SENDMAIL:
            return worker.submit
        authenticated = self._requirement is Requirement.AUTHENTICATED
        return worker.reinject_authenticated if authenticated else worker.reinject_tls

    def recipients(self, recipients: Sequence[Recipient]) -> list[Recipient]:
        """``recipients`` as they are to be named, in the same order."""
        if self._settings.mta is not Mta.SENDMAIL:
            return list(recipients)
        return [
            Recipient(secured(one.address, self._requirement), with_original(one.address, one.parameters))
            for one in recipients
        ]


def with_original(address: str, parameters: tuple[str, ...]) -> tuple[str, ...]:
    """``parameters`` of RCPT with the address that the client gave, so that a bounce names that (RFC 3461, 4.2)."""
    if any(parameter.upper().startswith("ORCPT=") for parameter in parameters) or not address.isascii():
        return parameters
    return (*parameters, f"ORCPT=rfc822;{_xtext(address)}")


def _xtext(text: str) -> str:
    return "".join(one if "!" <= one <= "~" and one not in "+=" else f"+{ord(one):02X}" for one in text)
