"""The tables of docs/detectors.md, made from the packs.  ``python -m tests.core.detectors_page`` writes them anew."""

from __future__ import annotations

from pathlib import Path

from restante.classify.pack_loader import FOLDER
from restante.classify.tables import DetectorTable, Lexicon, PackFile, PackTable
from restante.toml_source import load_model

PAGE = Path(__file__).parents[2] / "docs" / "detectors.md"
MARK = "<!-- From here on made by python -m tests.core.detectors_page -->\n"


def tables() -> str:
    """Everything below the mark."""
    files = [(path.stem, load_model(path, PackFile)) for path in sorted(FOLDER.glob("*.toml"))]
    packs = [pack for _, file in files for pack in file.pack]
    parts = [MARK, _packs(packs)]
    for stem, file in files:
        if file.detector or file.lexicon:
            parts.append(f"\n## {stem}\n{_detectors(file.detector)}{_lexicons(file.lexicon)}")
    return "".join(parts)


_LINE = "|---|---|---|---|---|\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _packs(packs: list[PackTable]) -> str:
    rows = (
        _row(
            f"`{pack.name}`",
            pack.title,
            "yes" if pack.default else "",
            str(pack.confidence),
            " **and** ".join(", ".join(f"`{selector}`" for selector in group) for group in pack.all),
        )
        for pack in packs
    )
    head = _row("name", "title", "default", "least confidence", "asks for")
    return "\n## Packs\n\n" + head + _LINE + "".join(rows)


def _detectors(detectors: tuple[DetectorTable, ...]) -> str:
    if not detectors:
        return ""
    rows = (
        _row(f"`{table.name}`", table.title, _alone(table), "high" if table.context else "", ", ".join(table.tags))
        for table in detectors
    )
    return "\n" + _row("name", "title", "alone", "with context", "tags") + _LINE + "".join(rows)


def _lexicons(lexicons: tuple[Lexicon, ...]) -> str:
    if not lexicons:
        return ""
    rows = (
        _row(f"`lexicon:{own.name}`", own.title, str(own.confidence), str(len(own.words)), ", ".join(own.tags))
        for own in lexicons
    )
    return "\n" + _row("name", "title", "confidence", "words", "tags") + _LINE + "".join(rows)


def _alone(table: DetectorTable) -> str:
    """The confidences of the forms without context, the best first."""
    levels = {min(form.alone, 1) if table.needs_context else form.alone for form in table.form}
    names = {1: "low", 2: "medium", 3: "high"}
    return ", ".join(names[int(level)] for level in sorted(levels, reverse=True))


def main() -> None:
    """Write the tables into the page."""
    before = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    PAGE.write_text(before + tables(), encoding="utf-8")


if __name__ == "__main__":
    main()
