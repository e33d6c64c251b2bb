"""One attachment being read: what every reader gets, and the recursion into what it finds inside.

A reader raises :class:`Unreadable`, or whatever its library raises; either way what it had said stays said, and the
finding gives the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from restante.classify.extract.kinds import HEAD, TAIL, is_markup, kinds, looks_like_text, sealed
from restante.classify.extract.limits import Limits, Meter, Unreadable
from restante.classify.extract.output import Output
from restante.classify.extract.plain import read_message, read_mute, read_text, read_unknown

_LONGEST_PLACE = 500


@dataclass(frozen=True, slots=True)
class Part:
    """A file: its content, its place inside of the attachment ("" is the attachment), its name, its depth."""

    content: bytes
    place: str = ""
    name: str = ""
    depth: int = 0

    def place_of(self, name: str) -> str:
        """The place of something called ``name`` in here."""
        name = name.strip("/") or "unnamed"
        return f"{self.place}/{name}"[:_LONGEST_PLACE] if self.place else name[:_LONGEST_PLACE]


Reader = Callable[["Job", Part], None]


class Job:
    """What reading one attachment takes.  ``readers`` are those of each kind."""

    def __init__(self, output: Output, limits: Limits, size: int, readers: Mapping[str, Reader]) -> None:
        self.output = output
        self.limits = limits
        self.meter = Meter(limits, size)
        self._readers = readers

    def inner(self, outer: Part, content: bytes, name: str, *, counted: bool = False) -> None:
        """Read a file called ``name`` that was found in ``outer``; ``counted`` when the meter knows its size."""
        if not counted:
            self.meter.unpacked(len(content))
        self.meter.member()
        self.read(Part(content, outer.place_of(name), name.rpartition("/")[2], outer.depth + 1))

    def read(self, part: Part) -> None:
        """Read ``part`` as everything that it may be.  Raises :class:`Unreadable` only where the meter does."""
        content = part.content
        if not content:
            return
        self.meter.enter(part.depth)
        head = content[:HEAD]
        what = sealed(content[:0x8006] if content[:1] == b"\0" else head)
        if what:
            self.output.sealed(part.place, f"{what}: not looked into")
        found = kinds(head, content[-TAIL:], part.name)
        textual = looks_like_text(head[:1024])
        if textual and (not set(found) & {"message", "rtf"}):
            read_text(self, part, markup=is_markup(head))
            found = [kind for kind in found if kind != "mute"]
        elif not found and not what:
            read_unknown(self, part)
        for kind in found:
            self._attempt(kind, part)

    def _attempt(self, kind: str, part: Part) -> None:
        reader = {"message": read_message, "mute": read_mute}.get(kind) or self._readers[kind]
        try:
            reader(self, part)
        except Unreadable as reason:
            self.output.sealed(part.place, str(reason))
        except MemoryError:
            self.output.sealed(part.place, "takes more memory than one attachment may")
        # The boundary of the file: parsers of hostile input raise anything, and what is around it is read on.
        except Exception as error:  # noqa: BLE001
            self.output.sealed(part.place, f"damaged {kind} file: {type(error).__name__}")
