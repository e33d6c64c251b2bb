"""Checks of identifiers from outside Europe that python-stdnum lacks.

Each takes digits and capital letters without separators and answers whether they are well formed and their check
characters hold; none raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from restante.classify.checks import is_date, is_digits, is_short_date, luhn, numeral, weighted


def us_npi(value: str) -> bool:
    """National Provider Identifier (45 CFR 162.406): Luhn over the number with the prefix 80840."""
    return is_digits(value, 10) and value[0] in "12" and luhn(f"80840{value}")


def us_dea(value: str) -> bool:
    """DEA registration number (21 CFR 1301): two letters, six digits, check digit."""
    if not re.fullmatch(r"[ABCDEFGHJKLMNPRSTUX][A-Z9][0-9]{7}", value):
        return False
    odd, even = value[2:8:2], value[3:8:2]
    return value[2:] != "0000000" and (weighted(odd, (1,)) + weighted(even, (2,))) % 10 == int(value[8])


def us_routing(value: str) -> bool:
    """ABA routing number (ABA Key to Routing Numbers): districts in use, weights 3, 7, 1."""
    if not is_digits(value, 9) or weighted(value, (3, 7, 1)) % 10:
        return False
    district = int(value[:2])
    return 1 <= district <= 12 or 21 <= district <= 32 or 61 <= district <= 72 or district == 80


def ca_ontario_health(value: str) -> bool:
    """Ontario health number (Ministry of Health, Technical Specification): ten digits, Luhn, perhaps a version."""
    return (
        luhn(value[:10]) and len(value) in {10, 12} and value[0] != "0" and (len(value) == 10 or value[10:].isalpha())
    )


def ca_quebec_health(value: str) -> bool:
    """Numéro d'assurance maladie (RAMQ): letters of the name, date of birth, 50 added to the month for women."""
    if not re.fullmatch(r"[A-Z]{4}[0-9]{6}[0-9A-Z][0-9]", value):
        return False
    month = int(value[6:8])
    return is_short_date(value[4:6], f"{month - 50 if month > 50 else month:02}", value[8:10])


def br_cns(value: str) -> bool:
    """Cartão Nacional de Saúde (DATASUS): fifteen digits, the weighted sum is divisible by 11."""
    return is_digits(value, 15) and value[0] in "12789" and weighted(value, range(15, 0, -1)) % 11 == 0


def br_pis(value: str) -> bool:
    """PIS/PASEP/NIT (Caixa Econômica Federal): weights 3, 2, 9 to 2, remainder of 11."""
    if not is_digits(value, 11) or not value.strip("0"):
        return False
    check = 11 - weighted(value[:10], (3, 2, 9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return check % 11 % 10 == int(value[10])


def br_voter(value: str) -> bool:
    """Título de eleitor (TSE, Resolução 21.538/2003, art. 12): serial, state, two digits of remainders of 11."""
    if not is_digits(value, 12) or not 1 <= int(value[8:10]) <= 28:
        return False
    first = weighted(value[:8], range(2, 10)) % 11 % 10
    second = weighted(value[8:10] + str(first), (7, 8, 9)) % 11 % 10
    return value[10:] == f"{first}{second}"


def br_driving_licence(value: str) -> bool:
    """CNH (DENATRAN): nine digits and two check digits, the second lowered by 2 when the first overflowed."""
    if not is_digits(value, 11) or not value.strip("0"):
        return False
    first = weighted(value[:9], range(9, 0, -1)) % 11
    second = weighted(value[:9], range(1, 10)) % 11
    lowered = 2 if first >= 10 else 0
    second = 0 if second >= 10 else second - lowered
    return value[9:] == f"{first if first < 10 else 0}{second % 11 % 10}"


def mx_clabe(value: str) -> bool:
    """CLABE (Asociación de Bancos de México): eighteen digits, weights 3, 7, 1 of which only the last digit counts."""
    if not is_digits(value, 18) or not value.strip("0") or value[:3] == "000":
        return False
    total = sum(int(digit) * (3, 7, 1)[index % 3] % 10 for index, digit in enumerate(value[:17]))
    return -total % 10 == int(value[17])


def uy_person(value: str) -> bool:
    """Cédula de identidad (Dirección Nacional de Identificación Civil, Uruguay): weights 2, 9, 8, 7, 6, 3, 4."""
    if not is_digits(value, 8) or value[:7] == "0000000":
        return False
    return -weighted(value[:7], (2, 9, 8, 7, 6, 3, 4)) % 10 == int(value[7])


def sv_person(value: str) -> bool:
    """DUI (Registro Nacional de las Personas Naturales, El Salvador): weights 9 to 2."""
    return (
        is_digits(value, 9) and bool(value.strip("0")) and -weighted(value[:8], range(9, 1, -1)) % 10 == int(value[8])
    )


def gt_person(value: str) -> bool:
    """CUI of Guatemala (RENAP, acuerdo 106-2013): serial, remainder of 11, department and municipality of birth."""
    if not is_digits(value, 13) or not 1 <= int(value[9:11]) <= 22 or not 1 <= int(value[11:]) <= 38:
        return False
    return weighted(value[:8], range(2, 10)) % 11 == int(value[8])


def ni_person(value: str) -> bool:
    """Cédula of Nicaragua (Consejo Supremo Electoral): municipality, date of birth, serial, letter of 23."""
    if not re.fullmatch(r"[0-9]{13}[A-Z]", value) or not is_short_date(value[7:9], value[5:7], value[3:5]):
        return False
    return "ABCDEFGHJKLMNPQRSTUVWXY"[int(value[:13]) % 23] == value[13]


def hn_person(value: str) -> bool:
    """DNI of Honduras (Registro Nacional de las Personas): department, municipality, year of registration, serial."""
    return is_digits(value, 13) and 1 <= int(value[:2]) <= 18 and value[2:4] != "00" and value[4:6] in {"19", "20"}


def au_medicare(value: str) -> bool:
    """Medicare card number (Services Australia): weights 1, 3, 7, 9; issue number; perhaps the person's."""
    if not (is_digits(value, 10) or is_digits(value, 11)) or value[0] not in "23456" or value[9] == "0":
        return False
    return weighted(value[:8], (1, 3, 7, 9)) % 10 == int(value[8])


_NHI = "ABCDEFGHJKLMNPQRSTUVWXYZ"


def nz_nhi(value: str) -> bool:
    """National Health Index number (HISO 10046): of 1993 with a digit of 11, of 2019 with a letter of 23.

    Drafts of the newer form said 24, and numbers for tests follow them, so that counts as well.
    """
    if re.fullmatch(r"[A-HJ-NP-Z]{3}[0-9]{4}", value):
        rest = _nhi_sum(value) % 11
        return rest != 0 and (11 - rest) % 10 == int(value[6])
    if re.fullmatch(r"[A-HJ-NP-Z]{3}[0-9]{2}[A-HJ-NP-Z]{2}", value):
        total = _nhi_sum(value)
        return _NHI.index(value[6]) + 1 in {23 - total % 23, 24 - total % 24}
    return False


def _nhi_sum(value: str) -> int:
    worth = (int(character) if character.isdigit() else _NHI.index(character) + 1 for character in value[:6])
    return sum(one * weight for one, weight in zip(worth, range(7, 1, -1), strict=True))


def hk_person(value: str) -> bool:
    """HKID (Immigration Department of Hong Kong): one or two letters, six digits, remainder of 11 where A is 10."""
    match = re.fullmatch(r"([A-Z]{1,2})([0-9]{6})\(?([0-9A])\)?", value)
    if match is None:
        return False
    # A missing first letter counts as the space, 36.
    first = 36 * 9 + numeral(match[1]) * 8 if len(match[1]) == 1 else weighted(match[1], (9, 8))
    return (first + weighted(match[2], range(7, 1, -1)) + numeral(match[3])) % 11 == 0


def sg_person(value: str) -> bool:
    """NRIC and FIN (Immigration & Checkpoints Authority of Singapore): letter of century and kind, letter of 11."""
    if not re.fullmatch(r"[STFGM][0-9]{7}[A-Z]", value):
        return False
    rest = (weighted(value[1:8], (2, 7, 6, 5, 4, 3, 2)) + {"T": 4, "G": 4, "M": 3}.get(value[0], 0)) % 11
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "M": "XWUTRQPNJLK"}.get(value[0], "XWUTRQPNMLK")
    return letters[rest] == value[8]


_TAIWAN = {letter: code for code, letter in enumerate("ABCDEFGHJKLMNPQRSTUVXYWZIO", start=10)}


def tw_person(value: str) -> bool:
    """National and resident numbers of Taiwan (Ministry of the Interior): a letter, sex, serial, weights 9 to 1."""
    if not re.fullmatch(r"[A-Z][1289][0-9]{8}", value):
        return False
    code = _TAIWAN[value[0]]
    return (code // 10 + code % 10 * 9 + weighted(value[1:9], range(8, 0, -1)) + int(value[9])) % 10 == 0


def kz_person(value: str) -> bool:
    """ИИН of Kazakhstan (law 223-III of 2007): date of birth, century and sex, remainder of 11 in two rounds."""
    if not is_digits(value, 12) or not is_short_date(value[:2], value[2:4], value[4:6]) or value[6] not in "123456":
        return False
    check = weighted(value[:11], range(1, 12)) % 11
    if check == 10:
        check = weighted(value[:11], (3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2)) % 11
    return check == int(value[11])


def ir_person(value: str) -> bool:
    """National code of Iran (National Organization for Civil Registration): weights 10 to 2, remainder of 11."""
    if not is_digits(value, 10) or value[3:9] == "000000":
        return False
    rest = weighted(value[:9], range(10, 1, -1)) % 11
    return int(value[9]) == (rest if rest < 2 else 11 - rest)


def lk_person(value: str) -> bool:
    """NIC of Sri Lanka (Department for Registration of Persons): year and day of birth, 500 added for women."""
    if re.fullmatch(r"[0-9]{9}[VX]", value):
        day = int(value[2:5])
    elif is_digits(value, 12) and value[:2] in {"19", "20"}:
        day = int(value[4:7])
    else:
        return False
    return 1 <= (day - 500 if day > 500 else day) <= 366


def uz_person(value: str) -> bool:
    """ПИНФЛ of Uzbekistan (decree 1095 of 1994): century and sex, date of birth, ICAO check digit."""
    if not is_digits(value, 14) or value[0] not in "123456":
        return False
    dated = is_short_date(value[5:7], value[3:5], value[1:3])
    return dated and weighted(value[:13], (7, 3, 1)) % 10 == int(value[13])


def vn_person(value: str) -> bool:
    """CCCD of Vietnam (Nghị định 137/2015/NĐ-CP, art. 13): province, century and sex, year of birth, serial."""
    return is_digits(value, 12) and 1 <= int(value[:3]) <= 96 and value[3] in "0123"


def ae_person(value: str) -> bool:
    """Emirates ID (Federal Authority for Identity): 784, year of birth, serial, Luhn digit."""
    return is_digits(value, 15) and value[:3] == "784" and value[3:5] in {"19", "20"} and luhn(value)


def sa_person(value: str) -> bool:
    """National and resident identity of Saudi Arabia (Absher): begins with 1 or 2, Luhn digit."""
    return is_digits(value, 10) and value[0] in "12" and luhn(value)


def eg_person(value: str) -> bool:
    """National number of Egypt (law 143 of 1994): century, date of birth, governorate, serial; no published check."""
    if not is_digits(value, 14) or value[0] not in "23" or not (1 <= int(value[7:9]) <= 35 or value[7:9] == "88"):
        return False
    return is_date((1700 if value[0] == "2" else 1800) + 200 + int(value[1:3]), int(value[3:5]), int(value[5:7]))


def kw_person(value: str) -> bool:
    """Civil number of Kuwait (Public Authority for Civil Information): century, date of birth, remainder of 11."""
    if not is_digits(value, 12) or value[0] not in "123" or not is_short_date(value[1:3], value[3:5], value[5:7]):
        return False
    return 11 - weighted(value[:11], (2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)) % 11 == int(value[11])


def tz_person(value: str) -> bool:
    """NIDA number of Tanzania: date of birth, ward, serial; no published check digit."""
    if not is_digits(value, 20) or value[:2] not in {"19", "20"}:
        return False
    return is_date(int(value[:4]), int(value[4:6]), int(value[6:8]))


def in_ifsc(value: str) -> bool:
    """IFSC (Reserve Bank of India): bank of four letters, 0, branch."""
    return re.fullmatch(r"[A-Z]{4}0[A-Z0-9]{6}", value) is not None


CHECKS: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        check.__name__.replace("_", "-"): check
        for check in (
            us_npi,
            us_dea,
            us_routing,
            ca_ontario_health,
            ca_quebec_health,
            br_cns,
            br_pis,
            br_voter,
            br_driving_licence,
            mx_clabe,
            uy_person,
            sv_person,
            gt_person,
            ni_person,
            hn_person,
            au_medicare,
            nz_nhi,
            hk_person,
            sg_person,
            tw_person,
            kz_person,
            ir_person,
            lk_person,
            uz_person,
            vn_person,
            ae_person,
            sa_person,
            eg_person,
            kw_person,
            tz_person,
            in_ifsc,
        )
    }
)
"""What a pack may name as ``restante:NAME``."""
