"""The cells of Excel 5 to 2003, by xlrd, and whatever else in the file looks like text: comments, headers, names."""

from __future__ import annotations

import io

import xlrd

from restante.classify.extract.cells import shown
from restante.classify.extract.job import Job, Part
from restante.classify.extract.limits import Unreadable
from restante.classify.extract.plain import say_runs


def read_workbook(job: Job, part: Part, stream: bytes) -> None:
    """Write the rows of every sheet, hidden or not, as lines."""
    try:
        book = xlrd.open_workbook(file_contents=stream, formatting_info=True, on_demand=True, logfile=io.StringIO())
    except xlrd.XLRDError as error:
        say_runs(job, part.place, stream)
        if "encrypt" in str(error).lower() or "password" in str(error).lower():
            raise Unreadable("encrypted Office document") from None
        raise Unreadable("damaged Excel file") from None
    with book:
        for number in range(book.nsheets):
            sheet = book.sheet_by_index(number)
            job.output.text(part.place)
            job.output.write(f"{sheet.name}\n")
            for row in range(sheet.nrows):
                job.output.write(
                    "\t".join(_shown(book, sheet, row, column) for column in range(sheet.row_len(row))) + "\n"
                )
            for note in sheet.cell_note_map.values():
                job.output.write(f"{note.text}\n")
            book.unload_sheet(number)
        for name in book.name_obj_list:
            job.output.write(f"{name.name}\n")
    say_runs(job, part.place, stream)


def _shown(book: xlrd.Book, sheet: xlrd.sheet.Sheet, row: int, column: int) -> str:
    cell = sheet.cell(row, column)
    if cell.ctype == xlrd.XL_CELL_TEXT:
        return str(cell.value)
    if cell.ctype in {xlrd.XL_CELL_NUMBER, xlrd.XL_CELL_DATE}:
        known = cell.xf_index is not None and cell.xf_index < len(book.xf_list)
        style = book.xf_list[cell.xf_index].format_key if known else 0
        code = book.format_map[style].format_str if style in book.format_map else ""
        return shown(repr(cell.value), style, code)
    return ""
