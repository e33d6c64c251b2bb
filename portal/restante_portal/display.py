"""Making what a stranger wrote safe to show: text as text, HTML sanitised and without anything to fetch.

Three walls, each meant to hold alone: nh3 keeps harmless elements only, the answer's Content-Security-Policy loads
nothing, and the frame is sandboxed into an origin of its own, without scripts.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import nh3

from restante.store.blobs import BlobReader
from restante_portal.reading import Index, Part, decode_text, first_bytes
from restante_portal.transfer import decoded

TEXT_CAP = 524_288
HTML_CAP = 1_048_576
IMAGE_CAP = 524_288
IMAGES_CAP = 2_097_152
MOST_IMAGES = 40
LINKS_CAP = 100

IMAGE_TYPES = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
}

_TAGS = {
    "a",
    "abbr",
    "b",
    "blockquote",
    "br",
    "caption",
    "center",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "del",
    "div",
    "dl",
    "dt",
    "em",
    "font",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "ins",
    "li",
    "mark",
    "ol",
    "p",
    "pre",
    "q",
    "s",
    "samp",
    "small",
    "span",
    "strike",
    "strong",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "tt",
    "u",
    "ul",
    "var",
}
_ATTRIBUTES = {
    "*": {"dir", "lang", "title", "align", "style"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "td": {"colspan", "rowspan", "valign", "width", "bgcolor"},
    "th": {"colspan", "rowspan", "valign", "width", "bgcolor", "scope"},
    "table": {"border", "cellpadding", "cellspacing", "width", "bgcolor"},
    "font": {"color", "size", "face"},
    "ol": {"start", "type"},
    "col": {"span", "width"},
}
_STYLES = {
    "color",
    "background-color",
    "font-family",
    "font-size",
    "font-style",
    "font-weight",
    "line-height",
    "text-align",
    "text-decoration",
    "text-indent",
    "vertical-align",
    "white-space",
    "width",
    "height",
    "margin",
    "margin-left",
    "margin-right",
    "margin-top",
    "margin-bottom",
    "padding",
    "padding-left",
    "padding-right",
    "padding-top",
    "padding-bottom",
    "border",
    "border-collapse",
    "border-spacing",
    "border-color",
    "border-style",
    "border-width",
    "border-top",
    "border-bottom",
    "border-left",
    "border-right",
    "list-style-type",
}
_STYLE_TRAP = re.compile(
    r"[\\@<]|/\*|url|image|expression|var\s*\(|attr\s*\(|env\s*\(|src|javascript|-moz-", re.IGNORECASE
)
_DATA_IMAGE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+", re.IGNORECASE)
_GONE_WITH_CONTENT = {
    "script",
    "style",
    "title",
    "head",
    "template",
    "noscript",
    "textarea",
    "svg",
    "math",
    "iframe",
    "object",
    "noembed",
    "noframes",
    "xmp",
    "select",
    "video",
    "audio",
}


@dataclass(frozen=True, slots=True)
class ShownText:
    """A text body; ``whole`` is false where it was cut at :data:`TEXT_CAP`."""

    text: str
    whole: bool


@dataclass(slots=True)
class SafeHtml:
    """A sanitised HTML body; ``links`` are the addresses that it pointed to, ``withheld`` counts remote contents."""

    html: str = ""
    whole: bool = True
    links: list[str] = field(default_factory=list)
    withheld: int = 0


def show_text(reader: BlobReader, part: Part) -> ShownText:
    """A text part, decoded."""
    raw, whole = first_bytes(decoded(reader.read, part), TEXT_CAP)
    return ShownText(decode_text(raw, part.charset).replace("\x00", "\N{REPLACEMENT CHARACTER}"), whole)


def show_html(reader: BlobReader, index: Index, part: Part) -> SafeHtml:
    """An HTML part, sanitised, with the message's own small images in it."""
    raw, whole = first_bytes(decoded(reader.read, part), HTML_CAP)
    return sanitise(decode_text(raw, part.charset), _Images(reader, index), whole=whole)


class _Images:
    """The inline images of a message (RFC 2392) as ``data:`` addresses.

    Each is read once, however often it is shown; each showing counts towards :data:`IMAGES_CAP`, since each makes the
    page larger.  Whatever the letter says, at most :data:`MOST_IMAGES` are read.
    """

    def __init__(self, reader: BlobReader | None, index: Index | None) -> None:
        self._reader = reader
        self._by_id = {part.content_id: part for part in index.parts if part.content_id} if index else {}
        self._left = IMAGES_CAP
        self._known: dict[str, bytes | None] = {}

    def get(self, content_id: str) -> str | None:
        """The image, or ``None`` when there is none, it is no image that we know, or there was enough of them."""
        part = self._by_id.get(content_id)
        if part is None or part.content_type not in IMAGE_TYPES or not self._left:
            return None
        if content_id not in self._known:
            if len(self._known) >= MOST_IMAGES:
                return None
            self._known[content_id] = self._read(part)
        raw = self._known[content_id]
        if raw is None:
            return None
        if len(raw) > self._left:
            self._left = 0
            return None
        self._left -= len(raw)
        return f"data:{part.content_type};base64,{base64.b64encode(raw).decode()}"

    def _read(self, part: Part) -> bytes | None:
        # Quoted-printable is three times as long as what it says; whatever is longer still is filled with junk.
        if self._reader is None or part.end - part.start > 3 * IMAGE_CAP:
            return None
        raw, whole = first_bytes(decoded(self._reader.read, part), IMAGE_CAP)
        return raw if whole and raw.startswith(IMAGE_TYPES[part.content_type]) else None


def sanitise(html: str, images: _Images | None = None, *, whole: bool = True) -> SafeHtml:
    """Keep what is harmless of ``html``.  Addresses of links are listed and not kept: the frame opens nothing."""
    result = SafeHtml(whole=whole)
    images = images or _Images(None, None)

    def keep(tag: str, attribute: str, value: str) -> str | None:
        if attribute == "style":
            return None if _STYLE_TRAP.search(value) else value
        if tag == "a" and attribute == "href":
            if value.lower().startswith(("http:", "https:", "mailto:", "tel:")) and value not in result.links:
                result.links.extend([value][: max(0, LINKS_CAP - len(result.links))])
            return None
        if tag == "img" and attribute == "src":
            kept = images.get(value[4:]) if value.lower().startswith("cid:") else _data_image(value)
            result.withheld += kept is None
            return kept
        return value

    result.html = nh3.clean(
        html.replace("\x00", ""),
        tags=_TAGS,
        clean_content_tags=_GONE_WITH_CONTENT,
        attributes=_ATTRIBUTES,
        attribute_filter=keep,
        filter_style_properties=_STYLES,
        url_schemes={"http", "https", "mailto", "tel", "cid", "data"},
        strip_comments=True,
        link_rel="noopener noreferrer",
    )
    return result


def _data_image(value: str) -> str | None:
    return value if len(value) <= IMAGE_CAP * 4 // 3 and _DATA_IMAGE.fullmatch(value) else None


@dataclass(frozen=True, slots=True)
class View:
    """What the page of a message shows, in order: texts themselves, HTML parts by number to be framed."""

    texts: tuple[tuple[Part, ShownText], ...]
    frames: tuple[Part, ...]
    has_other_form: bool


def view(reader: BlobReader, index: Index, *, prefer_text: bool) -> View:
    """Of bodies that say the same in two forms, the preferred one; of all others, every one."""
    bodies = index.bodies
    html_in = {part.alternative for part in bodies if part.content_type == "text/html"} - {-1}
    text_in = {part.alternative for part in bodies if part.content_type == "text/plain"} - {-1}
    both = html_in & text_in
    unwanted = "text/html" if prefer_text else "text/plain"
    shown = [part for part in bodies if not (part.alternative in both and part.content_type == unwanted)]
    return View(
        texts=tuple((part, show_text(reader, part)) for part in shown if part.content_type == "text/plain"),
        frames=tuple(part for part in shown if part.content_type == "text/html"),
        has_other_form=bool(both),
    )


def attachments(index: Index) -> Iterator[Part]:
    """What to offer for download, inline images included: nothing of a message is out of reach."""
    yield from index.attachments
