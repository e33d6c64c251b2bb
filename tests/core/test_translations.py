"""Every language that is offered is complete, and what programs read is what translators wrote."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from gettext import c2py
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from restante import languages
from restante.languages import LANGUAGES, TRANSLATIONS, Words

ROOT = Path(__file__).parents[2]
TRANSLATED = [code for code in LANGUAGES if code != "en"]
CODE = re.compile(r"<style>.*?</style>|\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", re.DOTALL)
PLACES = re.compile(r"%\(\w+\)[a-z]|</?\w+>")


def _read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, abort_invalid=True)


def _messages(catalog: Catalog) -> dict[object, Message]:
    return {message.id: message for message in catalog if message.id}


TEMPLATE = _messages(_read(TRANSLATIONS / "messages.pot"))


def _catalogue(code: str) -> Catalog:
    return _read(TRANSLATIONS / code / "LC_MESSAGES/messages.po")


def _forms(message: Message) -> list[str]:
    return [message.string or ""] if message.string is None or isinstance(message.string, str) else list(message.string)


def _originals(message: Message) -> list[str]:
    return [message.id] if isinstance(message.id, str) else list(message.id)


def _is_of_one_number(catalogue: Catalog, index: int) -> bool:
    # Such a form, a dual for instance, may say its number in words.
    chosen = c2py(catalogue.plural_expr)
    return sum(chosen(number) == index for number in range(1000)) == 1


def test_the_template_is_what_the_sources_hold(tmp_path: Path) -> None:
    made = tmp_path / "messages.pot"
    command = [sys.executable, "-m", "babel.messages.frontend", "-q", "extract", "-F", "pyproject.toml", "-k", "marked"]
    subprocess.run([*command, "-o", made, "."], cwd=ROOT, timeout=60, check=True)
    fresh = _messages(_read(made))
    assert fresh.keys() == TEMPLATE.keys(), "run make translations"
    assert len(fresh) > 100


def test_pages_hold_no_text_of_their_own() -> None:
    # Words between tags, outside of what the template language prints.
    wrong = {}
    for path in sorted((ROOT / "portal/restante_portal/templates").glob("*.html")):
        text = CODE.sub("", path.read_text("utf-8"))
        if found := re.findall(r">[^<>]*[A-Za-z]{2,}[^<>]*<", text):
            wrong[path.name] = found
    assert wrong == {}


@pytest.mark.parametrize("code", TRANSLATED)
def test_a_language_is_complete(code: str) -> None:
    catalogue = _catalogue(code)
    messages = _messages(catalogue)
    assert messages.keys() == TEMPLATE.keys()
    assert not catalogue.obsolete
    assert str(catalogue.locale) == code
    for message in messages.values():
        assert not message.fuzzy, message.id
        assert all(form.strip() for form in _forms(message)), message.id
        wanted = sorted(PLACES.findall(_originals(message)[-1]))
        for index, form in enumerate(_forms(message)):
            in_words = ["%(num)s"] if "%(num)s" in wanted and _is_of_one_number(catalogue, index) else []
            found = PLACES.findall(form)
            assert sorted(found) == wanted or sorted(found + in_words) == wanted, message.id
        if isinstance(message.id, tuple):
            assert len(_forms(message)) == catalogue.num_plurals, message.id


@pytest.mark.parametrize("code", TRANSLATED)
def test_what_programs_read_is_what_was_translated(code: str) -> None:
    made = io.BytesIO()
    write_mo(made, _catalogue(code))
    compiled = TRANSLATIONS / code / "LC_MESSAGES/messages.mo"
    assert compiled.read_bytes() == made.getvalue(), "run make translations"


def test_only_what_is_offered_has_a_folder() -> None:
    # A language in the making may have one, too; it must not be offered before it is complete.
    assert set(TRANSLATED) <= {path.parent.parent.name for path in TRANSLATIONS.glob("*/LC_MESSAGES/messages.mo")}
    assert len(set(LANGUAGES)) == len(LANGUAGES)


MINUTES = "Please try again in %(num)s minute."
PLURALS = {
    "de": {1: "in 1 Minute noch", 2: "in 2 Minuten noch"},
    "fr": {0: "0 minute", 1: "1 minute", 2: "2 minutes"},
    "pl": {1: "za 1 minutę", 2: "za 2 minuty", 5: "za 5 minut", 12: "za 12 minut", 22: "za 22 minuty"},
    "cs": {1: "za 1 minutu", 3: "za 3 minuty", 5: "za 5 minut"},
    "ar": {1: "دقيقة", 2: "دقيقتين", 5: "5 دقائق", 15: "15 دقيقة", 100: "100 دقيقة"},
    "he": {1: "דקה אחת", 2: "2 דקות"},
    "lt": {1: "1 minutės", 2: "2 minučių", 11: "11 minučių", 21: "21 minutės"},
    "lv": {1: "1 minūtes", 11: "11 minūtēm", 21: "21 minūtes"},
    "mt": {1: "1 minuta", 2: "2 minuti", 15: "15-il minuta", 20: "20 minuta"},
    "ro": {1: "1 minut", 2: "2 minute", 20: "20 de minute", 101: "101 minute"},
    "sl": {1: "1 minuto", 2: "2 minuti", 3: "3 minute", 5: "5 minut"},
    "uk": {1: "1 хвилину", 2: "2 хвилини", 5: "5 хвилин", 11: "11 хвилин", 21: "21 хвилину"},
}


@pytest.mark.parametrize("code", sorted(PLURALS.keys() & set(TRANSLATED)))
def test_numbers_take_the_form_that_the_language_asks_for(code: str) -> None:
    read = languages._catalogue(code)
    for number, expected in PLURALS[code].items():
        text = read.ngettext(MINUTES, MINUTES.replace("minute.", "minutes."), number) % {"num": number}
        assert expected in text


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["de-AT", "en"], "de"),
        (["xx", "de"], "de"),
        (["EN-us"], "en"),
        (["xx", "tlh-Latn"], None),
        ([], None),
        (["", "-", "de_CH"], "de"),
        (["zh-TW", "de"], "de"),
        (["zh-Hant-HK"], None),
    ],
)
def test_a_browsers_wishes_are_met_in_their_order(wanted: list[str], expected: str | None) -> None:
    assert languages.negotiate(wanted) == expected


@pytest.mark.parametrize(
    ("tag", "code"),
    [("no", "nb"), ("nn-NO", "nb"), ("iw", "he"), ("zh-CN", "zh"), ("zh-Hans-HK", "zh"), ("pt-BR", "pt")],
)
def test_tags_have_other_names(tag: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(languages, "LANGUAGES", ("en", "nb", "he", "zh", "pt"))
    assert languages.negotiate([tag]) == code


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("patients.de", "de"),
        ("example.at", "de"),
        ("GMX.DE", "de"),
        ("example.be", "en"),  # three languages, and no telling which
        ("example.co", "en"),
        ("de.example.com", "en"),
        ("", "en"),
    ],
)
def test_a_domains_country_tells_its_language(domain: str, expected: str) -> None:
    assert languages.of_domain(domain, "en") == expected


def test_a_country_whose_language_is_not_offered_gets_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(languages, "LANGUAGES", ("en", "de"))
    assert languages.of_domain("example.jp", "de") == "de"


@pytest.mark.parametrize(
    ("code", "name", "tag", "direction"),
    [
        ("de", "Deutsch", "de", "ltr"),
        ("ar", "العربية", "ar", "rtl"),
        ("he", "עברית", "he", "rtl"),
        ("zh", "中文", "zh-Hans", "ltr"),
    ],
)
def test_a_language_is_named_in_itself(code: str, name: str, tag: str, direction: str) -> None:
    found = languages.language(code)
    assert (found.name, found.tag, found.direction) == (name, tag, direction)


@pytest.mark.parametrize("code", LANGUAGES)
def test_times_name_their_zone_and_sizes_their_unit(code: str) -> None:
    written = Words(code).moment(1_700_000_000)
    assert written.endswith(" UTC")
    assert "2023" in written
    assert "14" in written
    assert re.search(r"1[.,]2", languages.size(1_200_000, code))


def test_addresses_keep_their_order_in_sentences_that_run_from_right_to_left() -> None:
    assert Words("ar").isolated("ann@site.example") == "\u2068ann@site.example\u2069"
    assert Words("de").isolated("ann@site.example") == "ann@site.example"
