"""TOML files that say where they are wrong: file, line, field, problem, remedy."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from restante.errors import RestanteError

Model = TypeVar("Model", bound=BaseModel)


class BadFile(RestanteError):
    """A settings or policy file that cannot be used.  Nothing of it was applied; mend the named line."""

    def __init__(self, path: Path, line: int, field: str, problem: str, remedy: str) -> None:
        self.path, self.line, self.field, self.problem, self.remedy = path, line, field, problem, remedy
        super().__init__(f"{path}:{line}: {field}: {problem}. {remedy}")


def load_model(path: Path, model: type[Model], context: object = None) -> Model:
    """Read ``path`` and validate it as ``model``, whose validators are given ``context``.

    Raises :class:`BadFile` for a file that is missing, unreadable, not TOML, or not valid; the first problem in
    the order of the file is named.
    """
    text = read_text(path)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        line = int(found.group(1)) if found else text.count("\n") + 1
        problem = str(error).partition(" (at ")[0]
        raise BadFile(path, line, "syntax", problem, "Write it as TOML 1.0") from None
    try:
        return model.model_validate(data, context=context)
    except ValidationError as error:
        problems = [
            (line_of(text, tuple(part["loc"])), part) for part in error.errors(include_url=False, include_input=False)
        ]
        line, first = min(problems, key=lambda pair: pair[0])
        field = ".".join(str(step) for step in first["loc"]) or "file"
        raise BadFile(path, line, field, first["msg"], _remedy(first["type"])) from None


def read_text(path: Path, field: str = "file") -> str:
    """The text of ``path``.  Raises :class:`BadFile`, which names ``field`` as the one at fault."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadFile(
            path, 1, field, "does not exist", "Run: restante init, or name the file with --settings"
        ) from None
    except UnicodeDecodeError as error:
        raise BadFile(path, 1, field, f"is not UTF-8 at byte {error.start}", "Save it as UTF-8") from None
    except OSError as error:
        raise BadFile(path, 1, field, f"cannot be read: {error.strerror}", "Check its owner and mode") from None


def _remedy(kind: str) -> str:
    if kind == "extra_forbidden":
        return "Remove the key, or correct its spelling"
    if kind == "missing":
        return "Add the key"
    return "Correct the value"


_HEADER = re.compile(r"^\s*(\[{1,2})\s*([^\[\]]+?)\s*\]{1,2}\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*(?:"([^"]+)"|'([^']+)'|([A-Za-z0-9_-]+))\s*(?:=|\.)""")


def line_of(text: str, location: tuple[int | str, ...]) -> int:
    """The line of ``text`` (from 1) that defines ``location``, or the nearest enclosing table's line.

    ``location`` is pydantic's: keys and list indexes.  Inline tables resolve to the line that they begin on.
    """
    best_line, best_depth = 1, 0
    counts: dict[tuple[str, ...], int] = {}
    table: tuple[int | str, ...] = ()
    array: _OpenArray | None = None
    for number, line in enumerate(text.splitlines(), 1):
        header = None if array else _HEADER.match(line)
        if array is not None:
            here = array.take(line)
            array = array if array.depth else None
        elif header:
            names = tuple(part.strip().strip("\"'") for part in header.group(2).split("."))
            if header.group(1) == "[[":
                count = counts.get(names, -1) + 1
                # What is nested in this table is counted anew.
                counts = {known: value for known, value in counts.items() if known[: len(names)] != names}
                counts[names] = count
            table = here = _indexed(names, counts)
        else:
            key = _KEY.match(line)
            if not key:
                continue
            here = (*table, next(group for group in key.groups() if group))
            array = _OpenArray(here, line[key.end() :])
            array = array if array.depth else None
        if location[: len(here)] == here and len(here) > best_depth:
            best_line, best_depth = number, len(here)
    return best_line


_STRING = re.compile(r""""(?:[^"\\]|\\.)*"|'[^']*'""")


class _OpenArray:
    """An array that goes on over several lines, its values counted by the commas between them."""

    def __init__(self, location: tuple[int | str, ...], beginning: str) -> None:
        self._location = location
        self._commas = 0
        self.depth = 0
        if beginning.lstrip().startswith("["):
            self._follow(beginning)

    def take(self, line: str) -> tuple[int | str, ...]:
        """The location of the value that ``line`` begins, or of that which it goes on with."""
        here = (*self._location, self._commas) if line.partition("#")[0].strip() else self._location
        self._follow(line)
        return here

    def _follow(self, line: str) -> None:
        for character in _STRING.sub("", line).partition("#")[0]:
            if character in "[{":
                self.depth += 1
            elif character in "]}":
                self.depth -= 1
            elif character == "," and self.depth == 1:
                self._commas += 1


def _indexed(names: tuple[str, ...], counts: dict[tuple[str, ...], int]) -> tuple[int | str, ...]:
    """The location of a table header, with list indexes after each name that is an array of tables."""
    location: list[int | str] = []
    for depth, name in enumerate(names, 1):
        location.append(name)
        if names[:depth] in counts:
            location.append(counts[names[:depth]])
    return tuple(location)
