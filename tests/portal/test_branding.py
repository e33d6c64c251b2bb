"""Branding: what an organisation may change of the pages' look, and what is refused before anybody sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from restante.brand import DARK, LEAST_CONTRAST, LIGHT, LOGO_BYTES, BrandSettings, contrast
from restante.init import Answers, initialise
from restante.marks import NoticeMark
from restante.notices import NoticeWriter, Way
from restante.settings import load_settings
from restante.toml_source import BadFile
from restante_portal import branding, guard
from restante_portal.application import create_app
from restante_portal.context import portal_of
from tests.portal.conftest import Browser, Post

CSS = Path(branding.__file__).parent / "static/restante.css"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
SVG = (
    b'<?xml version="1.0"?>\n<!-- a circle -->\n<svg xmlns="http://www.w3.org/2000/svg" '
    b'xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9"><defs><linearGradient id="a"/></defs>'
    b'<circle r="4" fill="url(#a)"/><use xlink:href="#a"/></svg>\n'
)
BRAND: dict[str, Any] = {
    "light": {"background": "#fff8f0", "accent": "#8a0f4b"},
    "dark": {"accent": "#f3a6c8"},
    "imprint": "Klinik Beispiel GmbH\nHauptstr. 1, 10115 Berlin",
    "imprint_url": "https://clinic.example/imprint",
    "help": {"en": "Call us: +49 30 0000 <any time>", "de": "Rufen Sie an: +49 30 0000"},
}


@pytest.fixture
def branded(post: Post, tmp_path: Path) -> Iterator[Browser]:
    (tmp_path / "logo.svg").write_bytes(SVG)
    (tmp_path / "dark.png").write_bytes(PNG)
    logos = {"logo": "logo.svg", "logo_dark": "dark.png"}
    brand = BrandSettings.model_validate(BRAND | logos).resolved(tmp_path)
    app = create_app(post.settings.model_copy(update={"brand": brand}), store=post.store, clock=post.clock)
    yield Browser(app)
    portal_of(app).explainer.close()


def _variables(rules: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", rules))


def test_pages_have_the_organisations_colours_logo_imprint_and_help(branded: Browser, post: Post) -> None:
    for path in ("/", f"/p/{post.waiting().token}", "/p/unknown", "/closed", "/nowhere", "/admin/sign-in"):
        page = branded.get(path, headers={"Accept-Language": "de"}).text
        style = re.search(r'href="(/brand\.css\?v=[0-9a-f]+)"', page)
        assert style is not None, path
        assert "#8a0f4b" in branded.get(style[1]).text
        assert '<img class="logo" src="/brand/logo?v=' in page
        assert '<source media="(prefers-color-scheme: dark)" srcset="/brand/logo-dark?v=' in page
        assert "Klinik Beispiel GmbH\nHauptstr. 1" in page
        assert 'href="https://clinic.example/imprint"' in page
        german = 'lang="de">Rufen Sie an' in page
        assert german != path.startswith("/admin"), path
    english = branded.get("/", headers={"Accept-Language": "en"}).text
    assert "Call us: +49 30 0000 &lt;any time&gt;" in english
    assert 'lang="en">Call us' in branded.get("/", headers={"Accept-Language": "fi"}).text


def test_without_branding_a_page_asks_for_nothing_more(browser: Browser) -> None:
    page = browser.get("/").text
    assert "brand" not in page
    assert [browser.get(path).status_code for path in ("/brand.css", "/brand/logo", "/brand/logo-dark")] == [404] * 3


def test_a_logo_is_a_picture_that_can_do_nothing(branded: Browser) -> None:
    for path, mimetype, data in (("/brand/logo", "image/svg+xml", SVG), ("/brand/logo-dark", "image/png", PNG)):
        answer = branded.get(path)
        assert (answer.status_code, answer.mimetype, answer.data) == (200, mimetype, data)
        assert answer.headers["Content-Security-Policy"] == guard.PICTURE_POLICY
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "public" in answer.headers["Cache-Control"]
        assert branded.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


BAD_LOGOS: dict[str, tuple[str, bytes | None, str]] = {
    "missing": ("a.png", None, "cannot be read"),
    "not a picture": ("a.png", b"GIF89a", "neither PNG nor SVG"),
    "HTML": ("a.svg", b"<html><svg></svg></html>", "neither PNG nor SVG"),
    "too large": ("a.png", PNG + bytes(LOGO_BYTES), "larger than"),
    "script": ("a.svg", b"<svg>\n<script>alert(1)</script></svg>", "a.svg:2: brand.logo: holds '<script'"),
    "script with a prefix": ("a.svg", b"<svg><svg:script>1</svg:script></svg>", "holds"),
    "handler": ("a.svg", b'<svg onload="x"/>', "onload="),
    "handler after a slash": ("a.svg", b'<svg><g/onclick="x"/></svg>', "onclick="),
    "foreign object": ("a.svg", b"<svg><foreignObject/></svg>", "foreignObject"),
    "document type": ("a.svg", b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x "y">]><svg/>', "neither PNG nor SVG"),
    "entity": ("a.svg", b"<svg><!ENTITY x></svg>", "ENTITY"),
    "address": ("a.svg", b'<svg><image href="https://track.example/x.png"/></svg>', "href="),
    "address with a prefix": ("a.svg", b"<svg><use xlink:href='//track.example/x.svg#a'/></svg>", "href="),
    "hidden address": ("a.svg", b'<svg><image href="&#104;ttps://track.example"/></svg>', "href="),
    "address in a style": ("a.svg", b"<svg><style>g{fill:url( 'https://x.example')}</style></svg>", "url("),
    "style from elsewhere": ("a.svg", b"<svg><style>@import 'x'</style></svg>", "@import"),
    "style sheet": ("a.svg", b'<?xml version="1.0"?><svg><?xml-stylesheet href="#x"?></svg>', "xml-stylesheet"),
}


@pytest.mark.parametrize("kind", BAD_LOGOS)
def test_a_bad_logo_stops_the_portal_with_file_field_and_remedy(post: Post, tmp_path: Path, kind: str) -> None:
    name, data, said = BAD_LOGOS[kind]
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    settings = post.settings.model_copy(update={"brand": BrandSettings(logo=path)})
    with pytest.raises(branding.BadLogo) as caught:
        create_app(settings, store=post.store)
    assert said in str(caught.value)
    assert f"{path}:" in str(caught.value)
    assert "brand.logo" in str(caught.value)


BAD_BRANDS: dict[str, tuple[str, str, str]] = {
    "accent too light": (
        '[brand.light]\naccent = "#ff8800"',
        "brand.light.accent",
        'the nearest colour that can is "#',
    ),
    "accent too dark for dark": ('[brand.dark]\naccent = "#333399"', "brand.dark.accent", "contrast 1.5"),
    "ground that hides text": ('[brand.light]\nbackground = "#808080"', "brand.light.background", "at least 4.5"),
    "light ground for dark": ('[brand.dark]\nbackground = "#ffffff"', "brand.dark.background", "at least 4.5"),
    "no colour": ('[brand.light]\naccent = "red; } body { display: none"', "brand.light.accent", "must be a colour"),
    "name of another file": ('[brand]\nlogo = "logo.gif"', "brand.logo", ".png or .svg"),
    "script as imprint": ('[brand]\nimprint_url = "javascript:alert(1)"', "brand.imprint_url", "https://"),
    "unknown language": ('[brand]\nhelp = { xx = "?" }', "brand.help", ""),
}


@pytest.mark.parametrize("mistake", BAD_BRANDS)
def test_a_bad_brand_is_refused_with_line_field_and_remedy(settings_file: Path, mistake: str) -> None:
    lines, field, said = BAD_BRANDS[mistake]
    before = settings_file.read_text()
    settings_file.write_text(f"{before}\n{lines}\n")
    with pytest.raises(BadFile) as caught:
        load_settings(settings_file)
    assert caught.value.field.startswith(field)
    assert said in str(caught.value)
    assert caught.value.line > before.count("\n")


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    url, sender = "https://pickup.site.example", "restante@site.example"
    initialise(tmp_path / "etc", Answers("mta.site.example", "Site", url, sender, f"sqlite:///{tmp_path}/restante.db"))
    return tmp_path / "etc" / "restante.toml"


def test_the_colour_that_is_proposed_is_accepted() -> None:
    for theme, field, colour in (
        ("light", "accent", "#ff8800"),
        ("dark", "accent", "#333399"),
        ("light", "background", "#808080"),
    ):
        with pytest.raises(ValueError, match="nearest colour") as caught:
            BrandSettings.model_validate({theme: {field: colour}})
        proposed = re.search(r'"(#[0-9a-f]{6})"', str(caught.value))
        assert proposed is not None
        BrandSettings.model_validate({theme: {field: proposed[1]}})


@pytest.mark.parametrize("accent", ["#8a0f4b", "#004080", "#5a3d00", "#000000", "#1d5c63"])
def test_every_pair_of_colours_that_meets_on_a_page_can_be_read(accent: str) -> None:
    fixed = [_variables(rules) for rules in CSS.read_text().split(":root {")[1:3]]
    assert [each["paper"] for each in fixed] == [LIGHT.paper, DARK.paper]
    assert [(each["ink"], each["soft"]) for each in fixed] == [(LIGHT.ink, LIGHT.soft), (DARK.ink, DARK.soft)]
    brand = BrandSettings.model_validate({"light": {"accent": accent}, "dark": {"accent": "#ffd9a0"}})
    themes = brand.style().split(":root {")[1:]
    for usual, rules in zip(fixed, themes, strict=True):
        colours = usual | _variables(rules)
        pairs = [(text, ground) for text in ("ink", "soft", "accent") for ground in ("ground", "paper", "tint")]
        pairs += [("on-accent", "accent"), ("on-accent", "accent-strong")]
        for text, ground in pairs:
            if (text, ground) != ("soft", "tint"):
                assert contrast(colours[text], colours[ground]) >= LEAST_CONTRAST, (text, ground)


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    assert contrast("#ff0000", "#ffffff") == pytest.approx(4.0, abs=0.005)


def test_notices_have_the_accent_and_the_imprint_and_fetch_nothing(post: Post) -> None:
    brand = BrandSettings.model_validate(BRAND)
    writer = NoticeWriter(post.settings.model_copy(update={"brand": brand}), b"k" * 32)
    notice = writer.for_recipient(
        mark=NoticeMark("m", "d"),
        recipient="rita@patients.example",
        sender="anna@clinic.example",
        way=Way("t" * 43, "482 913", None),
        expires_at=post.clock() + 86_400,
    )
    parts = {part.get_content_type(): part.get_content() for part in notice.walk() if not part.is_multipart()}
    page = parts["text/html"]
    assert page.count("#8a0f4b") == 1
    for text in parts.values():
        assert all(line in text for line in ("Klinik Beispiel GmbH", "Hauptstr. 1, 10115 Berlin", BRAND["imprint_url"]))
    assert not re.search(r"<(img|link|style|script|source|svg)|url\(|src=|background=", page)


def test_no_page_fetches_anything_from_elsewhere(branded: Browser) -> None:
    page = branded.get("/").text
    assert page.count("src=") == 1
    assert not re.search(r'(src|srcset|rel="stylesheet" href)="(?!/)', page)
