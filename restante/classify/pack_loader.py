"""The packs: which detectors, lexicons and purposes there are, from the files that come with Restante and the policy.

A file that does not validate, a name that is taken, a name that selects nothing and, where it is asked for, an example
that does not hold raise :class:`restante.toml_source.BadFile` with file, line, field and remedy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from restante.classify.detector import Detector, Form, never
from restante.classify.examples import failures
from restante.classify.finding import Confidence
from restante.classify.scan import Scanner
from restante.classify.surroundings import DOUBTS
from restante.classify.tables import OUR_OWN, DetectorTable, DictionaryTable, Lexicon, PackFile, PackTable
from restante.classify.validators import validator_named
from restante.toml_source import BadFile, line_of, load_model

FOLDER = Path(__file__).with_name("packs")


@dataclass(frozen=True)
class Catalogue:
    """Every detector, lexicon and pack there is, in the order of the files."""

    detectors: tuple[DetectorTable, ...]
    lexicons: tuple[Lexicon, ...]
    packs: tuple[PackTable, ...]
    dictionaries: tuple[DictionaryTable, ...] = ()

    def __add__(self, other: PackFile) -> Catalogue:
        """This with the tables of one more file; nothing is checked."""
        return Catalogue(
            self.detectors + other.detector,
            self.lexicons + other.lexicon,
            self.packs + other.pack,
            self.dictionaries + other.dictionary,
        )

    def selected(self, selector: str) -> frozenset[str]:
        """The names of the findings that ``selector`` means: a tag, a name, or a prefix of names ending in ``*``.

        Lexicons are ``lexicon:NAME``.  Empty when it means nothing.
        """
        if selector.endswith("*"):
            return frozenset(name for name, _ in self._named() if name.startswith(selector[:-1]))
        return frozenset(name for name, tags in self._named() if selector == name or selector in tags)

    def pack(self, name: str) -> PackTable | None:
        """The pack called ``name``."""
        return next((pack for pack in self.packs if pack.name == name), None)

    def groups(self, pack: PackTable) -> tuple[frozenset[str], ...]:
        """For each group of ``pack`` the names of the findings that meet it."""
        return tuple(frozenset().union(*map(self.selected, group)) for group in pack.all)

    def _named(self) -> Iterable[tuple[str, tuple[str, ...]]]:
        yield from ((detector.name, detector.tags) for detector in self.detectors)
        yield from ((f"lexicon:{lexicon.name}", lexicon.tags) for lexicon in self.lexicons)
        yield from ((f"dictionary:{dictionary.name}", dictionary.tags) for dictionary in self.dictionaries)


def compiled(table: DetectorTable) -> Detector:
    """What the scanner works with."""
    most = Confidence.LOW if table.needs_context else Confidence.HIGH
    return Detector(
        name=table.name,
        forms=tuple(
            Form(form.pattern, min(form.alone, most), form.bounded, not form.case_sensitive) for form in table.form
        ),
        validate=never(table.never, validator_named(table.validator)),
        context=table.context,
        refuse=tuple(DOUBTS[name] for name in table.refuse),
        doubt=tuple(DOUBTS[name] for name in table.doubt),
        proof="format and check digits" if table.validator else "format",
    )


@cache
def built_in() -> Catalogue:
    """What comes with Restante.  Read once; the files do not change while a process runs."""
    return load_packs(tuple(sorted(FOLDER.glob("*.toml"))), OUR_OWN)


def load_packs(paths: tuple[Path, ...], context: object = None) -> Catalogue:
    """The packs of several files together, selectors unchecked.  Raises :class:`restante.toml_source.BadFile`."""
    catalogue = Catalogue((), (), ())
    files = [(path, load_model(path, PackFile, context)) for path in paths]
    for path, tables in files:
        check_names(path, tables, catalogue)
        catalogue += tables
    return catalogue


def check_own(path: Path, tables: PackFile) -> None:
    """Refuse tables of the policy at ``path`` that do not fit the built-in packs, or whose examples do not hold."""
    if tables.detector or tables.lexicon or tables.pack:
        check_names(path, tables, built_in())
        check_selectors(path, tables, built_in() + tables)
        check_examples(path, tables)


def check_examples(path: Path, tables: PackFile) -> None:
    """Refuse an example that is not found, or a counter-example that is."""
    if any(table.examples or table.counter_examples for table in (*tables.detector, *tables.lexicon)):
        scanner = Scanner(tuple(map(compiled, tables.detector)), tables.lexicon)
        for failure in failures(tables.detector, tables.lexicon, scanner):
            remedy = "Correct the example, or what is to find it"
            raise _bad(path, failure.location, failure.problem, remedy)


def check_names(path: Path, tables: PackFile, others: Catalogue) -> None:
    """Refuse a name that ``others`` or an earlier table of the same file has."""
    kinds: tuple[tuple[str, Iterable[str], Iterable[str]], ...] = (
        ("detector", (own.name for own in tables.detector), (other.name for other in others.detectors)),
        ("lexicon", (own.name for own in tables.lexicon), (other.name for other in others.lexicons)),
        ("pack", (own.name for own in tables.pack), (other.name for other in others.packs)),
    )
    for kind, names, taken in kinds:
        seen = set(taken)
        for index, name in enumerate(names):
            if name in seen:
                raise _bad(path, (kind, index, "name"), f'"{name}" is taken', "Choose another name")
            seen.add(name)


def check_selectors(path: Path, tables: PackFile, catalogue: Catalogue) -> None:
    """Refuse a pack that asks for what no detector and no lexicon of ``catalogue`` is called or tagged."""
    for index, pack in enumerate(tables.pack):
        for group in pack.all:
            for selector in group:
                if not catalogue.selected(selector):
                    problem = f'"{selector}" is no tag, detector or lexicon'
                    raise _bad(path, ("pack", index, "all"), problem, "Correct its spelling, or add the tag to one")


def _bad(path: Path, location: tuple[int | str, ...], problem: str, remedy: str) -> BadFile:
    line = line_of(path.read_text(encoding="utf-8"), location)
    return BadFile(path, line, ".".join(map(str, location)), problem, remedy)
