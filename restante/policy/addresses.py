"""Patterns of addresses as rules write them, and named groups of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from restante.envelope import Address, BadAddress, a_label
from restante.policy.fields import Frozen, Name
from restante.toml_source import BadFile, read_text

GROUP: Final = "group:"


def _pattern(value: str) -> str:
    """``ann@site.example``, ``site.example``, ``.site.example`` or ``group:NAME``, as the envelope writes them."""
    if value.startswith(GROUP):
        return value
    local, at, domain = value.strip().rpartition("@")
    name = domain.removeprefix(".")
    if not name or " " in value or "*" in value or (local and domain.startswith(".")):
        raise ValueError("must be an address, a domain, .domain for what lies below it, or group:NAME")
    try:
        domain = ("." if domain.startswith(".") else "") + a_label(name)
    except BadAddress as error:
        raise ValueError(str(error)) from error
    return f"{local.lower()}@{domain}" if at and local else domain


def _member(value: str) -> str:
    if value.startswith(GROUP):
        raise ValueError("a group cannot hold another: write its members")
    return _pattern(value)


AddressPattern = Annotated[str, AfterValidator(_pattern)]
Member = Annotated[str, AfterValidator(_member)]


class Group(Frozen):
    """Addresses and domains under one name, for rules to speak of as ``group:NAME``.

    ``file`` holds more of them, one on each line, ``#`` before a remark; a relative path starts at the policy file.
    """

    name: Name
    members: tuple[Member, ...] = ()
    file: str = Field(default="", max_length=4096)

    @model_validator(mode="after")
    def _members_from_somewhere(self) -> Self:
        if not self.members and not self.file:
            raise ValueError("has no members: write members, or a file that holds them")
        return self

    def read(self, folder: Path) -> Self:
        """The same group with the members of its file.

        Raises :class:`restante.toml_source.BadFile`, which names the line of that file.
        """
        if not self.file:
            return self
        path = folder / self.file
        members = list(self.members)
        for number, line in enumerate(read_text(path, f"group.{self.name}.file").splitlines(), 1):
            entry = line.partition("#")[0].strip()
            if entry:
                try:
                    members.append(_member(entry))
                except ValueError as error:
                    remedy = "Correct or remove the line"
                    raise BadFile(path, number, f"group.{self.name}", str(error), remedy) from None
        if not members:
            raise BadFile(path, 1, f"group.{self.name}", "holds no members", "Write one on each line")
        return self.model_copy(update={"members": tuple(members)})


@dataclass(frozen=True, slots=True)
class AddressSet:
    """Patterns, taken apart for a quick look.  ``below`` are domains with a leading dot."""

    addresses: frozenset[str]
    domains: frozenset[str]
    below: tuple[str, ...]
    groups: tuple[str, ...]

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Self:
        """Take ``patterns`` apart."""
        each = frozenset(patterns)
        groups = {one for one in each if one.startswith(GROUP)}
        addresses = {one for one in each - groups if "@" in one}
        below = {one for one in each - groups - addresses if one.startswith(".")}
        return cls(
            frozenset(addresses),
            each - groups - addresses - below,
            tuple(sorted(below)),
            tuple(sorted(one.removeprefix(GROUP) for one in groups)),
        )

    def holds(self, address: Address, groups: Mapping[str, AddressSet]) -> bool:
        """Whether some pattern, or a group that is named, fits ``address``."""
        if address.domain in self.domains:
            return True
        if self.addresses and _spelled(address) in self.addresses:
            return True
        if self.below and address.domain.endswith(self.below):
            return True
        return any(name in groups and groups[name].holds(address, {}) for name in self.groups)


def _spelled(address: Address) -> str:
    """The address as patterns are kept: lower case, the domain in A-labels."""
    local, at, _ = address.text.rpartition("@")
    return f"{local}@{address.domain}".lower() if at else address.text.lower()
