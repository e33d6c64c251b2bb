"""Hostile HTML mail, as data for the tests: what runs a script or fetches something where nothing stops it.

``hostile_html.txt`` has one sample a line, with characters that would not show as ``{U+000A}``; others are made here,
of spellings and of charsets.  ``RUN`` stands for a call that the browser tells of, ``SPY`` for an address of the
attacker; both are filled in with the number of the sample, so that a hit names its sample.

From the collections of cross-site scripting (OWASP, PortSwigger, html5sec), reports of mutation XSS against sanitisers
(noscript, MathML, SVG, comments, templates), and what mail programs were seen to fetch (styles, srcset, links, icons,
backgrounds of tables).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path

# Spellings of one attribute that runs, for each element on which it runs by itself.
SPELLINGS = (
    "{e} {a}='RUN'>", '{e} {a}="RUN">', "{e}/{a}=RUN>", "{e}\n{a}\n=\nRUN>", "{e}\t{a}\t=\tRUN>", "{e}\f{a}\f=\fRUN>",
    '{e} x="x"{a}=RUN>', "{e} x=`{a}=RUN` {a}=RUN>", "{e} {A}=RUN>", '{e} {a}="ESCAPED">', "{e} {a}=ESCAPED>",
    "{e} style=color:red {a}=RUN title='", "{e} =x {a}=RUN>",
)  # fmt: skip
ALONE = (
    ("<svg", "onload"), ("<img src=x", "onerror"), ("<body", "onload"), ("<iframe", "onload"),
    ("<input autofocus", "onfocus"), ("<details open", "ontoggle"), ("<video src=x", "onerror"),
)  # fmt: skip

# The same letter in the bytes of other charsets, by the name that the part gives.
CHARSETS = {
    "utf-7": "+ADw-img src=x onerror=RUN+AD4-",
    "utf-16le": "<img src=x onerror=RUN>",
    "utf-16be": "<script>RUN</script>",
    "utf-16": "<svg onload=RUN>",
    "utf-32": "<img src=x onerror=RUN>",
    "iso-2022-jp": "\x1b$B\x1b(B<img src=x onerror=RUN>",
    "shift_jis": "<p title='\uff81'><img src=x onerror=RUN>'>",
    "cp037": "<img src=x onerror=RUN>",
    "hz": "~{~}<img src=x onerror=RUN>",
    "euc-kr": "<img src=x onerror=RUN>",
}


FIRST = 7_700_000  # the number of the first sample, unlike any other number that a page writes to its console


@dataclass(frozen=True)
class Sample:
    """One letter's HTML, ``text``, as it stands in the letter: the bytes ``content`` in ``charset``."""

    number: int
    text: str
    content: bytes
    charset: str


def _spelled() -> list[str]:
    return [form.format(e=element, a=name, A=name.upper()) for (element, name), form in product(ALONE, SPELLINGS)]


def _filled(text: str, number: int) -> str:
    """With its own number: a script that runs says it on the console, what is fetched is fetched from its host."""
    escaped = "".join(f"&#x{ord(character):x};" for character in f"console.log({number})")
    text = text.replace("ESCAPED", escaped).replace("RUN", f"console.log({number})")
    return text.replace("https:SPY", f"https://s{number}.example").replace("SPY", f"//s{number}.example")


def samples() -> list[Sample]:
    """All of them, no two alike."""
    lines = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    lines = [re.sub(r"\{U\+(\w{4})\}", lambda found: chr(int(found[1], 16)), line) for line in lines]
    texts = list(dict.fromkeys([*lines, *_spelled()]))
    found = [
        Sample(number, filled, filled.encode(), "utf-8")
        for number, filled in ((FIRST + at, _filled(text, FIRST + at)) for at, text in enumerate(texts))
    ]
    for at, (charset, text) in enumerate(CHARSETS.items(), FIRST + len(texts)):
        filled = _filled(text, at)
        codec = "ascii" if charset in {"utf-7", "iso-2022-jp", "hz"} else charset
        found.append(Sample(at, filled, filled.encode(codec), charset))
    return found
