"""Documents that are zip archives of XML: Office Open XML (ECMA-376) and OpenDocument (ISO 26300).

Every part is read, shown or hidden: comments, notes, headers, deleted text, properties, hidden sheets and slides.
Runs of one paragraph are joined, since a word may be cut anywhere.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from xml.parsers import expat

from restante.classify.extract.cells import shown
from restante.classify.extract.job import Job, Part
from restante.classify.extract.limits import Unreadable
from restante.classify.extract.plain import say_runs

_XML = re.compile(r"\.(?:xml|rels|vml|fodt|fods|rdf)\Z", re.IGNORECASE)
_MAIN = re.compile(r"(?:word/document|content|ppt/presentation|xl/workbook)\.xml\Z")
_SHEET = re.compile(r"xl/(?:work|chart|dialog|macro)sheets/[^/]+\.xml\Z", re.IGNORECASE)
# What printers remember, and fonts: binary, and no user's words.
_SETTINGS = re.compile(r".*(?:printerSettings\d*\.bin|\.(?:odttf|fntdata|ttf|otf|sigs))\Z", re.IGNORECASE)
# Where the order of names is not the order of reading: a sheet needs its strings and formats first.
_FIRST = {"xl/sharedStrings.xml": 0, "xl/styles.xml": 0}

# Vocabularies whose elements are runs within a paragraph, unless they are listed below.
_PROSE = re.compile(r"wordprocessingml|drawingml|presentationml|spreadsheetml|opendocument|officeDocument|office/word")
_LINES = frozenset(
    {
        "p",
        "br",
        "cr",
        "row",
        "si",
        "tr",
        "h",
        "line-break",
        "table-row",
        "list-item",
        "title",
        "comment",
        "cm",
        "txBody",
    }
)
_GAPS = frozenset({"tab", "tc", "c", "s", "table-cell", "covered-table-cell", "noBreakHyphen", "sym", "ptab"})
_SHOWN_ATTRIBUTES = frozenset(
    {"descr", "title", "Target", "tooltip", "author", "initials", "display", "name", "alt", "prompt", "promptTitle"}
    | {"href", "value", "string-value", "date-value", "error", "errorTitle", "formula", "string", "lastModifiedBy"}
)
_BLANK = re.compile(r"[ \t]*\n\s*")
_MOST_STRINGS = 500_000

Contents = Callable[[zipfile.ZipInfo], bytes | None]


def is_document(names: set[str]) -> bool:
    """Whether an archive with members of these names is such a document."""
    return "[Content_Types].xml" in names or {"mimetype", "content.xml"} <= names


def read_document(job: Job, part: Part, members: list[zipfile.ZipInfo], content_of: Contents) -> None:
    """Read every part of a document; ``content_of`` unpacks one."""
    book = _Book()
    for member in sorted(members, key=lambda one: _FIRST.get(one.filename, 1)):
        if member.is_dir():
            continue
        content = content_of(member)
        if content is None:
            continue
        if member.filename == "META-INF/manifest.xml" and b"encryption-data" in content:
            raise Unreadable("encrypted OpenDocument file")
        if _XML.search(member.filename):
            job.meter.member()
            _read_xml(job, part, member.filename, content, book)
        elif _SETTINGS.match(member.filename):
            say_runs(job, part.place_of(member.filename), content)
        elif member.filename != "mimetype":
            job.inner(part, content, member.filename, counted=True)


def _read_xml(job: Job, part: Part, name: str, content: bytes, book: _Book) -> None:
    place = part.place if _MAIN.match(name) else part.place_of(name)
    job.output.text(place)
    parser = _Sheet(job.output.write, book) if _SHEET.match(name) else _Prose(job.output.write, book)
    problem = parser.read(content)
    if problem:
        job.output.sealed(place, problem)
        job.output.text(place, markup=True)
        job.output.data(content)


class _Book:
    """The strings and number formats that the sheets of one workbook share."""

    def __init__(self) -> None:
        self.strings: list[str] = []
        self.codes: dict[int, str] = {}
        self.formats: list[int] = []

    def string(self, index: str) -> str:
        """The shared string that a cell names."""
        number = int(index) if index.isdecimal() else -1
        return self.strings[number] if 0 <= number < len(self.strings) else ""

    def shown(self, value: str, style: str) -> str:
        """A number in the format of the cell's style."""
        number = int(style) if style.isdecimal() else -1
        format_id = self.formats[number] if 0 <= number < len(self.formats) else 0
        return shown(value, format_id, self.codes.get(format_id, ""))


class _Prose:
    """The text of one part, paragraph by paragraph."""

    def __init__(self, write: Callable[[str], None], book: _Book) -> None:
        self._write = write
        self._book = book
        self._pieces: list[str] = []
        self._in_styles = False
        self._string_begins = -1

    def read(self, content: bytes) -> str:
        """Write the text of ``content``; what is wrong with it, or an empty string."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._pieces.append
        parser.EntityDeclHandler = _refuse_entity
        try:
            parser.Parse(content, True)
        except expat.ExpatError:
            return "damaged XML"
        except Unreadable as reason:
            return str(reason)
        finally:
            self._flush()
        return ""

    def _flush(self) -> None:
        text = _BLANK.sub("\n", "".join(self._pieces))
        self._pieces.clear()
        if text.strip():
            self._write(text + "\n")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        space, _, name = tag.rpartition(" ")
        if name == "si":
            self._string_begins = len(self._pieces)
        elif name in {"numFmt", "cellXfs", "xf"}:
            self._style(name, attributes)
        elif name in _GAPS:
            self._pieces.append("\t")
        elif name in _LINES or not _PROSE.search(space):
            self._pieces.append("\n")
        said = [value for key, value in attributes.items() if key.rpartition(" ")[2] in _SHOWN_ATTRIBUTES]
        if said:
            self._pieces.append("\n" + "\n".join(said) + "\n")

    def _style(self, name: str, attributes: dict[str, str]) -> None:
        if name == "cellXfs":
            self._in_styles = True
            return
        number = attributes.get("numFmtId", "")
        if number.isdecimal() and len(number) < 9:
            if name == "numFmt":
                self._book.codes[int(number)] = attributes.get("formatCode", "")[:100]
            elif self._in_styles and len(self._book.formats) < 100_000:
                self._book.formats.append(int(number))

    def _end(self, tag: str) -> None:
        space, _, name = tag.rpartition(" ")
        if name == "cellXfs":
            self._in_styles = False
        elif name == "si":
            text = "".join(self._pieces[max(self._string_begins, 0) :])
            if len(self._book.strings) < _MOST_STRINGS:
                self._book.strings.append(text.strip("\n"))
            self._flush()
            self._string_begins = -1
        elif name in _LINES:
            self._pieces.append("\n")
            if self._string_begins < 0 and len(self._pieces) > 1000:
                self._flush()
        elif not _PROSE.search(space):
            self._pieces.append("\n")


class _Sheet(_Prose):
    """A worksheet: its rows as lines of cells, each with what it shows."""

    def __init__(self, write: Callable[[str], None], book: _Book) -> None:
        super().__init__(write, book)
        self._kind = self._style_id = ""
        self._row: list[str] = []
        self._in_value = -1

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(" ")[2]
        if name == "c":
            self._kind, self._style_id = attributes.get("t", "n"), attributes.get("s", "")
        elif name in {"v", "f", "is"}:
            self._in_value = len(self._pieces)
        elif self._in_value < 0:
            super()._start(tag, attributes)

    def _end(self, tag: str) -> None:
        name = tag.rpartition(" ")[2]
        if name in {"v", "f", "is"}:
            value = "".join(self._pieces[max(self._in_value, 0) :])
            del self._pieces[max(self._in_value, 0) :]
            self._in_value = -1
            self._row.append(self._shown(value) if name == "v" else value)
        elif name == "row":
            self._pieces.append("\t".join(self._row) + "\n")
            self._row.clear()
            if len(self._pieces) > 1000:
                self._flush()
        elif self._in_value < 0:
            super()._end(tag)

    def _shown(self, value: str) -> str:
        if self._kind == "s":
            return self._book.string(value)
        return self._book.shown(value, self._style_id) if self._kind == "n" else value


def _refuse_entity(*_: object) -> None:
    raise Unreadable("XML that declares entities")
