"""What the cells of a worksheet show: shared strings, numbers in their format, dates."""

from __future__ import annotations

import datetime as dt
import math
import re

_QUOTED = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|_.|\*.')
_DATE = re.compile(r"[ymdYMD]")
# Formats that write a whole number in groups, such as 000-00-0000 for one of social security.
_GROUPED = re.compile(r'[0#]{1,}(?:(?:\\?[- ./()]|"[- ./()]+")+[0#]+)+\Z')
_BUILT_IN_DATES = frozenset({*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)})
_EPOCH = dt.datetime(1899, 12, 30)  # noqa: DTZ001  a date on paper has no zone
_LAST_DAY = 2_958_465


def shown(value: str, format_id: int, code: str) -> str:
    """The number ``value`` of a cell as a reader sees it, and as it is, where that differs."""
    try:
        number = float(value)
    except ValueError:
        return value
    if not math.isfinite(number):
        return value
    plain = str(int(number)) if number.is_integer() and abs(number) < 1e18 else value
    if format_id in _BUILT_IN_DATES or (code and _DATE.search(_QUOTED.sub("", code)) and "0" not in code):
        return f"{_date(number)} {plain}" if 0 < number < _LAST_DAY else plain
    first = code.split(";", maxsplit=1)[0]
    if number.is_integer() and number >= 0 and _GROUPED.fullmatch(first):
        return _grouped(plain, first.replace("\\", "").replace('"', ""))
    return plain


def _date(number: float) -> str:
    return (_EPOCH + dt.timedelta(days=number)).date().isoformat()


def _grouped(digits: str, code: str) -> str:
    """``digits`` in the places of ``code``, from the right; what is too long stands in front."""
    places = sum(character in "0#" for character in code)
    padded = digits.rjust(places, "0")
    extra, rest = padded[: len(padded) - places], iter(padded[len(padded) - places :])
    return extra + "".join(next(rest) if character in "0#" else character for character in code)
