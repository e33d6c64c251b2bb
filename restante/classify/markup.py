"""HTML and XML as text: what a reader sees, and behind it what is hidden from him but there.

Roughly, and in linear time on any input: a program that scans needs no layout.  What this leaves out is given as well,
and where its source may say more than both, that is said, so that nothing is lost.
"""

from __future__ import annotations

import html
import re
import string
from dataclasses import dataclass

from restante.classify.text import occurs

_ELEMENTS = (
    "a|abbr|b|bdi|bdo|big|cite|code|del|em|font|i|ins|kbd|mark|q|s|samp|small|span|strike|strong|sub|sup|tt|u|var|wbr"
)
# An inline tag leaves a mark, since what stands on either side of it may or may not be one word.
_INLINE, _QUOTE, _UNQUOTE = "\1", "\2", "\3"
_BETWEEN = {slash + name: _INLINE for slash in ("", "/") for e in _ELEMENTS.split("|") for name in (e, e.upper())}
_BETWEEN |= {"blockquote": _QUOTE, "BLOCKQUOTE": _QUOTE, "/blockquote": _UNQUOTE, "/BLOCKQUOTE": _UNQUOTE}
_BLOCKS = (
    "br",
    "div",
    "h1",
    "h2",
    "h3",
    "h4",
    "hr",
    "li",
    "ol",
    "p",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
)
# The tags without attributes that are frequent; and whatever begins with one of these is a tag.
_BARE = _BETWEEN | {slash + name: " " for slash in ("", "/") for name in _BLOCKS}
_OPENS = frozenset(string.ascii_letters + "!?/")
_TAG = re.compile(r"<([A-Za-z!?/][^>]*)>")
_IN_WORD = re.compile(r"\x01(?<=[^\W_]\x01)\x01*[^\W_]")  # inline tags between two words
_SPACES = re.compile(r"  [ ]*")
_NAME = re.compile(r"/?[A-Za-z][A-Za-z0-9:]*")
_PLAIN_TAG = len("/blockquote")  # what is no longer has no attribute that says anything
_COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
_ENTITY = re.compile(r"&(?:#|[A-Za-z]{2})")
_STYLE = re.compile(r"<(style|script)\b[^>]*>", re.IGNORECASE)
_HIDES = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all|(?:font-size|opacity|max-height|max-width|line-height)"
    r"\s*:\s*0(?![.\d]*[1-9])|\shidden(?=[\s>=/\"'])",
    re.IGNORECASE,
)
_LONGEST_TAG = 2048
_STYLED = occurs(b"(?i)<(?:style|script)[^a-z]")
_CONCEALING = (
    rb"(?i)display\s*:\s*none|visibility\s*:\s*hidden|mso-hide|(?:size|opacity|height|width)\s*:\s*0|\shidden[\s>=/\"']"
)
# Where the line ends of the source are those of the text.
_LINING = rb"(?i)<(?:pre|xmp|textarea|plaintext|listing)|white-space"
# Most pages have neither, which one pass tells.
_CONCEALED, _LINED, _UNUSUAL = map(occurs, (_CONCEALING, _LINING, b"%b|%b" % (_CONCEALING, _LINING)))
_OPENING = re.compile(rf"<([A-Za-z][A-Za-z0-9]*)\b[^>]{{0,{2 * _LONGEST_TAG}}}>")
_SELECTED = re.compile(r"\.([\w-]+)")
_REVERSED = re.compile(r"(?:<bdo\b[^>]*rtl|bidi-override)[^>]*>([^<]{1,4096})", re.IGNORECASE)
_MAY_REVERSE = occurs(rb"(?i)<bdo|bidi-override")
_VOID = frozenset({"img", "br", "hr", "input", "meta", "link", "area", "col", "wbr", "source"})


@dataclass(frozen=True, slots=True)
class Page:
    """``seen`` is what a reader sees, lines of a quotation marked with ">", then on lines of their own what is hidden.

    Inline tags vanish in it, other tags separate words, white space is one space.  ``unseen`` is what of the source
    stands in neither: attributes, styles, scripts.  ``apart`` says that the source may hold a value that both miss,
    where an inline tag stands between two words or line ends count.
    """

    seen: str
    unseen: str
    apart: bool


def page(markup: str, data: bytes | None = None) -> Page:
    """Read ``markup``, which may be anything; ``data`` is the same in UTF-8 where that is at hand."""
    hidden: list[str] = []
    unseen: list[str] = []
    data = markup.encode("utf-8", "replace") if data is None else data
    unusual = _UNUSUAL(data)
    apart = (unusual and _LINED(data)) or _INLINE in markup
    if "<!--" in markup:
        # Nothing after the last end can match, and trying would take time quadratic in the openings.
        end = markup.rfind("-->") + 3
        if end > 2:
            pieces = _COMMENT.split(markup[:end])
            hidden += [text for text in pieces[1::2] if len(text) > 8]
            markup = _INLINE.join(pieces[::2]) + markup[end:]
    if "<![CDATA[" in markup:
        hidden.append(markup.replace("<![CDATA[", "").replace("]]>", ""))
    if ("rtl" in markup or "bidi-override" in markup) and _MAY_REVERSE(data):
        hidden += [text[::-1] for text in _REVERSED.findall(markup)]
    concealed = unusual and _CONCEALED(data)
    classes: frozenset[str] = frozenset()
    if _STYLED(data):
        markup, styles = _without_styles(markup)
        unseen.append(styles)
        classes = _hiding_classes(styles) if concealed else classes
    if concealed:
        markup = _without_hidden(markup, classes, hidden, unseen)
    tags: list[str] = []
    seen = "\n".join([_stripped(one, tags) for one in (markup, *hidden)])
    # A short one has no attribute that says anything; its name may be a word that a value stands near.
    rare = [tag for tag in tags if len(tag) > _PLAIN_TAG]
    rare += dict.fromkeys([tag for tag in tags if len(tag) <= _PLAIN_TAG])
    if rare:
        unseen.append("<" + ">\n<".join(rare) + ">")
    if _INLINE in seen:
        apart = apart or _IN_WORD.search(seen) is not None
        seen = seen.replace(_INLINE, "")
    return Page(seen, "\n".join(unseen), apart)


def _stripped(markup: str, tags: list[str]) -> str:
    """``markup`` without its tags; those with a rarer name or attributes go to ``tags``, without their brackets."""
    end = markup.rfind(">") + 1
    if end:
        markup = _between_tags(markup[:end], tags) + markup[end:]
    text = markup.replace("\n", " ").replace("\r", " ").replace("\t", " ")
    text = _SPACES.sub(" ", text)
    return text.replace(_QUOTE, "\n> ").replace(_UNQUOTE, "\n") if _QUOTE in text or _UNQUOTE in text else text


def _between_tags(markup: str, tags: list[str]) -> str:
    """What stands between the tags of ``markup``, which ends with one."""
    first, *pieces = markup.split("<")
    kept = [first]
    rare: list[str] = []
    for piece in pieces:
        tag, closed, text = piece.partition(">")
        if closed and tag in _BARE:
            kept.append(_BARE[tag] + text)
        elif tag[:1] not in _OPENS:
            kept.append(f"<{piece}")
        elif closed:
            rare.append(tag)
            kept.append(_between(tag) + text)
        else:  # a tag with another's beginning in it
            return _between_odd_tags(markup, tags)
    tags += rare
    return "".join(kept)


def _between_odd_tags(markup: str, tags: list[str]) -> str:
    pieces = _TAG.split(markup)
    tags += pieces[1::2]
    pieces[1::2] = map(_between, pieces[1::2])
    return "".join(pieces)


def _between(tag: str) -> str:
    """What a tag puts between the words on either side of it."""
    frequent = _BARE.get(tag.partition(" ")[0])
    if frequent is not None:
        return frequent
    name = _NAME.match(tag)
    return _BETWEEN.get(name.group(), " ") if name else " "


def _without_styles(markup: str) -> tuple[str, str]:
    """``markup`` without its style and script elements, and those."""
    kept: list[str] = []
    styles: list[str] = []
    position = 0
    while match := _STYLE.search(markup, position):
        end = _closing(markup, match.group(1), match.end())
        if end is None:
            break
        kept.append(markup[position : match.start()])
        styles.append(markup[match.start() : end[1]])
        position = end[1]
    return _INLINE.join((*kept, markup[position:])), "".join(styles)


def _closing(markup: str, name: str, start: int) -> tuple[int, int] | None:
    """Where the end tag of an element called ``name`` begins and ends; its content begins at ``start``."""
    depth = 1
    for match in re.compile(rf"<(/?){name}(?=[\s>/])[^>]*>", re.IGNORECASE).finditer(markup, start):
        depth += -1 if match.group(1) else 1
        if depth == 0:
            return match.span()
    return None


def _hiding_classes(styles: str) -> frozenset[str]:
    """The classes that a style sheet hides, somewhere."""
    if not _HIDES.search(styles):
        return frozenset()
    found: set[str] = set()
    for rule in styles.split("}"):
        selector, _, body = rule.rpartition("{")
        if _HIDES.search(body):
            found.update(_SELECTED.findall(selector))
    return frozenset(found)


def _without_hidden(markup: str, classes: frozenset[str], hidden: list[str], unseen: list[str]) -> str:
    """``markup`` without what is not shown: its content goes to ``hidden``, the tags around it to ``unseen``."""
    signs = _HIDES
    if classes:
        names = "|".join(sorted(map(re.escape, classes)))
        signs = re.compile(
            rf"{_HIDES.pattern}|\sclass\s*=\s*[\"']?(?:[\w -]{{0,200}}\s)?(?:{names})(?![\w-])", re.IGNORECASE
        )
    kept: list[str] = []
    position = 0
    for sign in signs.finditer(markup):
        start = markup.rfind("<", max(position, sign.start() - _LONGEST_TAG), sign.start())
        opening = _OPENING.match(markup, start) if start >= 0 else None
        if opening is None or opening.end() < sign.end() or opening.group(1).lower() in _VOID:
            continue
        end = _closing(markup, opening.group(1), opening.end())
        if end is None:
            break
        kept.append(markup[position:start])
        hidden.append(markup[opening.end() : end[0]])
        unseen += [opening.group(), markup[end[0] : end[1]]]
        position = end[1]
    return _INLINE.join((*kept, markup[position:]))


def unescape(markup: str) -> str:
    """``markup`` with its character references replaced.  The frequent ones are done first, for speed."""
    if "&" not in markup:
        return markup
    markup = markup.replace("&nbsp;", " ").replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"')
    if _ENTITY.search(markup.replace("&amp;", "")):
        return html.unescape(markup)
    return markup.replace("&amp;", "&")


def hold_back(markup: str) -> int:
    """Where the last unfinished tag, comment or reference of ``markup`` begins; its length when there is none."""
    size = len(markup)
    floor = max(size - 4096, 0)
    comment = markup.rfind("<!--", floor)
    if comment >= 0 and markup.find("-->", comment) < 0:
        return comment
    tag = markup.rfind("<", floor)
    if tag >= 0 and markup.find(">", tag) < 0:
        return tag
    reference = markup.rfind("&", max(size - 12, 0))
    return reference if reference >= 0 and markup.find(";", reference) < 0 else size


_META = re.compile(
    rb"<meta[^>]{1,200}charset\s*=\s*[\"']?([\w.:-]{2,40})|<\?xml[^>]{1,200}encoding\s*=\s*[\"']([\w.:-]{2,40})",
    re.IGNORECASE,
)


def declared_charset(raw: bytes) -> str:
    """The charset that a page names in its own first kilobyte; empty when it names none."""
    match = _META.search(raw[:1024])
    return (match.group(1) or match.group(2)).decode("ascii", "replace") if match else ""
