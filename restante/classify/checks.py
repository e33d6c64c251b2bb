"""Arithmetic shared by the checks of identifiers: weighted sums, dates in numbers, letters with values.

Pure functions of strings that hold digits and capital letters; none raises on what is not of the expected form.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from types import MappingProxyType

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def numeral(character: str) -> int:
    """The value of a digit or a capital letter (A = 10), as ISO 7064 and ICAO Doc 9303 count; others count 0."""
    return max(_ALPHABET.find(character), 0)


def weighted(value: str, weights: Sequence[int]) -> int:
    """The sum of the characters' values times ``weights``, which repeat when they are fewer."""
    return sum(numeral(character) * weights[index % len(weights)] for index, character in enumerate(value))


def crosswise(value: str, weights: Sequence[int]) -> int:
    """As :func:`weighted`, of the sums of the digits of each product."""
    products = (int(character) * weights[index % len(weights)] for index, character in enumerate(value))
    return sum(product // 10 + product % 10 for product in products)


def is_digits(value: str, length: int) -> bool:
    """Whether ``value`` is that many ASCII digits."""
    return len(value) == length and value.isascii() and value.isdigit()


def is_date(year: int, month: int, day: int) -> bool:
    """Whether there is such a day."""
    try:
        dt.date(year, month, day)
    except ValueError:
        return False
    return True


def is_short_date(year: str, month: str, day: str) -> bool:
    """Whether there is such a day in the 19th, 20th or 21st century; ``year`` has two digits."""
    if not all(is_digits(part, 2) for part in (year, month, day)):
        return False
    # 2000 was a leap year, 1900 was none: what fits either fits.
    return is_date(2000 + int(year), int(month), int(day))


def luhn(value: str) -> bool:
    """ISO/IEC 7812-1 Annex B, but zeros only are no number."""
    if not (value.isascii() and value.isdigit()) or not value.strip("0"):
        return False
    return crosswise(value[::-1], (1, 2)) % 10 == 0


MONTHS: Mapping[str, int] = MappingProxyType(
    {
        name: number
        for number, names in enumerate(
            (
                "jan januar january janvier enero gennaio januari janeiro stycznia ledna januára ianuarie",
                "feb februar february février fevrier febrero febbraio februari fevereiro lutego února februarie",
                "mar mär märz maerz march mars marzo maart março marca března martie mrt",
                "apr april avril abril aprile kwietnia dubna aprilie abr avr",
                "may mai mayo maggio mei maio maja května maj mag",
                "jun june juni juin junio giugno junho czerwca června iunie giu",
                "jul july juli juillet julio luglio julho lipca července iulie lug",
                "aug august août aout agosto augustus augusti sierpnia srpna ago",
                "sep sept september septembre septiembre settembre setembro września září septembrie set",
                "oct okt october oktober octobre octubre ottobre outubro października října octombrie ott out",
                "nov november novembre noviembre novembro listopada listopadu noiembrie",
                "dec dez december dezember décembre decembre diciembre dicembre dezembro grudnia prosince dic",
            ),
            1,
        )
        for name in names.split()
    }
)
"""Names and abbreviations of months in a dozen languages."""
