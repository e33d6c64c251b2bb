"""Checks of documents, vehicles, devices, dates and wallets that python-stdnum lacks.

None raises, whatever the candidate is.
Wallets and machine-readable zones are given as written, since their case and fillers matter.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from restante.classify.checks import MONTHS, is_date, numeral, weighted
from restante.classify.detector import Proof, Validator, whole

_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_VIN_VALUES = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", (*range(1, 9), *range(1, 6), 7, 9, *range(2, 10)), strict=True))


def vin(value: str) -> bool:
    """Vehicle identification number (49 CFR 565.15): the ninth place is a remainder of 11 where X is 10."""
    if not re.fullmatch(r"[A-HJ-NPR-Z0-9]{17}", value) or value.isdigit() or value.isalpha():
        return False
    worth = (int(character) if character.isdigit() else _VIN_VALUES[character] for character in value)
    rest = sum(one * weight for one, weight in zip(worth, _VIN_WEIGHTS, strict=True)) % 11
    return value[8] == "0123456789X"[rest]


def _checked(field: str, check: str) -> bool:
    if check == "<":
        return not field.strip("<")
    return check.isdigit() and weighted(field, (7, 3, 1)) % 10 == numeral(check)


def mrz(value: str) -> bool:
    """Machine-readable zone of a passport, visa or identity card (ICAO Doc 9303, parts 4 to 6), its dated line.

    The check digits of document, birth and expiry must hold, and the composite one where the line has it.
    """
    line = re.sub(r"\s", "", value.upper())
    if len(line) in {36, 44}:
        fields = ((line[:9], line[9]), (line[13:19], line[19]), (line[21:27], line[27]))
        composite = len(line) == 36 or _checked(line[:10] + line[13:20] + line[21:43], line[43])
        return composite and all(_checked(*field) for field in fields)
    if len(line) == 60:
        fields = ((line[5:14], line[14]), (line[30:36], line[36]), (line[38:44], line[44]))
        whole = line[5:30] + line[30:37] + line[38:45] + line[48:59]
        # The composite covers document number to optional data of both lines (part 5, 4.2.4).
        return _checked(whole, line[59]) and all(_checked(*field) for field in fields)
    return False


_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# Version bytes: Bitcoin, Litecoin, Dogecoin, Dash, Zcash, Tron (their chain parameters).
_VERSIONS = frozenset({0x00, 0x05, 0x30, 0x32, 0x1E, 0x16, 0x4C, 0x10, 0x41})


def base58_wallet(value: str) -> bool:
    """Base58Check address of Bitcoin and its kin: version, hash of 20 bytes, four bytes of double SHA-256."""
    number = 0
    for character in value:
        place = _BASE58.find(character)
        if place < 0:
            return False
        number = number * 58 + place
    if number >= 1 << 200 or not 25 <= len(value) <= 35:
        return False
    data = number.to_bytes(25, "big")
    check = hashlib.sha256(hashlib.sha256(data[:21]).digest()).digest()[:4]
    return data[0] in _VERSIONS and check == data[21:]


_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def bech32_wallet(value: str) -> bool:
    """Segregated-witness address of Bitcoin or Litecoin (BIP 173 and BIP 350)."""
    prefix, _, data = value.lower().rpartition("1")
    if prefix not in {"bc", "ltc"} or len(data) < 7 or not set(data) <= set(_BECH32):
        return False
    spelled = [ord(character) >> 5 for character in prefix] + [0] + [ord(character) & 31 for character in prefix]
    residue = 1
    for five in spelled + [_BECH32.index(character) for character in data]:
        top, residue = residue >> 25, (residue & 0x1FFFFFF) << 5 ^ five
        for index, generator in enumerate(_GENERATORS):
            residue ^= generator if top >> index & 1 else 0
    return residue in {1, 0x2BC830A3}


_NUMBERS = re.compile(r"[0-9]{1,9}")
_WORDS = re.compile(r"[^\W\d_]{3,}")


def date_of_birth(candidate: str) -> Proof | None:
    """The date at the end of ``candidate``, in any usual order, if a living person may be born on it.

    A date that no label precedes must be at least ten years old: what is newer is more often that of a letter.
    """
    numbers = [int(number) for number in _NUMBERS.findall(candidate)]
    months = [MONTHS[word] for word in _WORDS.findall(candidate.lower()) if word in MONTHS]
    latest = 2016 if candidate[:1].isdigit() else 2040
    for year, month, day in _orders(numbers, months):
        full = year if year >= 100 else year + (2000 if year < 30 else 1900)
        if 1905 <= full <= latest and is_date(full, month, day):
            return Proof(f"{full:04}-{month:02}-{day:02}", len(candidate))
    return None


def _orders(numbers: list[int], months: list[int]) -> tuple[tuple[int, int, int], ...]:
    if months and len(numbers) >= 2:
        first, second = numbers[-2:]
        return (second, months[-1], first), (first, months[-1], second)
    if len(numbers) < 3:
        return ()
    first, second, third = numbers[-3:]
    return ((first, second, third),) if first > 31 else ((third, second, first), (third, first, second))


def labelled_number(candidate: str) -> Proof | None:
    """The number after a label, of which the pattern says what it looks like: the digits after the last letter."""
    digits = re.sub(r"[^0-9]", "", re.split(r"[^\W\d_]|#", candidate)[-1])
    return Proof(digits, len(candidate)) if len(set(digits)) > 1 else None


def labelled_code(candidate: str) -> Proof | None:
    """The last word after a label, in capital letters."""
    code = re.split(r"[\s:#=]", candidate)[-1].upper()
    return Proof(code, len(candidate)) if code else None


def _as_written(check: Callable[[str], bool]) -> Validator:
    return lambda candidate: Proof(candidate, len(candidate)) if check(candidate) else None


VALIDATORS: Mapping[str, Validator] = MappingProxyType(
    {
        "base58-wallet": _as_written(base58_wallet),
        "bech32-wallet": _as_written(bech32_wallet),
        "date-of-birth": date_of_birth,
        "labelled-code": labelled_code,
        "labelled-number": labelled_number,
        "mrz": _as_written(mrz),
        "vin": whole(vin),
    }
)
"""What a pack may name as ``restante:NAME``."""
