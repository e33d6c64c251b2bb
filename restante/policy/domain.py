"""What is agreed with one domain: how mail to it is protected, and what mail from it must prove."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from restante.languages import LanguageName
from restante.policy.fields import Frozen
from restante.policy.rule import Otherwise
from restante.tls.evidence import Requirement
from restante.tls.mx import BadNextHop, NextHop


class DomainMode(StrEnum):
    """What is agreed for mail to a domain.

    ``auto`` asks the evidence.  ``always`` sends everything over mandatory TLS, sensitive or not.  ``portal-only``, or
    ``never``, does not try TLS: sensitive mail takes the way out at once.  ``internal`` never leaves the site.
    """

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"
    PORTAL_ONLY = "portal-only"
    INTERNAL = "internal"


FROM_TRANSPORT_MAPS: Final = "transport_maps"


def _domain_name(value: str) -> str:
    try:
        name = NextHop.parse(value)
    except BadNextHop as error:
        raise ValueError(str(error)) from error
    if name.direct or name.port is not None:
        raise ValueError("must be a name without brackets and port")
    return name.name


def _next_hop(value: str) -> str:
    """A next hop as Postfix and the evidence write it, or the table that knows it."""
    if value == "" or _is_table(value):
        return value
    try:
        hop = NextHop.parse(value)
    except BadNextHop as error:
        raise ValueError(str(error)) from error
    return str(hop)


def _is_table(next_hop: str) -> bool:
    """Whether a table of Postfix is named (``hash:/etc/postfix/transport``) in the place of a next hop."""
    return next_hop == FROM_TRANSPORT_MAPS or ":/" in next_hop


DomainName = Annotated[str, AfterValidator(_domain_name)]


class DomainPolicy(Frozen):
    """What is agreed for one domain.

    ``tls`` raises what rules ask for; it never lowers it.  ``certificate_names``: the peer's certificate must carry
    one of them.  ``next_hop`` replaces the MX hosts: ``[mail.partner.example]:587``, or ``transport_maps`` or a table
    (``hash:/etc/postfix/transport``) for what Postfix itself would do.  ``otherwise`` and ``deadline_hours`` replace
    those of the rules.

    ``inbound_tls``: mail that claims to come from the domain must arrive over TLS; ``inbound_certificate``: and its
    client must show a trusted certificate with this subject name.

    ``language``: what notices to its recipients are written in; ``None`` for the domain's country's.
    """

    name: DomainName
    mode: DomainMode = DomainMode.AUTO
    tls: Requirement = Requirement.ENCRYPTED
    certificate_names: tuple[DomainName, ...] = Field(default=(), max_length=20)
    next_hop: Annotated[str, AfterValidator(_next_hop)] = ""
    otherwise: Otherwise | None = None
    deadline_hours: float | None = Field(default=None, ge=0, le=120)
    inbound_tls: bool = False
    inbound_certificate: str = Field(default="", max_length=253)
    language: LanguageName | None = None

    @model_validator(mode="after")
    def _names_can_be_checked(self) -> Self:
        if self.certificate_names and self.next_hop.lstrip("[")[:1].isdigit():
            raise ValueError("certificate_names need a next_hop with a name: an address sends none to the peer")
        return self

    @property
    def reads_table(self) -> bool:
        """Whether the next hop is still to be read from a table of Postfix."""
        return _is_table(self.next_hop)

    @property
    def authenticated(self) -> bool:
        """Whether the peer must prove its name, whatever a rule says."""
        return bool(self.certificate_names) or self.tls is Requirement.AUTHENTICATED
