"""What proves a password, a token or another secret: is the value random enough, or typed by a person, and real.

Each function takes the whole candidate, with the words that announce the value, and gives the value alone as the
proof, so that "Password: x" in two languages is one value.  None raises, whatever the candidate is.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType

from restante.classify.detector import Proof, Validator

_ANNOUNCED = re.compile(r"[\s\"'=:]")
_PLACEHOLDER = re.compile(
    r"(?i)example|sample|dummy|placeholder|change[-_]?me|your|xxxx|redacted|\*{3}|\.{3}|(.)\1{4}"
    r"|1234567|abcdefg|\$\{|\{\{|process\.env|environ|getenv"
)
# English words joined by hyphens have as many but no digits; hexadecimal has 3.6 and more.
MIN_BITS_PER_CHARACTER = 3.0


def _entropy(value: str) -> float:
    """Shannon's entropy of the characters of ``value``, in bits for each."""
    size = len(value)
    return -sum(count / size * math.log2(count / size) for count in Counter(value).values()) if size else 0.0


def _secret(candidate: str) -> Proof | None:
    """A value that a program drew: what stands last in the candidate, after a colon, an equals sign or a quote."""
    value = _ANNOUNCED.split(candidate.rstrip("=\"'"))[-1]
    if _PLACEHOLDER.search(value) or _entropy(value) < MIN_BITS_PER_CHARACTER:
        return None
    turns = len(re.findall(r"[a-z][A-Z]|[A-Z][a-z]", value))
    drawn = any(map(str.isdigit, value)) or turns >= 8 or (value.isalpha() and value.isupper())
    if not drawn:
        return None
    return Proof(value, len(candidate))


_COPULA = re.compile(r"(?:is|was|ist|lautet|est|es|è|jest|to|é|är|er|on|je|este)\s+\Z", re.IGNORECASE)
_KEY = re.compile(r"\A[^\W\d][\w .-]{0,30}[\"']?[:=]")
_NOT_TYPED = re.compile(
    r"(?i)://|www\.|@[\w-]+\.[a-z]|\A[\[({<$%&\\/#-]|[(][^)]*[)]?\Z|[})\]]\Z|->|::|_|&[a-z]+;"
    r"|\A[\w-]+(?:\.[a-z][\w-]*)+\Z"  # a name of a host, a file or an attribute
    r"|\A[0-9]+[-.:/][0-9.:/-]+\Z"  # a date, a time, a version, a telephone number
    r"|\A[0-9]+[-.]?[^\W\d]+\Z"  # "8-character", "10stellig"
    r"|password|passwort|kennwort|passwd|\A(?:md5|sha-?[0-9]+|base64|utf-?8|oauth2?|ipv[46]|pkcs[0-9]+|ssl[23]|tls1)\Z"
    r"|\A(?:null|none|true|false|undefined|required|string|secret|hidden)\Z"
)
_SPECIAL = frozenset("!@#$%^&*+~?=-,;")


def _password(candidate: str) -> Proof | None:
    """A password as people write it into mail: letters with digits or signs; a lone word is a word.

    Without a colon or the like between the announcement and the value, it has to look the more like a password.
    """
    cell = _cell(candidate)
    before, last, told = ("", cell, True) if cell is not None else _announced(candidate)
    value = last.strip("\"'*").rstrip(".,;:)")
    if len(value) < 5 or _PLACEHOLDER.search(value) or _NOT_TYPED.search(value):
        return None
    linked = told or bool(_COPULA.search(before))
    return Proof(value, len(candidate)) if _looks_typed(value, told=told, linked=linked) else None


def _announced(candidate: str) -> tuple[str, str, bool]:
    """What stands before the value, the value, and whether a colon or an equals sign is between them."""
    last = (candidate.rsplit(maxsplit=1) or [""])[-1]
    before = candidate[: len(candidate) - len(last)]
    if re.search(r"[:=][\s\"'*_]*\Z", before):
        return before, last, True
    part = last.rpartition(";")[2] or last.rstrip(";").rpartition(";")[2]
    key = _KEY.match(part)
    return before, part[key.end() :] if key else last, bool(key)


def _cell(candidate: str) -> str | None:
    """Of two lines of a table, of which the first begins with the head of a column, that column's cell in the second.

    ``None`` where there are no such lines.  Cells are split by bars, semicolons or tabs, or by commas without a space.
    """
    head, newline, rest = candidate.partition("\n")
    row = rest.rpartition("\n")[2]
    separator = next((one for one in ("|", "\t", ";", ",") if one in row), "")
    if not newline or not separator or (separator == "," and ", " in candidate):
        return None
    cells = row.strip().strip("|").split(separator)
    behind = head.strip().strip("|").count(separator)
    cell = cells[-1 - behind].strip(" \t\"'") if behind < len(cells) else ""
    return None if not cell or " " in cell else cell


def _looks_typed(value: str, *, told: bool, linked: bool) -> bool:
    letters, digits = any(map(str.isalpha, value)), any(map(str.isdigit, value))
    if value.isdigit():
        return told and 5 <= len(value) <= 24 and len(set(value)) > 1
    inner_sign = any(character in _SPECIAL for character in value[1:-1])
    mixed_case = any(map(str.islower, value)) and any(map(str.isupper, value))
    if linked:
        return letters and (digits or (inner_sign and mixed_case and not _hyphenated(value)))
    return letters and digits and (mixed_case or inner_sign) and not _hyphenated(value)


def _hyphenated(value: str) -> bool:
    """Words joined by hyphens, slashes or commas, at most with a number behind."""
    return bool(re.fullmatch(r"[^\W\d]+(?:[-,;][^\W\d]+)*(?:-[0-9]+)?[!?]?", value))


def _pin(candidate: str) -> Proof | None:
    """Four to eight digits that are neither in a row nor all the same."""
    found = re.search(r"[0-9]{4,8}\Z", candidate)
    if found is None:
        return None
    value = found.group()
    steps = {ord(after) - ord(before) for before, after in pairwise(value)}
    return Proof(value, len(candidate)) if len(steps) > 1 else None


_USERINFO = re.compile(r"\A([a-z][a-z0-9+]*)://([^:@]+):([^@]+)@(.+)\Z", re.IGNORECASE)
_NO_PASSWORD = re.compile(
    r"(?i)\A(?:pass(?:word|wd|wort)?|pwd|pw|secret|guest|anonymous|token|user|kennwort|[0-9]{1,5})\Z|[${}<>%\[]"
)


def _url_password(candidate: str) -> Proof | None:
    """``scheme://name:password@host`` (RFC 3986, section 3.2.1) with a password that is none of the usual samples."""
    parts = _USERINFO.match(candidate)
    if parts is None:
        return None
    name, password = parts.group(2), parts.group(3)
    sample = _NO_PASSWORD.search(password) or _PLACEHOLDER.search(password)
    anonymous = name.lower() in {"anonymous", "guest", "user", "username", "name"}
    return None if sample or anonymous else Proof(f"{name}:{password}", len(candidate))


def _bitlocker(candidate: str) -> Proof | None:
    """Eight groups of six digits, each a multiple of 11 below 720,896 (the format of BitLocker's recovery password)."""
    groups = re.findall(r"[0-9]{6}", candidate)
    real = len(groups) == 8 and len(set(groups)) > 2
    if not real or any(int(group) % 11 or int(group) >= 720_896 for group in groups):
        return None
    return Proof("".join(groups), len(candidate))


CREDENTIALS: Mapping[str, Validator] = MappingProxyType(
    {
        "bitlocker": _bitlocker,
        "password": _password,
        "pin": _pin,
        "secret": _secret,
        "url-password": _url_password,
    }
)
"""The validators of secrets, by the names that ``restante:NAME`` gives them."""
