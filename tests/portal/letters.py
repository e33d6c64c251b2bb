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
