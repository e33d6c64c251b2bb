"""What proves a candidate, by name: the ``validator`` of a detector.

``stdnum:MODULE`` asks ``is_valid`` of a module of python-stdnum about the candidate without separators,
``stdnum-written:MODULE`` about the candidate as it was written, and ``restante:NAME`` is a function of this module.
``restante:entropy>=N`` asks for at least N bits.  A validator never raises, whatever the candidate is.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from importlib import import_module
from types import MappingProxyType

import stdnum.iban
import stdnum.luhn
import stdnum.se.personnummer

from restante.classify import checks_documents, checks_europe, checks_world
from restante.classify.checks import MONTHS
from restante.classify.credentials import CREDENTIALS
from restante.classify.detector import Proof, Validator, digits_and_letters, whole


class UnknownValidator(ValueError):
    """No validator has this name.  Correct the name; the text says what there is."""


def validator_named(name: str) -> Validator:
    """The validator called ``name``; an empty name takes every candidate.  Raises :class:`UnknownValidator`."""
    if not name:
        return whole(lambda _value: True)
    kind, _, which = name.partition(":")
    if kind in {"stdnum", "stdnum-written"}:
        check = _not_trivial(_stdnum(which))
        return whole(check) if kind == "stdnum" else _as_written(check)
    if kind == "restante":
        bits = re.fullmatch(r"entropy>=([0-9]{1,4})", which)
        if bits:
            return whole_as_written(partial(_has_entropy, int(bits.group(1))))
        if which in OWN:
            return OWN[which]
    raise UnknownValidator(
        f'no validator is called "{name}": write stdnum:MODULE, stdnum-written:MODULE, restante:entropy>=N or one of '
        + ", ".join(f"restante:{own}" for own in sorted(OWN))
    )


_MODULE = re.compile(r"(?:[a-z]{2}_?\.)?[a-z0-9_]{2,30}")


def _stdnum(module: str) -> Callable[[str], bool]:
    """``is_valid`` of a module of python-stdnum, with whatever else it raises on odd input taken as a no."""
    if not _MODULE.fullmatch(module):
        raise UnknownValidator(f'"{module}" is no module of python-stdnum: write it like pl.pesel')
    try:
        is_valid: Callable[[str], bool] = import_module(f"stdnum.{module}").is_valid
    except (ImportError, AttributeError):
        raise UnknownValidator(f'python-stdnum has no "{module}" that validates') from None

    def check(value: str) -> bool:
        try:
            return bool(is_valid(value))
        except (ValueError, LookupError, TypeError, ArithmeticError, AttributeError):
            return False

    return check


def _not_trivial(check: Callable[[str], bool]) -> Callable[[str], bool]:
    """``check``, but one repeated digit is a placeholder, not a person."""

    def checked(value: str) -> bool:
        digits = re.sub(r"[^0-9]", "", value)
        return check(value) and (len(set(digits)) > 1 or len(digits) < 4)

    return checked


def whole_as_written(check: Callable[[str], bool]) -> Validator:
    """A validator that asks ``check`` about the candidate as it stands, in its own case."""

    def validate(candidate: str) -> Proof | None:
        return Proof(candidate, len(candidate)) if check(candidate) else None

    return validate


def _as_written(check: Callable[[str], bool]) -> Validator:
    """As :func:`whole_as_written`; two spellings that differ in case alone are one value."""

    def validate(candidate: str) -> Proof | None:
        return Proof(candidate.upper(), len(candidate)) if check(candidate) else None

    return validate


# -- payment cards ----------------------------------------------------------------------------------------------

# Issuer prefix (lowest, highest) and the lengths its cards have (ISO/IEC 7812-1, issuers' published ranges).
_LONG = frozenset({16, 17, 18, 19})
_ISSUERS: tuple[tuple[str, str, frozenset[int]], ...] = (
    ("4", "4", frozenset({13, 16, 19})),
    ("51", "55", frozenset({16})),
    ("2221", "2720", frozenset({16})),
    ("34", "34", frozenset({15})),
    ("37", "37", frozenset({15})),
    ("300", "305", frozenset({14, *_LONG})),
    ("3095", "3095", frozenset({14, *_LONG})),
    ("36", "36", frozenset({14, 15, *_LONG})),
    ("38", "39", frozenset({14, *_LONG})),
    ("6011", "6011", _LONG),
    ("644", "649", _LONG),
    ("65", "65", _LONG),
    ("62", "62", _LONG),
    ("81", "81", _LONG),
    ("3528", "3589", _LONG),
    ("50", "50", _LONG),
    ("56", "58", _LONG),
    ("6304", "6304", _LONG),
    ("6759", "6763", _LONG),
    ("2200", "2204", _LONG),
)
# How the digits are grouped on cards; other groupings are runs of unrelated numbers.
_GROUPINGS = frozenset(
    {
        (4, 4, 4, 4),
        (4, 6, 5),
        (4, 6, 4),
        (4, 4, 4, 4, 3),
        (4, 4, 4, 1),
        (4, 4, 4, 3),
        (4, 4, 5),
        (6, 10),
        (6, 13),
        (8, 8),
    }
)
_RUN = re.compile(r"[0-9]+")


def _issued(number: str) -> bool:
    """Whether prefix and length are an issuer's, and the check digit holds."""
    fits = any(low <= number[: len(low)] <= high and len(number) in lengths for low, high, lengths in _ISSUERS)
    return fits and len(set(number)) > 1 and bool(stdnum.luhn.is_valid(number))


def _card(candidate: str) -> Proof | None:
    """The longest leading run of groups that is a card: what follows may be another number."""
    groups = [(match.group(), match.end()) for match in _RUN.finditer(candidate)]
    spelled = len(groups) > 5 and all(len(group) == 1 for group, _ in groups)
    for count in range(len(groups), 0, -1):
        shape = tuple(len(group) for group, _ in groups[:count])
        if count > 1 and not spelled and shape not in _GROUPINGS:
            continue
        number = "".join(group for group, _ in groups[:count])
        if 13 <= len(number) <= 19 and _issued(number):
            return Proof(number, groups[count - 1][1])
    return None


# -- IBAN -------------------------------------------------------------------------------------------------------

# Country and length (ISO 13616 registry).
_IBAN_REGISTRY = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 "
    "EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 "
    "KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 "
    "PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 "
    "VA22 VG24 XK20"
)
_IBAN_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _IBAN_REGISTRY.split()}


def _iban(candidate: str) -> Proof | None:
    """An IBAN of its country's length (ISO 13616); the text that follows may look like more of it."""
    length = _IBAN_LENGTHS.get(candidate[:2].upper())
    if length is None:
        return None
    seen = 0
    for index, character in enumerate(candidate):
        seen += character.isalnum()
        if seen == length:
            ends = index + 1 == len(candidate) or not candidate[index + 1].isalnum()
            value = digits_and_letters(candidate[: index + 1])
            # The country's own account check is left out: it lags behind what banks issue.
            if ends and stdnum.iban.is_valid(value, check_country=False):
                return Proof(value, index + 1)
            return None
    return None


# -- others -----------------------------------------------------------------------------------------------------


def _personnummer(value: str) -> bool:
    separated = f"{value[:-4]}-{value[-4:]}"
    return bool(stdnum.se.personnummer.is_valid(separated))


def _luhn(value: str) -> bool:
    return bool(stdnum.luhn.is_valid(value))


def _mod_97(value: str) -> bool:
    """The last two digits are the rest of the others by 97, or 97 minus it (ISO 7064 takes the whole to be 1)."""
    if not (value.isascii() and value.isdigit() and 4 < len(value) <= 1000):
        return False
    body, check = int(value[:-2]), int(value[-2:])
    return int(value) % 97 == 1 or check in {body % 97 or 97, 97 - body % 97}


def _has_entropy(bits: int, value: str) -> bool:
    """Whether Shannon's entropy of the characters of ``value``, times its length, is at least ``bits``."""
    size = len(value)
    each = -sum(count / size * math.log2(count / size) for count in Counter(value).values()) if size else 0.0
    return each * size >= bits


def _mixed(value: str) -> bool:
    """A secret that a program made: digits and letters of both cases."""
    return any(map(str.isdigit, value)) and any(map(str.islower, value)) and any(map(str.isupper, value))


def _jwt(value: str) -> bool:
    """A JSON Web Token whose header is JSON with ``alg`` (RFC 7515)."""
    head = value.partition(".")[0]
    try:
        content = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "alg" in content


_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _github_token(value: str) -> bool:
    """The last six characters are the CRC-32 of those after the prefix, in base 62."""
    body = value.rpartition("_")[2]
    number, check = zlib.crc32(body[:-6].encode()), ""
    while number:
        number, rest = divmod(number, 62)
        check = _BASE62[rest] + check
    return len(body) == 36 and body[-6:] == check.rjust(6, "0")


def _calendar(year: int, month: int, day: int) -> bool:
    try:
        return date(1900, 1, 1) <= date(year, month, day) <= date(2099, 12, 31)
    except ValueError:
        return False


def _date(value: str) -> bool:
    """A day of the calendar from 1900 on, in any usual order; month names of a dozen languages."""
    words = re.findall(r"[0-9]+|[^\W\d_]+", value.lower())
    numbers = [int(word) for word in words if word.isdigit() and len(word) <= 4]
    months = [month for word in words if (month := MONTHS.get(word))]
    if months and len(numbers) == 2:
        return any(_calendar(_full(year), months[0], day) for day, year in (numbers, numbers[::-1]))
    if len(numbers) != 3:
        return False
    first, second, third = numbers
    if first > 31:
        return _calendar(_full(first), second, third)
    return _calendar(_full(third), second, first) or _calendar(_full(third), first, second)


def _full(year: int) -> int:
    """A year of two digits as one of four; up to 40 they belong to this century."""
    return year if year >= 100 else year + (2000 if year <= 40 else 1900)


OWN: Mapping[str, Validator] = MappingProxyType(
    {
        **{name: whole(_not_trivial(check)) for name, check in checks_europe.CHECKS.items()},
        **{name: whole(_not_trivial(check)) for name, check in checks_world.CHECKS.items()},
        **checks_documents.VALIDATORS,
        **CREDENTIALS,
        "date": whole_as_written(_date),
        "github-token": whole_as_written(_github_token),
        "iban": _iban,
        "jwt": whole_as_written(_jwt),
        "luhn": whole(_not_trivial(_luhn)),
        "mixed": whole_as_written(_mixed),
        "mod-97": whole(_not_trivial(_mod_97)),
        "payment-card": _card,
        "personnummer": whole(_not_trivial(_personnummer)),
    }
)
"""What ``restante:NAME`` may name."""
