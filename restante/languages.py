"""The languages that recipients are spoken to in: which there are, whose is which, and the texts in one of them.

The texts of the portal and of notices are one gettext catalogue for each language, in ``translations`` beside this
module and in the wheel; the original is English.  A language is offered once it stands in :data:`LANGUAGES`, and a test
holds every language there to be complete.  Dates and sizes are written by Unicode's CLDR, which comes with Babel.
Babel is loaded when the first text is asked for: settings and policies, which only name languages, do without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

if TYPE_CHECKING:
    from babel import Locale
    from babel.support import NullTranslations

TRANSLATIONS = Path(__file__).parent / "translations"
ENGLISH = "en"
LANGUAGES = (
    "en",
    "ar",
    "bg",
    "cs",
    "da",
    "de",
    "el",
    "es",
    "et",
    "fi",
    "fr",
    "ga",
    "he",
    "hr",
    "hu",
    "it",
    "ja",
    "lt",
    "lv",
    "mt",
    "nb",
    "nl",
    "pl",
    "pt",
    "ro",
    "sk",
    "sl",
    "sv",
    "tr",
    "uk",
    "zh",
)
"""What is offered, as names of folders in ``translations``.  Only complete ones: tests/core/test_translations.py."""

# Whose dates and numbers are meant where a language alone would be taken for another country's.
_LOCALES = {"en": "en_GB", "pt": "pt_PT", "zh": "zh_Hans"}
_TAGS = {"zh": "zh-Hans"}
# What browsers and countries call some of them.
_ALSO = {"no": "nb", "nn": "nb", "iw": "he"}

# Country codes that tell the language of letters.  Not here, on purpose: countries with several (be, ca, ch), those
# whose mail is mostly English all the same (ie, in), and codes that are sold to everybody (co, eu, io, me, tv).
_COUNTRIES = {
    "ar": "ae bh dz eg iq jo kw ly om ps qa sa sy ye xn--mgbaam7a8h xn--mgberp4a5d4ar",
    "bg": "bg xn--90ae",
    "cs": "cz",
    "da": "dk",
    "de": "at de li",
    "el": "cy gr xn--qxam",
    "es": "ar bo cl cr cu do ec es gt hn mx ni pa pe py sv uy ve",
    "et": "ee",
    "fi": "fi",
    "fr": "fr lu mc",
    "he": "il",
    "hr": "hr",
    "hu": "hu",
    "it": "it sm va",
    "ja": "jp",
    "lt": "lt",
    "lv": "lv",
    "mt": "mt",
    "nb": "no",
    "nl": "nl sr",
    "pl": "pl",
    "pt": "br pt",
    "ro": "md ro",
    "sk": "sk",
    "sl": "si",
    "sv": "se",
    "tr": "tr",
    "uk": "ua xn--j1amh",
    "zh": "cn xn--fiqs8s",
}
_BY_COUNTRY = {country: language for language, countries in _COUNTRIES.items() for country in countries.split()}


def _offered(value: str) -> str:
    if value not in LANGUAGES:
        raise ValueError(f"must be one of {', '.join(LANGUAGES)}")
    return value


LanguageName = Annotated[str, AfterValidator(_offered)]
"""A language of :data:`LANGUAGES`, in a settings or policy file."""


def negotiate(wanted: Iterable[str]) -> str | None:
    """The first of the tags (RFC 5646; RFC 4647, section 3.4, lookup) that is offered; ``None`` when none is.

    Traditional Chinese is not taken for Chinese: ours is written in simplified characters.
    """
    for tag in wanted:
        parts = tag.lower().replace("_", "-").split("-")
        language = _ALSO.get(parts[0], parts[0])
        if language == "zh" and {"hant", "tw", "hk", "mo"} & set(parts) and "hans" not in parts:
            continue
        if language in LANGUAGES:
            return language
    return None


def of_domain(domain: str, otherwise: str) -> str:
    """The language that a recipient of ``domain`` (A-labels) is written to: the country's, else ``otherwise``."""
    language = _BY_COUNTRY.get(domain.rpartition(".")[2].lower(), otherwise)
    return language if language in LANGUAGES else otherwise


@dataclass(frozen=True, slots=True)
class Language:
    """One language: its name in itself, its tag for ``lang`` attributes, and the way that it is written."""

    code: str
    tag: str
    name: str
    direction: str

    @property
    def right_to_left(self) -> bool:
        """Whether it is written from right to left."""
        return self.direction == "rtl"


@cache
def language(code: str) -> Language:
    """What is known of a language of :data:`LANGUAGES`."""
    known = _locale(code)
    name = known.get_language_name(code) or code
    return Language(code, _TAGS.get(code, code), name[:1].upper() + name[1:], known.text_direction)


@cache
def _locale(code: str) -> Locale:
    from babel import Locale

    return Locale.parse(_LOCALES.get(code, code))


@cache
def _catalogue(code: str) -> NullTranslations:
    from babel.support import NullTranslations, Translations

    return NullTranslations() if code == ENGLISH else Translations.load(TRANSLATIONS, [code])


def marked(text: str) -> str:
    """``text`` itself: marks it for translation where it stands, to be translated where it is used."""
    return text


@dataclass(frozen=True, slots=True)
class Words:
    """The texts of one language, for whoever has no request; values are put into ``%(name)s``."""

    code: str

    def gettext(self, text: str, **values: Any) -> str:
        """``text`` in this language."""
        return str(_catalogue(self.code).gettext(text)) % values

    @property
    def language(self) -> Language:
        """The language itself."""
        return language(self.code)

    def moment(self, when: float) -> str:
        """A time in Unix seconds, as it is written in this language, in UTC."""
        return moment(datetime.fromtimestamp(when, UTC), self.code)

    def isolated(self, value: str) -> str:
        """A value for the midst of a sentence: where that runs from right to left, an address keeps its own order."""
        return f"\u2068{value}\u2069" if self.language.right_to_left else value


def moment(when: datetime, code: str) -> str:
    """Day and time of an aware ``when`` in its own zone, which is named."""
    from babel.dates import format_date, format_time, get_datetime_format

    locale = _locale(code)
    form = str(get_datetime_format("medium", locale=locale)).replace("'", "")
    written = form.replace("{1}", format_date(when, "long", locale=locale))
    return f"{written.replace('{0}', format_time(when, 'short', tzinfo=when.tzinfo, locale=locale))} {_zone(when)}"


def _zone(when: datetime) -> str:
    offset = f"{when:%z}"
    return f"UTC{offset[:3]}:{offset[3:5]}" if when.utcoffset() else "UTC"


def size(count: int, code: str) -> str:
    """A size of 1000 bytes or more, in decimal units as they are written in this language."""
    from babel.units import format_unit

    value, unit = (count / 1000, "kilobyte") if count < 1_000_000 else (count / 1_000_000, "megabyte")
    return str(format_unit(value, f"digital-{unit}", length="short", format="0.0", locale=_locale(code)))
