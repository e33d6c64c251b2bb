"""The detectors of identifiers, as data.  Adding one is adding an entry to :data:`DETECTORS`, and its examples to
the table of the tests.

Strong formats (a checksum of 1 in 97 or better, or a rigid shape) count as high by themselves.  Bare runs of
digits, of which one in ten passes a check digit by chance, need a context word.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import stdnum.at.vnr
import stdnum.be.nn
import stdnum.bg.egn
import stdnum.ch.ssn
import stdnum.cz.rc
import stdnum.de.idnr
import stdnum.dk.cpr
import stdnum.es.dni
import stdnum.es.nie
import stdnum.fi.hetu
import stdnum.fr.nir
import stdnum.gb.nhs
import stdnum.iban
import stdnum.ie.pps
import stdnum.it.codicefiscale
import stdnum.luhn
import stdnum.nl.bsn
import stdnum.no.fodselsnummer
import stdnum.pl.pesel
import stdnum.pt.cc
import stdnum.ro.cnp
import stdnum.se.personnummer
import stdnum.us.ssn

from restante.classify.detector import Detector, Form, Proof, Surroundings, digits_and_letters, whole
from restante.classify.finding import Confidence

HIGH, MEDIUM, LOW = Confidence.HIGH, Confidence.MEDIUM, Confidence.LOW

# A value is not part of a longer word or number; RE2 has no look-around, so the neighbours are consumed.
_BEFORE, _AFTER = "[^0-9A-Za-z]", "[^0-9A-Za-z]"


def _form(body: str, alone: Confidence = HIGH) -> Form:
    return Form(f"(?i){_BEFORE}({body}){_AFTER}", alone)


# -- payment cards ----------------------------------------------------------------------------------------------

# Issuer prefix (lowest, highest) and the lengths its cards have (ISO/IEC 7812-1, issuers' published ranges).
_ISSUERS: tuple[tuple[str, str, frozenset[int]], ...] = (
    ("4", "4", frozenset({13, 16, 19})),
    ("51", "55", frozenset({16})),
    ("2221", "2720", frozenset({16})),
    ("34", "34", frozenset({15})),
    ("37", "37", frozenset({15})),
    ("300", "305", frozenset({14, 16, 17, 18, 19})),
    ("3095", "3095", frozenset({14, 16, 17, 18, 19})),
    ("36", "36", frozenset({14, 15, 16, 17, 18, 19})),
    ("38", "39", frozenset({14, 16, 17, 18, 19})),
    ("6011", "6011", frozenset({16, 17, 18, 19})),
    ("644", "649", frozenset({16, 17, 18, 19})),
    ("65", "65", frozenset({16, 17, 18, 19})),
    ("62", "62", frozenset({16, 17, 18, 19})),
    ("81", "81", frozenset({16, 17, 18, 19})),
    ("3528", "3589", frozenset({16, 17, 18, 19})),
    ("50", "50", frozenset({16, 17, 18, 19})),
    ("56", "58", frozenset({16, 17, 18, 19})),
    ("6304", "6304", frozenset({16, 17, 18, 19})),
    ("6759", "6763", frozenset({16, 17, 18, 19})),
    ("2200", "2204", frozenset({16, 17, 18, 19})),
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


def _decimal(around: Surroundings) -> str:
    """A fraction is no identifier.  A comma between long numbers separates the cells of a table, so only 0, counts."""
    before = re.search(rb"[0-9][.]\Z|(?:\A|[^0-9.,])0,\Z", around.before)
    after = re.match(rb"[.][0-9]", around.after)
    return "part of a decimal number" if before or after else ""


def _in_address(around: Surroundings) -> str:
    """Tracking addresses are full of long numbers that pass a check digit by chance."""
    return "inside a web address" if re.search(rb"://[^\s\"'<>]*\Z", around.before) else ""


def _in_table(around: Surroundings) -> str:
    """Columns of four-digit numbers pass a check digit one time in ten."""
    before = re.search(rb"(?:\A|[^0-9])[0-9]{4}[ \t]+\Z", around.before)
    after = re.match(rb"[ \t]+[0-9]{4}(?![0-9])", around.after)
    return "among other groups of four digits" if before or after else ""


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


# -- national identifiers ---------------------------------------------------------------------------------------


def _not_trivial(check: Callable[[str], bool]) -> Callable[[str], bool]:
    """``check``, but one repeated digit is a placeholder, not a person."""

    def checked(value: str) -> bool:
        return check(value) and len(set(re.sub(r"[^0-9]", "", value))) > 1

    return checked


def _national(
    name: str, check: Callable[[str], bool], context: tuple[str, ...], *forms: tuple[str, Confidence]
) -> Detector:
    return Detector(
        name=f"id-{name}",
        forms=tuple(_form(body, alone) for body, alone in forms),
        validate=whole(_not_trivial(check)),
        context=context,
        refuse=(_decimal,),
        doubt=(_in_address,),
    )


def _personnummer(value: str) -> bool:
    separated = f"{value[:-4]}-{value[-4:]}"
    return bool(stdnum.se.personnummer.is_valid(separated))


def _hetu(candidate: str) -> Proof | None:
    # The century sign is part of the number, so it must not be dropped as a separator.
    return Proof(candidate.upper(), len(candidate)) if stdnum.fi.hetu.is_valid(candidate) else None


_S = "[ .-]"  # the separators that people put into identifiers

DETECTORS: tuple[Detector, ...] = (
    Detector(
        name="payment-card",
        forms=(
            _form("[2-8][0-9]{12,18}"),
            _form(
                "[2-8][0-9]{3}(?:[ \t\n]{1,2}|[ \t]?[-./][ \t]?)[0-9]{4}(?:[ \t\n]{1,2}|[ \t]?[-./][ \t]?)[0-9]{4,6}"
                "(?:(?:[ \t\n]{1,2}|[ \t]?[-./][ \t]?)[0-9]{1,4}){0,2}"
            ),
            _form("3[0-9]{3}[ \t\n./-][0-9]{6}[ \t\n./-][0-9]{4,5}"),
            _form("[2-8][0-9]{5}[ -][0-9]{10,13}|[2-8][0-9]{7}[ -][0-9]{8}", MEDIUM),
            _form("[2-8](?:[ _.-][0-9]){12,18}"),
        ),
        validate=_card,
        context=(
            "card",
            "cards",
            "credit card",
            "debit card",
            "creditcard",
            "visa",
            "mastercard",
            "amex",
            "american express",
            "maestro",
            "discover",
            "diners",
            "jcb",
            "cvv",
            "cvc",
            "pan",
            "card number",
            "kreditkarte",
            "karte",
            "carte",
            "carte bancaire",
            "tarjeta",
            "carta di credito",
            "karta",
            "kortnummer",
            "creditkaart",
        ),
        refuse=(_decimal,),
        doubt=(_in_address, _in_table),
    ),
    Detector(
        name="iban",
        forms=(_form("[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]){11,40}"),),
        validate=_iban,
        context=("iban", "account", "konto", "compte", "cuenta", "conto", "rekening", "bank", "bic", "swift"),
        doubt=(_in_address,),
    ),
    _national(
        "us-ssn",
        stdnum.us.ssn.is_valid,
        ("ssn", "ssns", "ssn#", "social security", "soc sec", "social security number", "social", "taxpayer", "tin"),
        ("[0-9]{3}-[0-9]{2}-[0-9]{4}", HIGH),
        ("[0-9]{3}[ .][0-9]{2}[ .][0-9]{4}", MEDIUM),
        ("[0-9]{9}", LOW),
    ),
    _national(
        "nl-bsn",
        stdnum.nl.bsn.is_valid,
        ("bsn", "burgerservicenummer", "sofinummer", "sofi", "sofi-nummer", "persoonsnummer", "citizen service number"),
        ("[0-9]{9}", LOW),
        ("[0-9]{4}[ .][0-9]{2}[ .][0-9]{3}|[0-9]{3}[ .-][0-9]{3}[ .-][0-9]{3}", LOW),
    ),
    _national(
        "de-steuerid",
        stdnum.de.idnr.is_valid,
        (
            "steuer-id",
            "steuerid",
            "steuer id",
            "idnr",
            "id-nr",
            "identifikationsnummer",
            "steueridentifikationsnummer",
            "steuer-identifikationsnummer",
            "steuerliche identifikationsnummer",
            "steuernummer",
            "tax id",
            "tin",
        ),
        ("[1-9][0-9]{10}", LOW),
        (f"[1-9][0-9]{_S}[0-9]{{3}}{_S}[0-9]{{3}}{_S}[0-9]{{3}}", MEDIUM),
    ),
    _national(
        "fr-nir",
        stdnum.fr.nir.is_valid,
        ("nir", "sécurité sociale", "securite sociale", "numéro de sécu", "insee", "carte vitale"),
        (r"[12378][0-9]{4}(?:[0-9]{2}|2[AB])[0-9]{8}", HIGH),
        (
            r"[12378][ .-]?[0-9]{2}[ .-]?[0-9]{2}[ .-]?(?:[0-9]{2}|2[AB])[ .-]?[0-9]{3}[ .-]?[0-9]{3}[ .-]?[0-9]{2}",
            HIGH,
        ),
    ),
    _national(
        "es-dni",
        stdnum.es.dni.is_valid,
        ("dni", "nif", "documento nacional", "documento de identidad", "d.n.i."),
        ("[0-9]{8}[ -]?[A-Z]", MEDIUM),
        ("[0-9]{2}[.][0-9]{3}[.][0-9]{3}[ -]?[A-Z]", HIGH),
    ),
    _national(
        "es-nie",
        stdnum.es.nie.is_valid,
        ("nie", "n.i.e.", "extranjero", "número de identidad"),
        ("[XYZ][ -]?[0-9]{7}[ -]?[A-Z]", MEDIUM),
    ),
    _national(
        "it-codicefiscale",
        stdnum.it.codicefiscale.is_valid,
        ("codice fiscale", "cod. fisc.", "c.f.", "cf"),
        ("[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]", HIGH),
        ("[A-Z]{3} [A-Z]{3} [0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2} [A-Z][0-9LMNP-V]{3}[A-Z]", HIGH),
    ),
    _national(
        "se-personnummer",
        _personnummer,
        ("personnummer", "personnr", "pnr", "samordningsnummer", "personal identity number"),
        ("(?:19|20)[0-9]{6}[-+][0-9]{4}", HIGH),
        ("[0-9]{6}[-+][0-9]{4}", MEDIUM),
        ("(?:19|20)[0-9]{2}[01][0-9][0-9]{6}", MEDIUM),
        ("[0-9]{2}[01][0-9][0-9]{6}", LOW),
    ),
    _national(
        "be-nn",
        stdnum.be.nn.is_valid,
        (
            "rijksregisternummer",
            "rijksregister",
            "insz",
            "niss",
            "registre national",
            "numéro national",
            "nn",
            "numéro de registre national",
            "national number",
        ),
        (r"[0-9]{2}[.][0-9]{2}[.][0-9]{2}[-. ][0-9]{3}[-. ][0-9]{2}", HIGH),
        ("[0-9]{2}[0-5][0-9][0-3][0-9]{6}|[0-9]{6}[ -][0-9]{3}[ -][0-9]{2}", MEDIUM),
    ),
    _national(
        "pl-pesel", stdnum.pl.pesel.is_valid, ("pesel", "nr pesel", "numer pesel"), ("[0-9]{4}[0-3][0-9]{6}", LOW)
    ),
    _national(
        "no-fodselsnummer",
        stdnum.no.fodselsnummer.is_valid,
        ("fødselsnummer", "fodselsnummer", "fnr", "personnummer", "fødselsnr", "d-nummer"),
        ("[0-7][0-9][0-9]{4} [0-9]{5}", MEDIUM),
        ("[0-7][0-9][014589][0-9]{8}", MEDIUM),
    ),
    _national(
        "dk-cpr",
        stdnum.dk.cpr.is_valid,
        ("cpr", "cpr-nr", "cpr-nummer", "cpr nummer", "personnummer"),
        ("[0-3][0-9][01][0-9]{3}-[0-9]{4}", MEDIUM),
        ("[0-3][0-9][01][0-9]{7}", LOW),
    ),
    Detector(
        name="id-fi-hetu",
        forms=(_form("[0-3][0-9][01][0-9]{3}[-+A-FU-Y][0-9]{3}[0-9A-Y]"),),
        validate=_hetu,
        context=("hetu", "henkilötunnus", "personbeteckning", "sotu"),
        doubt=(_in_address,),
    ),
    _national(
        "ch-ahv",
        stdnum.ch.ssn.is_valid,
        ("ahv", "avs", "ahv-nr", "sozialversicherungsnummer", "numéro avs"),
        (r"756[. -]?[0-9]{4}[. -]?[0-9]{4}[. -]?[0-9]{2}", HIGH),
    ),
    _national(
        "gb-nhs",
        stdnum.gb.nhs.is_valid,
        ("nhs", "nhs number", "nhs no", "patient", "nhs-number"),
        ("[0-9]{3}[ -][0-9]{3}[ -][0-9]{4}", MEDIUM),
        ("[0-9]{10}", LOW),
    ),
    _national(
        "at-svnr",
        stdnum.at.vnr.is_valid,
        ("svnr", "sv-nummer", "sozialversicherungsnummer", "versicherungsnummer", "sv-nr"),
        ("[1-9][0-9]{3}[ -]?[0-3][0-9][01][0-9]{3}", LOW),
    ),
    _national(
        "ie-pps",
        stdnum.ie.pps.is_valid,
        ("pps", "ppsn", "pps number", "pps no", "personal public service"),
        ("[0-9]{7}[A-W][A-IW]?", MEDIUM),
    ),
    _national(
        "cz-rc",
        stdnum.cz.rc.is_valid,
        ("rodné číslo", "rodne cislo", "rč", "r.č.", "rodné č."),
        ("[0-9]{6}/[0-9]{4}", HIGH),
        ("[0-9]{2}[0-8][0-9][0-3][0-9]{5}", LOW),
    ),
    _national("ro-cnp", stdnum.ro.cnp.is_valid, ("cnp", "cod numeric personal"), ("[1-9][0-9]{12}", MEDIUM)),
    _national("bg-egn", stdnum.bg.egn.is_valid, ("егн", "egn"), ("[0-9]{2}[0-5][0-9][0-3][0-9]{5}", LOW)),
    _national(
        "pt-cc",
        stdnum.pt.cc.is_valid,
        ("cartão de cidadão", "cartao de cidadao", "cc", "bilhete de identidade"),
        ("[0-9]{8}[ -]?[0-9][ -]?[A-Z]{2}[0-9]", MEDIUM),
    ),
)
