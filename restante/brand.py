"""How the pages and notices of an organisation look: settings that are checked before anybody sees them.

Colours are refused where text in them could not be read: WCAG 2.2, 1.4.3 asks for a contrast of 4.5 : 1.  The remedy
names the nearest colour that passes.  The rest of the palette is derived, and fits by construction.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from restante.languages import LanguageName

LEAST_CONTRAST = 4.5
LOGO_BYTES = 20_480
_TEXT = Field(max_length=1000)
_STEPS = 100


def _colour(value: str) -> str:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        raise ValueError('must be a colour such as "#1d5c63"')
    return value.lower()


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if value and (parts.scheme != "https" or not parts.hostname):
        raise ValueError("must be an address that begins with https://")
    return value


Colour = Annotated[str, AfterValidator(_colour)]
Wording = Annotated[str, _TEXT] | dict[LanguageName, Annotated[str, _TEXT]]


class Palette(BaseModel):
    """What a theme's colours must go with: the colours of ``restante.css`` that no setting changes."""

    model_config = ConfigDict(frozen=True)
    paper: str
    ink: str
    soft: str


LIGHT = Palette(paper="#ffffff", ink="#1c2426", soft="#55605f")
DARK = Palette(paper="#1c2324", ink="#e9eeed", soft="#a9b5b3")
_BLACK, _WHITE = "#000000", "#ffffff"


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    # WCAG 2.2, "relative luminance".
    parts = [value / 255 for value in _parts(colour)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _parts(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _mixed(colour: str, other: str, share: float) -> str:
    """``colour`` with ``share`` (0 to 1) of ``other`` in it."""
    parts = (round(a + (b - a) * share) for a, b in zip(_parts(colour), _parts(other), strict=True))
    return "#" + "".join(f"{part:02x}" for part in parts)


def _tint(accent: str, palette: Palette) -> str:
    return _mixed(palette.paper, accent, 0.1)


def _background(value: str, palette: Palette) -> str:
    def least(colour: str) -> float:
        return min(contrast(palette.soft, colour), contrast(palette.ink, colour))

    return _readable(value, "text", least, palette.paper)


def _accent(value: str, background: str, palette: Palette) -> str:
    def least(colour: str) -> float:
        surfaces = (palette.paper, _tint(colour, palette), *([background] if background else []))
        return min(contrast(colour, surface) for surface in surfaces)

    return _readable(value, "a link or button", least, palette.ink)


def _readable(value: str, what: str, least: Callable[[str], float], towards: str) -> str:
    """``value``, or ``ValueError`` with the nearest colour that could be read, on the way to ``towards``."""
    found = least(value)
    if found >= LEAST_CONTRAST:
        return value
    tries = (_mixed(value, towards, step / _STEPS) for step in range(1, _STEPS + 1))
    better = next((colour for colour in tries if least(colour) >= LEAST_CONTRAST), "")
    remedy = f'the nearest colour that can is "{better}"' if better else "take another background first"
    raise ValueError(
        f"{what} in this colour, or on it, cannot be read by everyone: contrast {found:.1f}, at least "
        f"{LEAST_CONTRAST} is needed; {remedy}"
    )


def _rules(theme: Theme, palette: Palette) -> str:
    strong = _mixed(theme.accent, palette.ink, 0.3)
    colours = {
        "ground": theme.background,
        "accent": theme.accent,
        "on-accent": theme.on_accent,
        "accent-strong": strong,
        "tint": _tint(theme.accent, palette),
    }
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


class Theme(BaseModel):
    """Colours of one theme.  ``accent`` is for links, buttons and marks, ``background`` for what lies around them."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    background: Colour
    accent: Colour

    @property
    def on_accent(self) -> str:
        """Black or white, whichever is read more easily on the accent."""
        return max(_BLACK, _WHITE, key=lambda ink: contrast(ink, self.accent))


class _Light(Theme):
    background: Colour = "#f5f6f4"
    accent: Colour = Field(default="#1d5c63", validate_default=True)

    @field_validator("background")
    @classmethod
    def _texts_can_be_read(cls, value: str) -> str:
        return _background(value, LIGHT)

    @field_validator("accent")
    @classmethod
    def _accent_can_be_read(cls, value: str, info: ValidationInfo) -> str:
        return _accent(value, info.data.get("background", ""), LIGHT)


class _Dark(Theme):
    background: Colour = "#14191a"
    accent: Colour = Field(default="#7cc4c9", validate_default=True)

    @field_validator("background")
    @classmethod
    def _texts_can_be_read(cls, value: str) -> str:
        return _background(value, DARK)

    @field_validator("accent")
    @classmethod
    def _accent_can_be_read(cls, value: str, info: ValidationInfo) -> str:
        return _accent(value, info.data.get("background", ""), DARK)


class BrandSettings(BaseModel):
    """What makes the pages the organisation's own.  Its name is ``organisation``, outside this section.

    ``logo`` and ``logo_dark`` are PNG or SVG files of 20 kB at most.  ``imprint`` and ``help`` are plain text, or one
    text for each language (``help = { en = "…", de = "…" }``); lines stay lines.  ``imprint_url`` is where more is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    logo: Path | None = None
    logo_dark: Path | None = None
    light: _Light = _Light()
    dark: _Dark = _Dark()
    imprint: Wording = ""
    imprint_url: Annotated[str, AfterValidator(_web_address)] = ""
    help: Wording = ""

    @field_validator("logo", "logo_dark")
    @classmethod
    def _named_as_a_picture(cls, value: Path | None) -> Path | None:
        if value is not None and value.suffix.lower() not in {".png", ".svg"}:
            raise ValueError("must be a file that ends with .png or .svg")
        return value

    def resolved(self, folder: Path) -> Self:
        """A copy whose relative paths start at ``folder``."""
        logos = {"logo": self.logo, "logo_dark": self.logo_dark}
        return self.model_copy(update={name: folder / path for name, path in logos.items() if path is not None})

    def style(self) -> str:
        """The style sheet that puts our colours in the place of the usual ones; empty without any."""
        if (self.light, self.dark) == (_Light(), _Dark()):
            return ""
        dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {_rules(self.dark, DARK)} }} }}\n"
        return f":root {{ {_rules(self.light, LIGHT)} }}\n{dark}"


def worded(text: Wording, language: str, otherwise: str) -> tuple[str, str]:
    """The wording for ``language``, else for ``otherwise``, else the first; and its language, empty where unknown."""
    if isinstance(text, str):
        return text, ""
    for name in (language, otherwise, *text):
        if name in text:
            return text[name], name
    return "", ""
