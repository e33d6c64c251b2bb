"""Names of attachments that would be more than names: in the page, in the header of the download, on the disk."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from restante_portal import ranges
from tests.portal.conftest import Browser, Post

NAMES = {
    "line break": "a\r\nSet-Cookie: x=y\r\n\r\n<script>.pdf",
    "line feed": "a\nb.pdf",
    "NUL": "a.exe\0.pdf",
    "right to left": "Rechnung_\u202efdp.exe",
    "isolates": "a\u2066b\u2069.exe",
    "marks": "a\u200f\u200e\u061cb.exe",
    "no width": "a\u200b\u2060\ufeffb.pdf",
    "four kilobytes": "x" * 4096 + ".pdf",
    "wide": "ä" * 4096 + ".pdf",
    "path": "../../../etc/passwd",
    "other path": "..\\..\\Windows\\system32\\x.dll",
    "device": "CON",
    "device with type": "nul.txt",
    "stream": "a.txt::$DATA",
    "drive": "C:evil.exe",
    "share": "\\\\evil.example\\share\\x",
    "home": "~/.ssh/authorized_keys",
    "dots": "...",
    "hidden": ".htaccess",
    "blanks": "   ",
    "ends in a dot": "a.exe.",
    "ends in a blank": "a.exe ",
    "quotes": 'a".pdf"; filename="b.html',
    "parameter": "a.pdf; filename*=UTF-8''b.html",
    "semicolon": "a;b=c.pdf",
    "backslash": 'a\\".pdf',
    "percent": "a%0d%0aX: y%00.pdf",
    "markup": "<img src=x onerror=alert(1)>.pdf",
    "reference": "&lt;script&gt;.pdf",
    "template": "{{7*7}}.pdf",
    "formula": "=cmd|' /C calc'!A0.csv",
    "shell": "$(id)`id`;id|id&.sh",
    "encoded word": "=?utf-8?q?a=0d=0aX:_y?=.pdf",
    "surrogates": "a\udc80\udcff.pdf",
    "controls": "".join(map(chr, range(32))) + ".pdf",
    "C1 controls": "".join(map(chr, range(127, 160))) + ".pdf",
    "combining": "a" + "\u0301" * 2000 + ".pdf",
    "line separators": "a\u2028b\u2029c\x85d\x0b\x0c.pdf",
    "emoji": "\U0001f468\u200d\U0001f469" * 50 + ".pdf",
}


@pytest.mark.behaviour("P7")
@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_of_attachments_are_names_and_nothing_else(post: Post, browser: Browser, name: str) -> None:
    header = ranges.disposition(NAMES[name])
    assert re.fullmatch(r"attachment; filename=\"[^\"\\]+\"; filename\*=UTF-8''[A-Za-z0-9%._~-]+", header)
    assert len(header) < 1800
    raw = NAMES[name].encode("utf-8", "surrogateescape")
    letter = (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\n\r\nhello\r\n--b\r\n"
        b"Content-Type: text/html\r\nContent-Disposition: attachment;\r\n filename*=utf-8''"
        + quote(raw, safe="").encode()
        + b"\r\n\r\n<script>alert(1)</script>\r\n--b--\r\n"
    )
    browser.open(post.waiting(letter))
    page = browser.get("/message").text
    (path,) = set(re.findall(r'href="(/message/attachments/\d+[^"]*)"', page))
    answer = browser.get(path.replace("&amp;", "&"))
    assert (answer.status_code, answer.data) == (200, b"<script>alert(1)</script>")
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    assert answer.mimetype == "application/octet-stream"
    assert {"X", "Set-Cookie"}.isdisjoint(answer.headers.keys())
    shown = re.search(r"<bdi>([^<]*)</bdi></a>", page)
    assert shown is not None
    assert not set(shown[1]) & {"<", "\0", "\r", "\n", *"\u202e\u202d\u2066\u2067\u200f\u200e\u061c"}
    assert len(shown[1]) < 400
