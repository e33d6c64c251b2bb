"""Beside one another: libraries that take text out of documents.  Each in a process of its own, those installed.

``python -m tests.bench.extraction`` prints seconds (the best of three, loading apart) and the largest memory.  The
others are no dependencies: ``pip install pypdf pdfminer.six pymupdf kreuzberg docx2txt`` in an environment apart.
With ``coverage`` it tells in how many of the attachments of our tests kreuzberg sees what they hide.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import docx
import openpyxl
from fpdf import FPDF

WORDS = "The quick brown fox jumps over the lazy dog, order 12345, at 17:30 on Monday. "


def write_samples(folder: Path) -> None:
    """A PDF file of 100 pages, a letter of 2,000 paragraphs, a workbook of 10,000 rows."""
    pdf = FPDF()
    pdf.set_font("helvetica", size=10)
    for _ in range(100):
        pdf.add_page()
        pdf.multi_cell(0, 5, WORDS * 40)
    pdf.output(str(folder / "sample.pdf"))
    letter = docx.Document()
    for _ in range(2000):
        letter.add_paragraph(WORDS * 3)
    letter.save(str(folder / "sample.docx"))
    book = openpyxl.Workbook()
    for row in range(10_000):
        book.active.append([f"Name {row}", row * 1.5, WORDS, row])
    book.save(str(folder / "sample.xlsx"))


def _ours(path: Path) -> Callable[[], int]:
    from restante.classify.extract.limits import Limits
    from restante.classify.extract.output import Output
    from restante.classify.extract.worker import read

    class Count:
        size = 0

        def sendall(self, data: bytes) -> None:
            self.size += len(data)

    def extract() -> int:
        count = Count()
        read(Output(count), Limits(), path.read_bytes(), path.name)  # type: ignore[arg-type]  # only sends
        return count.size

    return extract


def _pypdf(path: Path) -> Callable[[], int]:
    from pypdf import PdfReader

    return lambda: sum(len(page.extract_text()) for page in PdfReader(str(path)).pages)


def _pdfminer(path: Path) -> Callable[[], int]:
    from pdfminer.high_level import extract_text

    return lambda: len(extract_text(str(path)))


def _pymupdf(path: Path) -> Callable[[], int]:
    import pymupdf

    return lambda: sum(len(page.get_text()) for page in pymupdf.open(str(path)))


def _kreuzberg(path: Path) -> Callable[[], int]:
    from kreuzberg import extract_file_sync

    return lambda: len(extract_file_sync(str(path)).content)


def _python_docx(path: Path) -> Callable[[], int]:
    return lambda: sum(len(paragraph.text) for paragraph in docx.Document(str(path)).paragraphs)


def _docx2txt(path: Path) -> Callable[[], int]:
    import docx2txt

    return lambda: len(docx2txt.process(str(path)))


def _openpyxl(path: Path) -> Callable[[], int]:
    def extract() -> int:
        book = openpyxl.load_workbook(str(path), read_only=True)
        return sum(len(str(value)) for row in book.active.iter_rows(values_only=True) for value in row)

    return extract


LIBRARIES = {
    "pdf": {
        "ours (pypdfium2)": _ours,
        "pypdf": _pypdf,
        "pdfminer.six": _pdfminer,
        "PyMuPDF": _pymupdf,
        "kreuzberg": _kreuzberg,
    },
    "docx": {"ours (expat)": _ours, "python-docx": _python_docx, "docx2txt": _docx2txt, "kreuzberg": _kreuzberg},
    "xlsx": {"ours (expat)": _ours, "openpyxl": _openpyxl, "kreuzberg": _kreuzberg},
}


def measure(kind: str, name: str, folder: Path) -> str:
    """One row, measured in this process."""
    extract = LIBRARIES[kind][name](folder / f"sample.{kind}")
    best, size = float("inf"), 0
    for _ in range(3):
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            size = extract()
        best = min(best, time.perf_counter() - began)
        if best > 3:
            break
    status = Path("/proc/self/status").read_text(encoding="ascii")
    memory = int(status.partition("VmHWM:")[2].split()[0]) // 1024
    return f"| {kind} | {name} | {best:.3f} s | {memory} MiB | {size // 1000} kB |"


def coverage(folder: Path) -> str:
    """In how many of the tests' attachments kreuzberg sees the card number that our readers find in all of them."""
    from kreuzberg import extract_file_sync

    from tests.core.attachment_samples import FOUND

    seen, refused = [], []
    for name, make in FOUND.items():
        path = folder / name
        path.write_bytes(make())
        try:
            text = extract_file_sync(str(path)).content
        except Exception:  # noqa: BLE001  whatever the library raises, it has not read it
            refused.append(name)
            continue
        if "4111" in text:
            seen.append(name)
    return f"kreuzberg: {len(seen)} of {len(FOUND)}, {len(refused)} refused, the others without a word"


def main() -> None:
    """Print the table."""
    if sys.argv[1:] == ["coverage"]:
        with TemporaryDirectory() as folder:
            print(coverage(Path(folder)))
        return
    if len(sys.argv) == 4:
        print(measure(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
        return
    with TemporaryDirectory() as folder:
        write_samples(Path(folder))
        for kind, libraries in LIBRARIES.items():
            for name in libraries:
                command = [sys.executable, "-m", "tests.bench.extraction", kind, name, folder]
                done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
                print(
                    done.stdout.strip() or f"| {kind} | {name} | {done.stderr.strip().splitlines()[-1]} |", flush=True
                )


if __name__ == "__main__":
    main()
