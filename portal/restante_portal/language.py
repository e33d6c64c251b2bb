"""The language of a page: chosen by the visitor, else the first that the browser asks for and we offer.

The choice is a form at the foot of each page, which adds ``lang`` to the address; the answer keeps it in a cookie that
holds a language's name and nothing of the visitor.  Administrators' and senders' pages are in English, whatever was
chosen.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from flask import Blueprint, Flask, Response, g, redirect, request, url_for
from flask_babel import Babel, ngettext
from werkzeug.wrappers import Response as BaseResponse

from restante import languages
from restante_portal.context import portal

blueprint = Blueprint("language", __name__)

_COOKIE = "restante-language"
_KEPT_SECONDS = 180 * 86_400
_ENGLISH_PAGES = ("/admin/", "/s/", "/sent")
_PAGE_ARGUMENTS = ("window", "view")


def install(app: Flask) -> None:
    """Give the pages of ``app`` their texts, dates and sizes."""
    Babel(app, default_translation_directories=str(languages.TRANSLATIONS), locale_selector=chosen)
    app.jinja_env.policies["ext.i18n.trimmed"] = True
    app.jinja_env.filters.update(when=_when, header_date=_header_date, size=_size)
    app.context_processor(_of_page)
    app.after_request(_keep_choice)
    app.register_blueprint(blueprint)


def chosen() -> str:
    """The language of this request."""
    if "restante_language" not in g:
        g.restante_language = _choose()
    return str(g.restante_language)


def _choose() -> str:
    if request.path.startswith(_ENGLISH_PAGES):
        return languages.ENGLISH
    here = portal()
    asked = [request.args.get("lang", ""), request.cookies.get(here.cookie_name(_COOKIE), "")]
    by_choice = next((each for each in asked if each in languages.LANGUAGES), None)
    wanted = [tag for tag, quality in request.accept_languages if quality > 0]
    return by_choice or languages.negotiate(wanted) or here.settings.notice.language


def _keep_choice(response: Response) -> Response:
    wanted = request.args.get("lang", "")
    chosen_here = not request.path.startswith(_ENGLISH_PAGES) and not g.get("restante_elsewhere", False)
    if wanted in languages.LANGUAGES and chosen_here:
        here = portal()
        response.set_cookie(
            here.cookie_name(_COOKIE),
            wanted,
            max_age=_KEPT_SECONDS,
            httponly=True,
            secure=here.https,
            samesite="Lax",
            path="/",
        )
    return response


def _of_page() -> dict[str, Any]:
    offered: list[languages.Language] = []
    if not request.path.startswith(_ENGLISH_PAGES) and len(languages.LANGUAGES) > 1:
        offered = sorted(map(languages.language, languages.LANGUAGES), key=lambda each: each.name.casefold())
    kept = {name: request.args[name] for name in _PAGE_ARGUMENTS if name in request.args}
    return {"language": languages.language(chosen()), "offered_languages": offered, "page_arguments": kept}


@blueprint.get("/p/<token>/open")
@blueprint.get("/p/<token>/fresh")
@blueprint.get("/open")
@blueprint.get("/fresh")
def back_to_form(token: str = "") -> BaseResponse:
    """Where the answer to a form is asked for in another language, or loaded again: back to the form."""
    wanted = request.args.get("lang", "")
    lang = wanted if wanted in languages.LANGUAGES else None
    target = url_for("pickup.landing", token=token, lang=lang) if token else url_for("pickup.home", lang=lang)
    return redirect(target, 303)


def _when(moment: float) -> str:
    """A time as people read it, in UTC."""
    return languages.moment(datetime.fromtimestamp(moment, UTC), chosen())


def _header_date(written: str) -> str:
    """A header's date (RFC 5322, section 3.3), in the sender's own zone; as it stands there when it is not a date."""
    try:
        found = parsedate_to_datetime(written)
        # "-0000" names no zone: the time is UTC (RFC 5322, section 3.3).
        return languages.moment(found if found.tzinfo else found.replace(tzinfo=UTC), chosen())
    except (ValueError, IndexError, OverflowError):
        return written


def _size(count: int) -> str:
    """A size as people read it."""
    if count < 1000:
        return str(ngettext("%(num)s byte", "%(num)s bytes", count))
    written = languages.size(count, chosen())
    # Where it is written from right to left, a Latin unit would come to stand before its number.
    return f"\u2068{written}\u2069" if languages.language(chosen()).direction == "rtl" else written
