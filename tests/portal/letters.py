"""Letters for the tests: a rich one, and hostile ones."""

from __future__ import annotations

import base64
import random

ATTACHMENT = random.Random(7).randbytes(300_001)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGNgiEnFiqgpwTCoJADtNj6AvF6g/AAAAABJRU5ErkJggg=="
)


def _base64(raw: bytes) -> bytes:
    return base64.encodebytes(raw).replace(b"\n", b"\r\n")


RICH = (
    b"From: =?utf-8?q?J=C3=B6rg?= Arzt <joerg@clinic.example>\r\nTo: rita@patients.example\r\n"
    b"Subject: =?utf-8?q?Befund_und_R=C3=B6ntgenbild?=\r\nDate: Fri, 20 Nov 2026 09:30:00 +0100\r\n"
    b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="out"\r\n\r\nfor old programs\r\n'
    b'--out\r\nContent-Type: multipart/alternative; boundary="alt"\r\n\r\n'
    b"--alt\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Guten Tag,\r\n\r\nDer Befund ist unauff=C3=A4=\r\nllig (Text).\r\n"
    b'\r\n--alt\r\nContent-Type: multipart/related; boundary="rel"\r\n\r\n'
    b"--rel\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    b'<p style="color: #1d5c63">Guten Tag,</p><p>Der Befund ist <b>unauff\xc3\xa4llig</b>.</p>'
    b'<img src="cid:pic@x" alt="">'
    b'<img src="https://spy.example/x.gif" alt=""><p><a href="https://clinic.example/termin">Termin</a></p>\r\n'
    b"--rel\r\nContent-Type: image/png\r\nContent-ID: <pic@x>\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + _base64(PNG)
    + b"--rel--\r\n\r\n--alt--\r\n\r\n--out\r\nContent-Type: application/octet-stream\r\n"
    b"Content-Disposition: attachment; filename*=utf-8''R%C3%B6ntgen.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + _base64(ATTACHMENT)
    + b"\r\n--out--\r\n"
)

NESTED = (
    b"From: anna@clinic.example\r\nTo: rita@patients.example\r\nSubject: Fwd: Termin\r\n"
    b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="out"\r\n\r\n'
    b"--out\r\nContent-Type: text/plain\r\n\r\nSee below.\r\n"
    b"--out\r\nContent-Type: message/rfc822\r\n\r\n"
    b"From: otto@clinic.example\r\nSubject: Termin\r\nContent-Type: text/plain\r\n\r\nMontag, 9 Uhr.\r\n"
    b"--out\r\nContent-Type: text/calendar; charset=utf-8; method=REQUEST\r\n\r\n"
    b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n"
    b'--out\r\nContent-Type: text/vcard; name="anna.vcf"\r\n\r\nBEGIN:VCARD\r\nEND:VCARD\r\n'
    b"--out\r\nContent-Type: application/pdf\r\n"
    b'Content-Disposition: attachment; filename="' + b"a-very-long-name-" * 12 + b'.pdf"\r\n\r\n%PDF\r\n--out--\r\n'
)
"""A message in a message, a calendar, a card, and a file whose name is long."""

BARE = b"From: anna@clinic.example\r\nContent-Type: application/octet-stream\r\n\r\nx"
"""No subject, no text, no date."""


def _nested_too_deep() -> bytes:
    inner = b"Content-Type: text/plain\r\n\r\nThe core.\r\n"
    for number in range(14):
        edge = b"b%d" % number
        inner = b"Content-Type: multipart/mixed; boundary=%s\r\n\r\n--%s\r\n%s\r\n--%s--\r\n" % (
            edge,
            edge,
            inner,
            edge,
        )
    return b"From: anna@clinic.example\r\nSubject: Deep\r\n" + inner


DEEP = _nested_too_deep()
"""Put together in an unusual way: more layers than are looked into."""

SUMMARY = {
    "subject": "Befund und Röntgenbild",
    "attachments": ["Röntgen.bin"],
    "findings": [
        {
            "detector": "payment-card",
            "place": "body",
            "match": "************1111",
            "confidence": "high",
            "reason": "Luhn",
        },
        {"detector": "lexicon:nightfall", "place": "subject"},
    ],
}

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<img src='https://spy.example/a.gif'>",
    "<img srcset='https://spy.example/a.gif 2x'>",
    "<img src='//spy.example/a'>",
    "<img src='data:image/svg+xml;base64,PHN2Zz4='>",
    "<img src='data:text/html;base64,PHN2Zz4='>",
    "<img src='cid:missing'>",
    "<svg onload=alert(1)><image href='https://spy.example'/></svg>",
    "<style>@import 'https://spy.example/x.css'; body{background:url(https://spy.example)}</style>",
    "<style>a[href^=x]{background:u\\72l(https://spy.example)}</style>",
    "<p style='background:url(https://spy.example/a)'>x</p>",
    "<p style='background-image:url(https://spy.example/a)'>x</p>",
    "<p style='list-style-type:url(https://spy.example/a)'>x</p>",
    "<p style='color:\\75rl(https://spy.example)'>x</p>",
    "<p style='width:expression(alert(1))'>x</p>",
    "<p style='font-family:x;} @import \"https://spy.example\"'>x</p>",
    "<p style='position:fixed;top:0;left:0;z-index:9'>x</p>",
    "<table background='https://spy.example/a'><tr><td background='https://spy.example'>x</table>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href=' java\nscript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<a href='https://phish.example' target=_top>x</a>",
    "<form action='https://spy.example'><input name=p><button>x</button></form>",
    "<iframe src='https://spy.example'></iframe>",
    "<object data='https://spy.example'></object><embed src='https://spy.example'>",
    "<link rel=stylesheet href='https://spy.example'><meta http-equiv=refresh content='0;url=https://spy.example'>",
    "<base href='https://spy.example'><video src='https://spy.example' poster='https://spy.example'></video>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<!--<img src='--><img src=x onerror=alert(1)//'>",
    "<p id=x class=y onclick=alert(1) onmouseover='alert(1)'>x</p>",
    "<textarea><img src=x onerror=alert(1)></textarea><title><img src=x onerror=alert(1)></title>",
    "<\0script>alert(1)</script>",
    "<q cite='https://spy.example'>x</q><blockquote cite='https://spy.example'>y</blockquote>",
    "<audio autoplay src=https://spy.example><source src=https://spy.example><track src=https://spy.example>",
]
