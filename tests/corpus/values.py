"""Made-up values of each kind that is measured, drawn by Faker or until the authority's check digits hold."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from datetime import date
from importlib import import_module
from random import Random

from faker import Faker

Draw = Callable[[Random], str]


def _by_faker(locale: str, method: str) -> Draw:
    faker = Faker(locale)

    def draw(random: Random) -> str:
        faker.seed_instance(random.getrandbits(32))
        value: str = getattr(faker, method)()
        return value

    return draw


def _until_valid(module: str, shape: str) -> Draw:
    """Digits for each 9 of ``shape`` and letters for each A, until python-stdnum's ``module`` takes them."""
    is_valid: Callable[[str], bool] = import_module(f"stdnum.{module}").is_valid

    def draw(random: Random) -> str:
        while True:
            value = "".join(
                random.choice(string.digits)
                if one == "9"
                else random.choice(string.ascii_uppercase)
                if one == "A"
                else one
                for one in shape
            )
            if is_valid(value):
                return value

    return draw


def _with_birthday(module: str, head: str, tail: str) -> Draw:
    """A number that begins with a birthday (``head``, of strftime), its ``tail`` drawn until it is valid."""
    is_valid: Callable[[str], bool] = import_module(f"stdnum.{module}").is_valid

    def draw(random: Random) -> str:
        while True:
            born = date(random.randint(1940, 1999), random.randint(1, 12), random.randint(1, 28))
            value = born.strftime(head) + re.sub("9", lambda _one: random.choice(string.digits), tail)
            if is_valid(value):
                return value

    return draw


def _grouped(draw: Draw, sizes: tuple[int, ...], separator: str = " ") -> Draw:
    """Every second value in groups, as people write it."""

    def grouped(random: Random) -> str:
        value = draw(random)
        if random.random() < 0.5 or len(value) != sum(sizes):
            return value
        ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
        return separator.join(value[end - size : end] for size, end in zip(sizes, ends, strict=True))

    return grouped


def _card(random: Random) -> str:
    """A number of Visa or Mastercard with its check digit (ISO/IEC 7812-1)."""
    return _grouped(_until_valid("luhn", random.choice(("4999999999999999", "5399999999999999"))), (4, 4, 4, 4))(random)


def _iban(locale: str) -> Draw:
    draw = _by_faker(locale, "iban")

    def iban(random: Random) -> str:
        value = draw(random)
        return " ".join(re.findall(".{1,4}", value)) if random.random() < 0.5 else value

    return iban


def _typed_password(random: Random) -> str:
    word = random.choice(("Sommer", "Winter", "Lisboa", "Hunter", "Fiets", "Zamek", "Girasole", "Avignon"))
    return f"{word}{random.randint(10, 2099)}{random.choice('!#?+')}"


def _drawn(prefix: str, size: int, alphabet: str = string.ascii_letters + string.digits) -> Draw:
    return lambda random: prefix + "".join(random.choices(alphabet, k=size))


def _birthday(random: Random) -> str:
    born = date(random.randint(1940, 2004), random.randint(1, 12), random.randint(1, 28))
    return born.strftime(random.choice(("%d.%m.%Y", "%d/%m/%Y", "%Y-%m-%d")))


VALUES: Mapping[str, Draw] = {
    "payment-card": _card,
    "date-of-birth": _birthday,
    "credential-password": _typed_password,
    "credential-aws-access-key": _drawn("AKIA", 16, string.ascii_uppercase + "234567"),
    "credential-github-token": _drawn("ghp_", 36),
    "iban-en": _iban("en_GB"),
    "iban-de": _iban("de_DE"),
    "iban-fr": _iban("fr_FR"),
    "iban-es": _iban("es_ES"),
    "iban-it": _iban("it_IT"),
    "iban-nl": _iban("nl_NL"),
    "iban-pl": _iban("pl_PL"),
    "iban-pt": _iban("pt_PT"),
    "id-us-ssn": _by_faker("en_US", "ssn"),
    "id-gb-nhs": _grouped(_until_valid("gb.nhs", "9999999999"), (3, 3, 4)),
    "id-de-steuerid": _grouped(_until_valid("de.idnr", "99999999999"), (2, 3, 3, 3)),
    "id-fr-nir": _grouped(_by_faker("fr_FR", "ssn"), (1, 2, 2, 2, 3, 3, 2)),
    "id-es-dni": _by_faker("es_ES", "nif"),
    "id-es-nie": _by_faker("es_ES", "nie"),
    "id-it-codicefiscale": _by_faker("it_IT", "ssn"),
    "id-nl-bsn": _by_faker("nl_NL", "ssn"),
    "id-pl-pesel": _by_faker("pl_PL", "pesel"),
    "tax-pl-nip": _by_faker("pl_PL", "nip"),
    "tax-pt-nif": _until_valid("pt.nif", "2" + "9" * 8),
    "id-br-cpf": _by_faker("pt_BR", "cpf"),
    "id-se-personnummer": _by_faker("sv_SE", "ssn"),
    "id-dk-cpr": _with_birthday("dk.cpr", "%d%m%y", "-9999"),
    "id-fi-hetu": _by_faker("fi_FI", "ssn"),
    "id-ch-ahv": _by_faker("de_CH", "ssn"),
    "id-be-nn": _by_faker("nl_BE", "ssn"),
    "id-cz-rc": _with_birthday("cz.rc", "%y%m%d", "/9999"),
    "id-ro-cnp": _by_faker("ro_RO", "ssn"),
    "id-ca-sin": _by_faker("en_CA", "ssn"),
}
"""How a value of each kind is drawn.  ``iban-LANGUAGE`` are IBANs of the language's country."""
