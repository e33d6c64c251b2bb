"""PDF (ISO 32000): text of pages, form fields, annotations, metadata, XFA, scripts and embedded files, by PDFium."""

from __future__ import annotations

import ctypes
import re
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pypdfium2 as pdfium
from pypdfium2 import raw

from restante.classify.extract.job import Job, Part
from restante.classify.extract.limits import Unreadable
from restante.classify.extract.plain import say_xmp

_MOST_PAGES = 5_000
_MOST_ANNOTATIONS = 2_000
_MOST_TEXT = 4 << 20  # characters of one page, which a page of a book has a thousandth of
_KEYS = (b"Contents", b"V", b"DV", b"T", b"TU", b"RC", b"Subj", b"CA")
_INFO = ("Title", "Author", "Subject", "Keywords", "Creator", "Producer")
_STREAM = re.compile(rb"<<(?P<dict>[^<>]{0,400}(?:<[^<>]{0,400}>{1,2}[^<>]{0,400}){0,8})>>\s{0,4}stream\r?\n")


def read_pdf(job: Job, part: Part) -> None:
    """All text of a PDF file; one that needs a password is encrypted, and one that PDFium refuses is damaged."""
    begin = max(part.content.find(b"%PDF-"), 0)
    try:
        document = pdfium.PdfDocument(part.content[begin:])
    except pdfium.PdfiumError:
        code = raw.FPDF_GetLastError()
        if code in {raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY}:
            raise Unreadable("encrypted PDF file") from None
        _salvage(job, part)
        raise Unreadable("damaged PDF file") from None
    try:
        _read(job, part, document)
    finally:
        document.close()
    say_xmp(job, part.place, part.content)
    if b"%%EOF" not in part.content[-4096:]:
        raise Unreadable("a PDF file that is cut")


def _read(job: Job, part: Part, document: pdfium.PdfDocument) -> None:
    pages = len(document)
    job.output.text(part.place)
    for name in _INFO:
        job.output.write(document.get_metadata_value(name) + "\n")
    unmapped = pictures = 0
    for number in range(min(pages, _MOST_PAGES)):
        try:
            page = document[number]
        except pdfium.PdfiumError:
            job.output.sealed(part.place, "damaged page in a PDF file")
            continue
        job.output.text(part.place)
        doubtful, empty = _read_page(job, page)
        unmapped += doubtful
        pictures += empty
        _read_annotations(job, page)
        if empty and job.limits.ocr:
            _recognise(job, part, page, number)
        page.close()
    if pages > _MOST_PAGES:
        job.output.sealed(part.place, f"more than {_MOST_PAGES} pages")
    if unmapped:
        job.output.sealed(part.place, "text in a font that does not say what its characters are")
    _read_packets(job, part, document)
    _read_scripts(job, part, document)
    _read_embedded(job, part, document)


def _read_page(job: Job, page: pdfium.PdfPage) -> tuple[bool, bool]:
    """Write the page's text; whether it cannot be made out, and whether there is none."""
    text = page.get_textpage()
    try:
        count = text.count_chars()
        content = text.get_text_range(0, min(count, _MOST_TEXT)) if count > 0 else ""
        job.output.write(content + "\n")
        sample = range(0, count, max(count // 200, 1))
        unknown = sum(raw.FPDFText_HasUnicodeMapError(text, at) == 1 for at in sample)
        return len(sample) >= 8 and unknown > len(sample) // 2, not content.strip()
    finally:
        text.close()


def _read_annotations(job: Job, page: pdfium.PdfPage) -> None:
    for index in range(min(raw.FPDFPage_GetAnnotCount(page), _MOST_ANNOTATIONS)):
        annotation = raw.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        try:
            for key in _KEYS:
                value = _wide(partial(raw.FPDFAnnot_GetStringValue, annotation, key))
                if value:
                    job.output.write(value + "\n")
        finally:
            raw.FPDFPage_CloseAnnot(annotation)


def _wide(call: Callable[[Any, int], int]) -> str:
    """The UTF-16 string that ``call`` writes into a buffer, after it has told the size in bytes."""
    size = call(None, 0)
    if not 2 < size <= 2 * _MOST_TEXT:
        return ""
    buffer = ctypes.create_string_buffer(size)
    call(ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), size)
    return buffer.raw[: size - 2].decode("utf-16-le", "replace")


def _bytes(call: Callable[[Any, int, Any], int], most: int) -> bytes:
    """The same for bytes."""
    size = ctypes.c_ulong()
    call(None, 0, size)
    if not 0 < size.value <= most:
        return b""
    buffer = ctypes.create_string_buffer(size.value)
    call(buffer, size.value, size)
    return buffer.raw


def _read_packets(job: Job, part: Part, document: pdfium.PdfDocument) -> None:
    """Forms in XFA, whose text no page holds."""
    for index in range(min(raw.FPDF_GetXFAPacketCount(document), 100)):
        packet = _bytes(partial(raw.FPDF_GetXFAPacketContent, document, index), job.meter.left)
        job.meter.unpacked(len(packet))
        job.output.text(part.place, markup=True)
        job.output.data(packet)


def _read_scripts(job: Job, part: Part, document: pdfium.PdfDocument) -> None:
    for index in range(min(raw.FPDFDoc_GetJavaScriptActionCount(document), 100)):
        action = raw.FPDFDoc_GetJavaScriptAction(document, index)
        if action:
            script = _wide(partial(raw.FPDFJavaScriptAction_GetScript, action))
            job.output.say(part.place, script)
            raw.FPDFDoc_CloseJavaScriptAction(action)


def _read_embedded(job: Job, part: Part, document: pdfium.PdfDocument) -> None:
    for index in range(raw.FPDFDoc_GetAttachmentCount(document)):
        attachment = raw.FPDFDoc_GetAttachment(document, index)
        if not attachment:
            continue
        name = _wide(partial(raw.FPDFAttachment_GetName, attachment)) or f"embedded {index + 1}"
        content = _bytes(partial(raw.FPDFAttachment_GetFile, attachment), job.meter.left)
        if content:
            job.inner(part, content, name)
        else:
            job.output.sealed(part.place_of(name), "embedded file that cannot be taken out")


def _recognise(job: Job, part: Part, page: pdfium.PdfPage, number: int) -> None:
    from restante.classify.extract.ocr import recognise

    bitmap = page.render(scale=200 / 72, grayscale=True, may_draw_forms=False)
    header = f"P5 {bitmap.width} {bitmap.height} 255\n".encode()
    rows = bytes(bitmap.buffer)
    lines = (rows[at : at + bitmap.width] for at in range(0, bitmap.stride * bitmap.height, bitmap.stride))
    recognise(job, part.place_of(f"page {number + 1}"), header + b"".join(lines))
    bitmap.close()


def _salvage(job: Job, part: Part) -> None:
    """What of a file without its tables can be told: the streams, unpacked, as they are."""
    job.output.text(part.place)
    for found in _STREAM.finditer(part.content):
        if b"/Image" in found["dict"] or b"FlateDecode" not in found["dict"]:
            continue
        try:
            piece = zlib.decompressobj().decompress(part.content[found.end() : found.end() + (4 << 20)], 4 << 20)
        except zlib.error:
            continue
        job.meter.unpacked(len(piece))
        job.output.data(piece + b"\n")
