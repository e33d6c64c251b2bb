"""What stands around a match and speaks against it, by name: the ``refuse`` and ``doubt`` of a detector.

Each function returns its reason, or an empty string.  None raises, and each looks at a bounded number of bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType

from restante.classify.detector import Doubt, Surroundings
from restante.classify.validators import validator_named


def _beside(reason: str, before: bytes, after: bytes, *, reach: int) -> Doubt:
    """``reason`` where ``before`` ends what stands before a match, or ``after`` begins what stands behind it.

    ``reach`` is how many bytes before the match are looked at.
    """
    left, right = re.compile(before), re.compile(after)

    def doubt(around: Surroundings) -> str:
        return reason if left.search(around.before[-reach:]) or right.match(around.after) else ""

    return doubt


# A fraction is no identifier.  A comma between long numbers separates cells of a table; only 0, counts.
_decimal = _beside("part of a decimal number", rb"[0-9][.]\Z|(?:\A|[^0-9.,])0,\Z", rb"[.][0-9]", reach=3)


_IBAN_HEAD = re.compile(rb"(?:\A|[^A-Za-z0-9])([A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]){0,26}[ -]?)\Z")


def _in_iban(around: Surroundings) -> str:
    """The digits of an account may be those of a card by chance: one in ten has its check digit."""
    head = _IBAN_HEAD.search(around.before[-48:])
    if head is None:
        return ""
    whole = head.group(1) + around.match + around.after[:40]
    return "inside an IBAN" if validator_named("restante:iban")(whole.decode("ascii", "replace")) else ""


_ENDS_URL = re.compile(rb"[\s\"'<>]")


def _in_url(around: Surroundings) -> str:
    """Tracking addresses are full of long numbers that pass a check digit by chance."""
    at = around.before.rfind(b"://")
    return "inside a web address" if at >= 0 and not _ENDS_URL.search(around.before, at) else ""


# Columns of four-digit numbers pass a check digit one time in ten.
_in_table = _beside(
    "among other groups of four digits", rb"(?:\A|[^0-9])[0-9]{4}[ \t]{1,20}\Z", rb"[ \t]+[0-9]{4}(?![0-9])", reach=26
)


_in_number = _beside("part of a longer number", rb"[0-9][-./:,_]\Z", rb"[-./:_][0-9]|,[0-9]", reach=2)


# Groups of digits that go on; a comma or a semicolon separates cells of a table.
_in_run = _beside("part of a longer run of digits", rb"[0-9][-./:_]\Z", rb"[-./:_][0-9]", reach=2)


_in_word = _beside("part of a longer code", rb"[A-Za-z0-9][-_./]\Z", rb"[-_./][A-Za-z0-9]", reach=2)


def _in_email(around: Surroundings) -> str:
    before = re.search(rb"@[A-Za-z0-9.-]*\Z|[<][^\s<>@]*\Z", around.before[-80:])
    after = re.match(rb"[A-Za-z0-9._%+-]*@[A-Za-z0-9]", around.after)
    return "inside an e-mail address" if after or (before and b"@" in before.group()) else ""


_in_path = _beside(
    "part of a file name",
    rb"[/\\][^\s/\\]{0,80}\Z",
    rb"[^\s/\\]{0,80}[/\\]|[^\s.]{0,40}\.(?:[A-Za-z]{2,5}|7z)\b",
    reach=84,
)


_in_uuid = _beside("part of a UUID", rb"[0-9A-Fa-f]{4}-\Z", rb"-[0-9A-Fa-f]{4}", reach=5)


def _in_markup(around: Surroundings) -> str:
    opened = around.before.rfind(b"<")
    inside = opened >= 0 and around.before.find(b">", opened) < 0 and re.match(rb"<[A-Za-z/!]", around.before[opened:])
    return "inside a tag of HTML" if inside else ""


_in_base64 = _beside(
    "inside encoded data", rb"[A-Za-z0-9+/=]{24,}[\r\n>]{0,4}\Z", rb"[\r\n>]{0,4}[A-Za-z0-9+/=]{24,}", reach=80
)


_amount = _beside(
    "an amount of money",
    rb"(?i)(?:[$]|\xc2\xa3|\xc2\xa5|\xe2\x82\xac|\b(?:eur|usd|gbp|chf|pln|sek|nok|dkk|czk|huf|ron|bgn))[ ]?\Z",
    rb"(?i)[ ]?(?:[$]|\xc2\xa3|\xc2\xa5|\xe2\x82\xac|%|(?:eur|usd|gbp|chf|pln|sek|nok|dkk|czk|huf|ron|bgn)\b)",
    reach=80,
)


def _telephone(around: Surroundings) -> str:
    before = re.search(
        rb"(?i)(?:\+[0-9 ()./-]{0,12}|\b(?:tel|telefon|telephone|phone|ph|mobile|mobil|cell|fax|handy|t\xc3\xa9l"
        rb"|t\xc3\xa9l\xc3\xa9phone|telefono|tel\xc3\xa9fono|telefone|telefoon|gsm|whatsapp)[ .:#/=-]{0,4})\Z",
        around.before[-80:],
    )
    return "a telephone number" if before else ""


def _reference(around: Surroundings) -> str:
    before = re.search(
        rb"(?i)\b(?:order|invoice|ticket|case|tracking|parcel|shipment|article|item|part|serial|sku|isbn|issn|doi|ref"
        rb"|reference|customer|bestellung|bestell|rechnung|auftrag|artikel|kunden|sendung|commande|facture|pedido"
        rb"|factura|ordine|fattura|faktura|bestelling|factuur|zam\xc3\xb3wienie)"
        rb"[ -]{0,2}(?:number|no|nr|num|id|nummer|num\xc3\xa9ro|n\xc2\xb0|#)?[ .:#=-]{0,4}\Z",
        around.before[-80:],
    )
    return "the number of an order or the like" if before else ""


def _version(around: Surroundings) -> str:
    before = re.search(rb"(?i)\b(?:v|ver|version|release|build|rev|rfc|kernel)[ .:-]{0,3}\Z", around.before[-16:])
    return "a version" if before else ""


_FAKE = re.compile(rb"example|sample|dummy|placeholder|changeme|your[-_ ]|xxxx|[*]{3}|[.]{3}|<|[$][{]|[{]{2}|%[(]")


def _placeholder(around: Surroundings) -> str:
    value = around.match.lower()
    fake = _FAKE.search(value)
    said = re.search(rb"(?i)\b(?:e[.]g[.]|example|sample|dummy|z[.]b[.]|beispiel)[ :,(]{0,4}\Z", around.before[-20:])
    return "a placeholder" if fake or said else ""


_DIGITS = re.compile(rb"[^0-9]")


def _sequence(around: Surroundings) -> str:
    """0123456789 and its like: typed by somebody who needed a number."""
    digits = _DIGITS.sub(b"", around.match)
    if len(digits) < 6:
        return ""
    steps = {(after - before) % 10 for before, after in pairwise(digits)}
    return "digits in a row" if len(steps) == 1 else ""


def _few_digits(around: Surroundings) -> str:
    digits = _DIGITS.sub(b"", around.match)
    return "hardly any different digits" if len(digits) >= 6 and len(set(digits)) < 3 else ""


def _date_like(around: Surroundings) -> str:
    """YYYYMMDD, alone or at the beginning of a time stamp."""
    digits = _DIGITS.sub(b"", around.match)
    if len(digits) not in {8, 10, 12, 14}:
        return ""
    year, month, day = int(digits[:4]), int(digits[4:6]), int(digits[6:8])
    return "a date" if 1900 <= year <= 2099 and 1 <= month <= 12 and 1 <= day <= 31 else ""


def _unix_time(around: Surroundings) -> str:
    """Seconds or milliseconds since 1970, from 2001 to 2033."""
    digits = around.match
    timely = digits.isdigit() and len(digits) in {10, 13} and digits[:1] == b"1"
    return "a time stamp" if timely else ""


_MEETING = re.compile(
    rb"(?i)\b(?:webex|zoom|gotomeeting|jitsi|bigbluebutton|dial-?in|meeting[ -](?:id|number|password|link|code|pin)"
    rb"|join (?:the |this |your )?(?:\w+ )?(?:meeting|conference|call)|conference (?:id|code|pin|call)"
    rb"|besprechungs-?id|meeting-(?:kennwort|passwort)"
    rb"|id de (?:la )?(?:r\xc3\xa9union|reuni\xc3\xb3n|reuni\xc3\xa3o)"
    rb"|id (?:della )?riunione|vergaderings-?id|identyfikator spotkania)\b[^\x1f]{0,200}\Z"
)


def _meeting(around: Surroundings) -> str:
    """What opens a conference call is meant for everybody who is invited."""
    return "of a conference call" if _MEETING.search(around.before[-220:]) else ""


DOUBTS: Mapping[str, Doubt] = MappingProxyType(
    {
        "amount": _amount,
        "date-like": _date_like,
        "decimal": _decimal,
        "few-digits": _few_digits,
        "in-base64": _in_base64,
        "in-email": _in_email,
        "in-iban": _in_iban,
        "in-markup": _in_markup,
        "in-number": _in_number,
        "in-path": _in_path,
        "in-run": _in_run,
        "in-table": _in_table,
        "in-url": _in_url,
        "in-uuid": _in_uuid,
        "in-word": _in_word,
        "meeting": _meeting,
        "placeholder": _placeholder,
        "reference": _reference,
        "sequence": _sequence,
        "telephone": _telephone,
        "unix-time": _unix_time,
        "version": _version,
    }
)
"""What ``refuse`` and ``doubt`` may name."""
