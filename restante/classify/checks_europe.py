"""Checks of European identifiers that python-stdnum lacks.

Each takes digits and capital letters without separators and answers whether they are well formed and their check
characters hold; none raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import stdnum.gb.nhs
import stdnum.md.idno
import stdnum.ru.inn
import stdnum.si.emso
import stdnum.verhoeff

from restante.classify.checks import crosswise, is_date, is_digits, is_short_date, luhn, numeral, weighted

_NINO = re.compile(r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][0-9]{6}[A-D]")
_DVLA = re.compile(r"([A-Z]+)(9*)[0-9]([0156][0-9])([0-3][0-9])[0-9][A-Z9]{2}[0-9A-Z][A-Z]{2}")


def gb_nino(value: str) -> bool:
    """National Insurance number (HMRC, National Insurance Manual NIM39110)."""
    return _NINO.fullmatch(value) is not None


def gb_chi(value: str) -> bool:
    """Community Health Index number (NHS Scotland): a date of birth and the check digit of NHS numbers."""
    return is_short_date(value[4:6], value[2:4], value[:2]) and bool(stdnum.gb.nhs.is_valid(value))


def gb_driving_licence(value: str) -> bool:
    """Driver number (DVLA, INF45/1): five letters of the name padded with 9, and a date of birth, 50 for women."""
    match = _DVLA.fullmatch(value)
    if match is None or len(match[1] + match[2]) != 5:
        return False
    return 1 <= int(match[3]) % 50 <= 12 and 1 <= int(match[4]) <= 31


def de_document(value: str) -> bool:
    """Serial number of German identity cards and passports (PAuswV, annex): nine places, perhaps a check digit.

    The check digit is that of ICAO Doc 9303, part 3, 4.9.  Words are kept out by asking for three digits.
    """
    if not re.fullmatch(r"[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{8}[0-9]?", value):
        return False
    if sum(map(str.isdigit, value)) < 3:
        return False
    return len(value) == 9 or weighted(value[:9], (7, 3, 1)) % 10 == int(value[9])


def de_pension(value: str) -> bool:
    """Pension insurance number (VKVV § 2): area, date of birth, letter, serial, check digit."""
    if not re.fullmatch(r"[0-9]{8}[A-Z][0-9]{3}", value):
        return False
    # The day is raised by 25 or 50 where numbers ran out.
    day = f"{(int(value[2:4]) - 1) % 25 + 1:02}" if int(value[2:4]) > 31 else value[2:4]
    spelled = f"{value[:8]}{ord(value[8]) - 64:02}{value[9:11]}"
    check = crosswise(spelled, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)) % 10
    return is_short_date(value[6:8], value[4:6], day) and check == int(value[11])


def de_health(value: str) -> bool:
    """Unchangeable part of the health insurance number (GKV-Spitzenverband, § 290 SGB V): a letter and nine digits."""
    if not re.fullmatch(r"[A-Z][0-9]{9}", value):
        return False
    return crosswise(f"{ord(value[0]) - 64:02}{value[1:9]}", (1, 2)) % 10 == int(value[9])


def es_social_security(value: str) -> bool:
    """Número de afiliación (Tesorería General de la Seguridad Social): province, serial, remainder of 97."""
    if not is_digits(value, 12) or not (1 <= int(value[:2]) <= 53 or value[:2] == "66"):
        return False
    serial = value[3:10] if value[2] == "0" else value[2:10]
    return int(value[:2] + serial) % 97 == int(value[10:])


def lu_person(value: str) -> bool:
    """Matricule (Règlement grand-ducal du 28 novembre 2013): date of birth, serial, a Luhn and a Verhoeff digit."""
    if not is_digits(value, 13) or not is_date(int(value[:4] or 0), int(value[4:6]), int(value[6:8])):
        return False
    return luhn(value[:12]) and bool(stdnum.verhoeff.is_valid(value[:11] + value[12]))


def hu_taj(value: str) -> bool:
    """Social security number TAJ (1996. évi XX. törvény, annex): weights 3 and 7."""
    return is_digits(value, 9) and weighted(value[:8], (3, 7)) % 10 == int(value[8])


def hu_tax(value: str) -> bool:
    """Tax identification of natural persons (1996. évi XX. törvény, annex): begins with 8, days since 1867."""
    return is_digits(value, 10) and value[0] == "8" and weighted(value[:9], range(1, 10)) % 11 == int(value[9])


def hu_person(value: str) -> bool:
    """Személyi szám (1996. évi XX. törvény, annex): sex and century, date of birth, serial, remainder of 11."""
    if not is_digits(value, 11) or value[0] not in "12345678":
        return False
    if not is_short_date(value[1:3], value[3:5], value[5:7]):
        return False
    rising, falling = weighted(value[:10], range(1, 11)) % 11, weighted(value[:10], range(10, 0, -1)) % 11
    return int(value[10]) in {rising, falling}


def pl_identity_card(value: str) -> bool:
    """Dowód osobisty (Rozporządzenie MSWiA, 29 January 2015): three letters, check digit, five digits."""
    return (
        re.fullmatch(r"[A-Z]{3}[0-9]{6}", value) is not None and weighted(value, (7, 3, 1, 9, 7, 3, 1, 7, 3)) % 10 == 0
    )


def pl_passport(value: str) -> bool:
    """Polish passport: two letters, check digit, six digits, with the weights of ICAO Doc 9303."""
    return (
        re.fullmatch(r"[A-Z]{2}[0-9]{7}", value) is not None and weighted(value, (7, 3, 9, 1, 7, 3, 1, 7, 3)) % 10 == 0
    )


def pl_account(value: str) -> bool:
    """NRB, the Polish account number: an IBAN (ISO 13616) without its country."""
    digits = value.removeprefix("PL")
    return is_digits(digits, 26) and bool(digits.strip("0")) and int(f"{digits[2:]}2521{digits[:2]}") % 97 == 1


def jmbg(value: str) -> bool:
    """Unique master citizen number of the countries that were Yugoslavia (1976): born since 1900, remainder of 11."""
    if not is_digits(value, 13) or not stdnum.si.emso.is_valid(value):
        return False
    return value[4] == "9" or value[4:6] in {"00", "01", "02"}


def md_person(value: str) -> bool:
    """IDNP of Moldova (Hotărîrea Guvernului 333/2002): begins with 0 or 2, the check digit of companies' numbers."""
    return value[:1] in {"0", "2"} and bool(stdnum.md.idno.is_valid(value))


def ru_snils(value: str) -> bool:
    """СНИЛС (Pension Fund of Russia, order 192p of 2006): remainder of 101."""
    if not is_digits(value, 11) or int(value[:9]) <= 1001998:
        return False
    return weighted(value[:9], range(9, 0, -1)) % 101 % 100 == int(value[9:])


def ua_record(value: str) -> bool:
    """УНЗР, the record in the Ukrainian demographic register (decree 302 of 2015): date of birth, ICAO check digit."""
    if not is_digits(value, 13) or value[:2] not in {"19", "20"}:
        return False
    if not is_date(int(value[:4]), int(value[4:6]), int(value[6:8])):
        return False
    return weighted(value[:12], (7, 3, 1)) % 10 == int(value[12])


def by_person(value: str) -> bool:
    """Identification number of Belarus (STB 34.101, passports): sex and century, date, region, serial, check digit."""
    if not re.fullmatch(r"[1-6][0-9]{6}[ABCEHKM][0-9]{3}(?:PB|BA|BI)[0-9]", value):
        return False
    return is_short_date(value[5:7], value[3:5], value[1:3]) and weighted(value[:13], (7, 3, 1)) % 10 == int(value[13])


def it_health_card(value: str) -> bool:
    """European health insurance card issued in Italy (EN 1867): 80380, the issuer and a Luhn digit."""
    return is_digits(value, 20) and value.startswith("80380") and luhn(value)


def ch_health_card(value: str) -> bool:
    """Swiss insured person's card (VVK-EDI, SR 832.105.1): 80756, the insurer, a serial and a Luhn digit."""
    return is_digits(value, 20) and value.startswith("80756") and luhn(value)


def gr_identity_card(value: str) -> bool:
    """Greek identity card: one or two letters that Greek and Latin share, six digits; there is no check digit."""
    return re.fullmatch(r"[ABEZHIKMNOPTYX]{1,2}[0-9]{6}", value) is not None


def icao(value: str) -> bool:
    """The last character is the check digit of those before it (ICAO Doc 9303, part 3, 4.9)."""
    return (
        value.isascii()
        and value[-1:].isdigit()
        and sum(map(numeral, value)) > 0
        and weighted(value[:-1], (7, 3, 1)) % 10 == int(value[-1])
    )


def pt_social_security(value: str) -> bool:
    """NISS (Instituto da Segurança Social): begins with 1 or 2, weights that are primes, remainder of 10."""
    if not is_digits(value, 11) or value[0] not in "12":
        return False
    return 9 - weighted(value[:10], (29, 23, 19, 17, 13, 11, 7, 5, 3, 2)) % 10 == int(value[10])


def ru_person_tax(value: str) -> bool:
    """ИНН of a natural person: twelve digits and two remainders of 11 (FNS order MMV-7-6/435)."""
    return is_digits(value, 12) and bool(stdnum.ru.inn.is_valid(value))


CHECKS: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        check.__name__.replace("_", "-"): check
        for check in (
            gb_nino,
            gb_chi,
            gb_driving_licence,
            de_document,
            de_pension,
            de_health,
            es_social_security,
            lu_person,
            hu_taj,
            hu_tax,
            hu_person,
            pl_identity_card,
            pl_passport,
            pl_account,
            jmbg,
            md_person,
            ru_snils,
            ru_person_tax,
            ua_record,
            by_person,
            it_health_card,
            ch_health_card,
            gr_identity_card,
            pt_social_security,
            icao,
        )
    }
)
"""What a pack may name as ``restante:NAME``."""
