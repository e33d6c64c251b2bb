"""The organisation's own look on every page: its colours, its logo, its imprint and help.

A logo is only ever shown as a picture, from our own address, under a policy that lets it load and run nothing; an SVG
that could do either, were it opened by itself, is refused when the portal starts.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from flask import Blueprint, Flask, Response, abort, current_app, request, url_for
from markupsafe import Markup

from restante.brand import LOGO_BYTES, Wording, worded
from restante.errors import RestanteError
from restante.settings import Settings
from restante_portal.guard import as_picture, as_public
from restante_portal.language import chosen

_PNG = b"\x89PNG\r\n\x1a\n"
_SVG = re.compile(rb"\A\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<svg[\s>]", re.DOTALL)
# What has no place in a picture: entities and style sheets from elsewhere, scripts, handlers, HTML, addresses.
_ACTIVE = re.compile(
    rb"<!doctype|<!entity|<\?xml-stylesheet|<\s*(?:[\w-]+:)?(?:script|foreignobject|iframe|embed|object|handler|set|animate)"
    rb"|[\s\"'/]on[a-z]+\s*=|javascript:|@import|(?:href|src)\s*=\s*[\"']?\s*(?![#\"'\s])(?!data:image/)"
    rb"|url\(\s*[\"']?\s*(?![#\"'\s])",
    re.IGNORECASE,
)

blueprint = Blueprint("branding", __name__)


class BadLogo(RestanteError):
    """A logo that cannot be shown.  The text names file, field and remedy; the portal must not start."""


@dataclass(frozen=True)
class Logo:
    """A picture that was checked."""

    data: bytes
    mimetype: str

    @property
    def version(self) -> str:
        """Changes with the picture, so that browsers fetch a new one at once."""
        return hashlib.sha256(self.data).hexdigest()[:12]


@dataclass(frozen=True)
class Branding:
    """What :func:`load` found; ``style`` is empty without colours of its own."""

    settings: Settings
    style: str
    logo: Logo | None
    logo_dark: Logo | None

    @property
    def links(self) -> Markup:
        """The style sheet, for the head of a page."""
        if not self.style:
            return Markup()
        version = hashlib.sha256(self.style.encode()).hexdigest()[:12]
        return Markup('<link rel="stylesheet" href="{}">').format(url_for("branding.colours", v=version))

    @property
    def picture(self) -> Markup:
        """The logo, beside the name of the organisation, which says what it is."""
        if self.logo is None:
            return Markup()
        image = Markup('<img class="logo" src="{}" alt="">').format(url_for("branding.logo", v=self.logo.version))
        if self.logo_dark is None:
            return image
        dark = url_for("branding.logo_dark", v=self.logo_dark.version)
        source = Markup('<source media="(prefers-color-scheme: dark)" srcset="{}">').format(dark)
        return Markup("<picture>{}{}</picture>").format(source, image)

    @property
    def imprint(self) -> tuple[str, str]:
        """Text and its language's tag, empty where that is unknown."""
        return self._worded(self.settings.brand.imprint)

    @property
    def help(self) -> tuple[str, str]:
        """Text and its language's tag, empty where that is unknown."""
        return self._worded(self.settings.brand.help)

    def _worded(self, text: Wording) -> tuple[str, str]:
        return worded(text, chosen(), self.settings.notice.language)


def load(settings: Settings) -> Branding:
    """Read what the settings name.  Raises :class:`BadLogo`."""
    brand = settings.brand
    return Branding(settings, brand.style(), _read("logo", brand.logo), _read("logo_dark", brand.logo_dark))


def _read(field: str, path: Path | None) -> Logo | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            data = file.read(LOGO_BYTES + 1)
    except OSError as error:
        raise BadLogo(
            f"{path}: brand.{field}: cannot be read: {error.strerror}. Check its name, owner and mode"
        ) from None
    if len(data) > LOGO_BYTES:
        raise BadLogo(f"{path}: brand.{field}: is larger than {LOGO_BYTES} bytes. Make the picture smaller or simpler")
    if data.startswith(_PNG):
        return Logo(data, "image/png")
    if not _SVG.match(data):
        raise BadLogo(f"{path}: brand.{field}: is neither PNG nor SVG. Save it as one of these")
    found = _ACTIVE.search(data)
    if found:
        line = data.count(b"\n", 0, found.start()) + 1
        raise BadLogo(
            f"{path}:{line}: brand.{field}: holds {found.group().decode('ascii', 'replace').strip()!r}: scripts, "
            "document types and addresses have no place in a logo. Save it as plain SVG, or as PNG"
        )
    return Logo(data, "image/svg+xml")


def install(app: Flask, branding: Branding) -> None:
    """Add the routes, and ``brand`` for the templates."""
    app.extensions["restante-branding"] = branding
    app.jinja_env.globals.update(brand=branding)
    app.register_blueprint(blueprint)


def _branding() -> Branding:
    found: Branding = current_app.extensions["restante-branding"]
    return found


@blueprint.get("/brand.css")
def colours() -> Response:
    """The style sheet with the organisation's colours."""
    style = _branding().style
    if not style:
        abort(404)
    return _kept(Response(style, mimetype="text/css"))


@blueprint.get("/brand/logo")
def logo() -> Response:
    """The logo."""
    return _shown(_branding().logo)


@blueprint.get("/brand/logo-dark")
def logo_dark() -> Response:
    """The logo for dark pages."""
    return _shown(_branding().logo_dark)


def _shown(picture: Logo | None) -> Response:
    if picture is None:
        abort(404)
    as_picture()
    return _kept(Response(picture.data, mimetype=picture.mimetype))


def _kept(response: Response) -> Response:
    as_public()
    response.set_etag(hashlib.sha256(response.get_data()).hexdigest()[:22])
    response.make_conditional(request)
    return response
