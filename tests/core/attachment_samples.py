"""Files that hold a card number somewhere, made by the libraries that people make such files with, or by hand."""

from __future__ import annotations

import bz2
import datetime as dt
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import docx
import openpyxl
import pptx
import py7zr
from fpdf import FPDF
from odf.opendocument import OpenDocumentSpreadsheet, OpenDocumentText
from odf.table import Table, TableCell, TableRow
from odf.text import P
from openpyxl.comments import Comment

from tests.core.compound import compound, outlook, slides, winmail, word, workbook

CARD = "4111 1111 1111 1111"
CARD_NUMBER = CARD.replace(" ", "")
PLAIN = f"Card: {CARD}\r\n".encode()
MESSAGE = (
    b"From: ann@site.example\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\nQ2FyZDogNDExMSAxMTExIDExMTEgMTExMQ==\r\n"
)


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def encrypted_zip() -> bytes:
    """As a reader sees one: the flag is set, and what follows is noise."""
    data = bytearray(zipped(("secret.txt", PLAIN), method=zipfile.ZIP_STORED))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def pdf(draw: Callable[[FPDF], object]) -> bytes:
    document = FPDF()
    document.add_page()
    document.set_font("helvetica", size=12)
    document.cell(text="An ordinary page with some words on it.")
    draw(document)
    return bytes(document.output())


def pdf_with_field() -> bytes:
    """A form whose field has a value that no page shows."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[4 0 R]>>>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Annots[4 0 R]>>",
        b"<</Type/Annot/Subtype/Widget/FT/Tx/T(card)/V(" + CARD.encode() + b")/Rect[0 0 50 20]/P 3 0 R>>",
    ]
    return pdf_of(objects)


def pdf_of(objects: list[bytes]) -> bytes:
    """A PDF file of these objects, the first of which is its root."""
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + b"trailer<</Root 1 0 R/Size %d>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)


def encrypted_pdf() -> bytes:
    document = FPDF()
    document.add_page()
    document.set_font("helvetica", size=12)
    document.cell(text=CARD)
    document.set_encryption(owner_password="owner", user_password="user")
    return bytes(document.output())


def letter(change: Callable[[docx.document.Document], object]) -> bytes:
    document = docx.Document()
    document.add_paragraph("Dear colleagues,")
    change(document)
    return _saved(document.save)


def _in_runs(document: docx.document.Document) -> None:
    paragraph = document.add_paragraph("Card: 4111 11")
    paragraph.add_run("11 1111").bold = True
    paragraph.add_run(" 1111")


def _in_comment(document: docx.document.Document) -> None:
    document.add_comment(document.paragraphs[0].add_run("see"), text=CARD, author="Ann", initials="A")


def _in_header(document: docx.document.Document) -> None:
    document.sections[0].header.paragraphs[0].text = CARD


def _in_title(document: docx.document.Document) -> None:
    document.core_properties.title = CARD


def sheets(change: Callable[[openpyxl.Workbook], object]) -> bytes:
    book = openpyxl.Workbook()
    book.active.append(["Name", "Amount", "Date"])
    book.active.append(["Ann", 12.5, dt.date(2026, 1, 2)])
    change(book)
    return _saved(book.save)


def _hidden(book: openpyxl.Workbook) -> None:
    sheet = book.create_sheet("more")
    sheet.sheet_state = "hidden"
    sheet.append(["Card", CARD_NUMBER])


def _noted(book: openpyxl.Workbook) -> None:
    book.active["A2"].comment = Comment(CARD, "Ann")


def presentation(place: str) -> bytes:
    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[1])
    slide.shapes.title.text = CARD if place == "slide" else "Hello"
    slide.notes_slide.notes_text_frame.text = CARD if place == "notes" else "Smile"
    return _saved(show.save)


def open_text() -> bytes:
    document = OpenDocumentText()
    document.text.addElement(P(text=CARD))
    return _saved(document.save)


def open_sheet() -> bytes:
    document = OpenDocumentSpreadsheet()
    table, row, cell = Table(name="S"), TableRow(), TableCell(valuetype="string")
    cell.addElement(P(text=CARD))
    row.addElement(cell)
    table.addElement(row)
    document.spreadsheet.addElement(table)
    return _saved(document.save)


def seven_zipped(name: str, content: bytes, password: str | None = None) -> bytes:
    buffer = io.BytesIO()
    with py7zr.SevenZipFile(buffer, "w", password=password) as archive:
        archive.writestr(content, name)
    return buffer.getvalue()


def tarred(*members: tuple[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]  # the mode is a string here
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def png(keyword: bytes, data: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)) + chunk(keyword, data)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


def jpeg(marker: int, data: bytes) -> bytes:
    segment = bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data
    return b"\xff\xd8" + segment + b"\xff\xda\x00\x04\x00\x00" + bytes(range(64)) + b"\xff\xd9"


XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><dc:description>%b</dc:description></x:xmpmeta>" % CARD.encode()
RTF = (
    rb"{\rtf1\ansi{\fonttbl{\f0 Arial;}}\f0 Number: 4111 {\b 11}11 \'31111 \u49?\u49?11 {\*\hidden x}\par}",
    rb"{\rtf1\ansi text{\object{\*\objdata " + PLAIN.hex().encode() + rb"}}}",
)


def hidden_member() -> bytes:
    """A zip archive with a member that its directory does not list."""
    outer = zipped(("seen.txt", b"nothing here"))
    inner = zipped(("unseen.txt", PLAIN))
    directory = outer.index(b"PK\x01\x02")
    local = inner[: inner.index(b"PK\x01\x02")]
    end = bytearray(outer[directory:])
    place = end.index(b"PK\x05\x06") + 16
    end[place : place + 4] = struct.pack("<I", directory + len(local))
    return outer[:directory] + local + bytes(end)


def _encrypted_letter() -> bytes:
    """What Office makes of a document with a password ([MS-OFFCRYPTO], section 2.3)."""
    return compound({"EncryptionInfo": b"\4\0\4\0", "EncryptedPackage": bytes(range(256)) * 20})


# What is read, by the name that the attachment has.
FOUND: dict[str, Callable[[], bytes]] = {
    "page.pdf": lambda: pdf(lambda one: one.cell(text=CARD)),
    "annotation.pdf": lambda: pdf(lambda one: one.text_annotation(20, 20, CARD)),
    "title.pdf": lambda: pdf(lambda one: one.set_title(CARD)),
    "embedded.pdf": lambda: pdf(lambda one: one.embed_file(basename="in.txt", bytes=PLAIN)),
    "field.pdf": pdf_with_field,
    "xmp.pdf": lambda: pdf(lambda one: one.set_xmp_metadata(XMP.decode())),
    "runs.docx": lambda: letter(_in_runs),
    "comment.docx": lambda: letter(_in_comment),
    "header.docx": lambda: letter(_in_header),
    "title.docx": lambda: letter(_in_title),
    "text.xlsx": lambda: sheets(lambda book: book.active.append(["Card", CARD])),
    "hidden.xlsx": lambda: sheets(_hidden),
    "comment.xlsx": lambda: sheets(_noted),
    "slide.pptx": lambda: presentation("slide"),
    "notes.pptx": lambda: presentation("notes"),
    "text.odt": open_text,
    "sheet.ods": open_sheet,
    "old.doc": lambda: word("Card number: " + CARD),
    "old.ppt": lambda: slides("Card number: " + CARD),
    "old.xls": lambda: workbook("Card number: " + CARD, 1.5),
    "number.xls": lambda: workbook("Card number", 4111111111111111.0),
    "body.msg": lambda: outlook("Greetings", CARD, "a.txt", b"nothing"),
    "attached.msg": lambda: outlook("Greetings", "see below", "a.zip", zipped(("a.txt", PLAIN))),
    "winmail.dat": lambda: winmail(CARD, "a.txt", b"nothing"),
    "attached.dat": lambda: winmail("see below", "a.zip", zipped(("a.txt", PLAIN))),
    "split.rtf": lambda: RTF[0],
    "object.rtf": lambda: RTF[1],
    "text.zip": lambda: zipped(("a.txt", PLAIN)),
    "deep.zip": lambda: zipped(("b.zip", zipped(("c.tar", tarred(("d.txt", PLAIN)))))),
    "unlisted.zip": hidden_member,
    "cut.zip": lambda: zipped(("a.txt", PLAIN * 50), ("b.txt", PLAIN))[:-30],
    "message.zip": lambda: zipped(("m.eml", MESSAGE)),
    "all.7z": lambda: seven_zipped("a.txt", PLAIN),
    "all.tar.gz": lambda: tarred(("a.txt", PLAIN), mode="w:gz"),
    "text.gz": lambda: gzip.compress(b"nothing") + gzip.compress(PLAIN),
    "text.bz2": lambda: bz2.compress(PLAIN),
    "text.xz": lambda: lzma.compress(PLAIN),
    "zip.txt": lambda: zipped(("a.txt", PLAIN)),
    "behind.txt": lambda: b"Just text.\r\n" * 200 + zipped(("a.txt", PLAIN)),
    "behind.jpg": lambda: jpeg(0xFE, b"holiday") + zipped(("a.txt", PLAIN)),
    "after.png": lambda: png(b"tEXt", b"Title\0Sea") + b"hidden: " + PLAIN,
    "text.png": lambda: png(b"zTXt", b"Comment\0\0" + zlib.compress(CARD.encode())),
    "exif.jpg": lambda: jpeg(0xE1, b"Exif\0\0II*\0" + CARD.encode()),
    "xmp.jpg": lambda: jpeg(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
    "tagged.mp3": lambda: b"ID3\4\0\0\0\0\0\0TIT2\0\0\0\0\0\0\0" + CARD.encode() + bytes(500),
    "wide.txt": lambda: f"Card: {CARD}\r\n".encode("utf-16-le"),
    "wider.bin": lambda: f"Card: {CARD}\r\n".encode("utf-32-be"),
    "page.zip": lambda: zipped(("a.html", b"<p>4111 1111 <b>1111</b> 1111</p>")),
}

# What nobody can read, and a word of the reason.
SEALED: dict[str, tuple[Callable[[], bytes], str]] = {
    "encrypted.zip": (encrypted_zip, "encrypted"),
    "encrypted.pdf": (encrypted_pdf, "encrypted"),
    "encrypted.7z": (lambda: seven_zipped("a.txt", PLAIN, "x"), "encrypted"),
    "encrypted.docx": (_encrypted_letter, "encrypted"),
    "archive.rar": (lambda: b"Rar!\x1a\x07\x01\x00" + bytes(range(1, 200)), "RAR"),
    "cut.pdf": (lambda: pdf(lambda one: one.cell(text=CARD))[:400], "PDF"),
    "damaged.doc": (lambda: word(CARD)[:1500], "damaged"),
    "noise.dat": (lambda: bytes((7 * at * at + 3) % 251 for at in range(3000)), "unknown"),
    "table.sqlite": (lambda: b"SQLite format 3\0" + bytes(range(200)), "database"),
    "book.xlsb": (
        lambda: zipped(("[Content_Types].xml", b"<Types/>"), ("xl/worksheets/sheet1.bin", bytes(range(250)) * 9)),
        "unknown",
    ),
}


# What has nothing to say, and is no cause for doubt.
CLEAN: dict[str, Callable[[], bytes]] = {
    "letter.docx": lambda: letter(lambda _: None),
    "table.xlsx": lambda: sheets(lambda _: None),
    "show.pptx": lambda: presentation("nowhere"),
    "page.pdf": lambda: pdf(lambda _: None),
    "holiday.jpg": lambda: jpeg(0xFE, b"holiday"),
    "film.mp4": lambda: b"\0\0\0\x18ftypisom" + bytes((at * at) % 256 for at in range(5000)),
    "program.exe": lambda: b"MZ" + bytes((at * 7) % 256 for at in range(5000)),
    "notes.zip": lambda: zipped(("a.txt", b"nothing of note"), ("b/c.csv", b"1,2,3\n")),
}
