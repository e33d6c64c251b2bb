"""The extractor that the settings ask for."""

from __future__ import annotations

from pathlib import Path

from restante.classify.extract.limits import Limits
from restante.classify.extract.ocr import PROGRAM
from restante.classify.extract.pool import ExtractorPool
from restante.errors import RestanteError
from restante.settings import ClassifySettings


class NoTesseract(RestanteError):
    """The settings ask for pictures to be read, and the program is not there.  Install it, or set ``ocr = false``."""


def require_programs(settings: ClassifySettings) -> None:
    """Raise :class:`NoTesseract` where a program that the settings ask for is missing."""
    if settings.extract and settings.ocr and not Path(PROGRAM).exists():
        raise NoTesseract(
            f"classify.ocr is on, and there is no {PROGRAM}. Install it (apt-get install tesseract-ocr), or set"
            " ocr = false in [classify]"
        )


def extractor_from(settings: ClassifySettings) -> ExtractorPool | None:
    """A pool that has not started anything yet; ``None`` where attachments are not looked into."""
    if not settings.extract:
        return None
    limits = Limits(
        seconds=settings.extract_seconds,
        message_seconds=settings.extract_message_seconds,
        memory=settings.extract_memory_mib << 20,
        size=settings.extract_mib << 20,
        members=settings.extract_files,
        depth=settings.extract_depth,
        ratio=settings.extract_ratio,
        ocr=settings.ocr_languages if settings.ocr else "",
        ocr_images=settings.ocr_pictures,
    )
    return ExtractorPool(limits, processes=settings.extract_processes)
