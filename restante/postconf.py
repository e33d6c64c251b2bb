"""Reading a Postfix configuration as Postfix itself understands it, through ``postconf``.

Only reads.  Fixed argument lists, no shell.  :class:`NoPostfix` where there is nothing to ask.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from restante.errors import RestanteError

_SECONDS = 30


class NoPostfix(RestanteError):
    """``postconf`` is missing or refuses the configuration; the text says which.  Install or mend Postfix first."""


@dataclass(frozen=True, slots=True)
class Service:
    """One entry of ``master.cf``.  ``options`` are its ``-o`` settings."""

    name: str
    kind: str
    chrooted: bool
    command: str
    options: dict[str, str]


@dataclass(frozen=True)
class Postconf:
    """One configuration folder; ``None`` is the compiled-in default, usually ``/etc/postfix``."""

    directory: Path | None = None

    def _run(self, *arguments: str) -> str:
        done = self._call("postconf", *arguments)
        if done.returncode:
            raise NoPostfix(f"postconf refuses the configuration: {done.stderr.strip()}")
        return done.stdout

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [program, *(("-c", str(self.directory)) if self.directory else ()), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoPostfix(f"{program} cannot be run: {error}. Install Postfix") from error

    @cached_property
    def parameters(self) -> dict[str, str]:
        """Every parameter of ``main.cf`` with its defaults, expanded."""
        return dict(_assignments(self._run("-x")))

    @cached_property
    def services(self) -> tuple[Service, ...]:
        """Every service of ``master.cf``."""
        options: dict[str, dict[str, str]] = {}
        for key, value in _assignments(self._run("-P")):
            service, parameter = key.rsplit("/", 1)
            options.setdefault(service, {})[parameter] = value
        fields: dict[str, dict[str, str]] = {}
        for key, value in _assignments(self._run("-F")):
            service, field = key.rsplit("/", 1)
            fields.setdefault(service, {})[field] = value
        return tuple(
            Service(
                name=found["service"],
                kind=found["type"],
                # "-" is the default, and that is "n" from compatibility_level 1 on (master(5)).
                chrooted=found["chroot"] == "y",
                command=found["command"],
                options=options.get(key, {}),
            )
            for key, found in fields.items()
        )

    @cached_property
    def map_types(self) -> frozenset[str]:
        """The lookup tables that this Postfix can read, such as ``pcre``."""
        return frozenset(self._run("-m").split())

    def lookup(self, table: str, key: str) -> str | None:
        """What ``table`` (``pcre:/path``) says to ``key``; ``None`` for nothing or an unreadable table."""
        done = self._call("postmap", "-q", key, table)
        return done.stdout.strip() or None if done.returncode == 0 else None

    def entries(self, table: str) -> dict[str, str]:
        """Everything in ``table``; empty for one of a type that does not list itself, such as ``pcre`` or ``ldap``."""
        lines = (line.partition("\t") for line in self._call("postmap", "-s", table).stdout.splitlines())
        return {key: value for key, _, value in lines if value}

    @property
    def version(self) -> tuple[int, ...]:
        """Postfix's version, such as ``(3, 7, 11)``."""
        return tuple(int(part) for part in re.findall(r"\d+", self.parameters["mail_version"])[:3])

    def service(self, name: str, kind: str) -> Service | None:
        """The service called ``name`` of type ``kind``, or ``None``."""
        return next((one for one in self.services if (one.name, one.kind) == (name, kind)), None)

    def in_force(self, service: Service, parameter: str) -> str:
        """What ``parameter`` is for ``service``: its own ``-o``, else ``main.cf``."""
        return service.options.get(parameter, self.parameters.get(parameter, ""))


def _assignments(text: str) -> list[tuple[str, str]]:
    pairs = (line.partition("=") for line in text.splitlines())
    return [(name.strip(), value.strip()) for name, equals, value in pairs if equals]
