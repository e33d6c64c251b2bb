"""The pickup in pictures, for docs/screenshots: ``make screenshots``.

Each is a page of the catalogue (:mod:`tests.portal.states`) or of the same real server, with a letter that reads well.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser

from restante.access import CodeWay
from tests.portal.chromium import launched
from tests.portal.conftest import Post
from tests.portal.stage import Stage, opened_office
from tests.portal.states import enrolling

FOLDER = Path(__file__).parents[2] / "docs/screenshots"
MOST_BYTES = 60_000
WIDE, PHONE = (1000, 720), (320, 640)

LETTER = (
    """\
From: Anna Hart <anna@clinic.example>
To: rita@patients.example
Subject: Your results of last week
Date: Fri, 20 Nov 2026 09:30:00 +0100
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="out"

--out
Content-Type: text/html; charset=utf-8

<p>Dear Rita,</p><p>all values are <b>within the normal range</b>. The report is attached.</p>
<p>Please come on Monday at nine as agreed; there is no need to fast before.</p><p>Kind regards<br>Anna Hart</p>
--out
Content-Type: application/pdf
Content-Disposition: attachment; filename="Report of 18 November.pdf"

%PDF-1.7 (and so on)
--out--
""".replace("(and so on)", "1 0 obj " * 9000)
    .replace("\n", "\r\n")
    .encode()
)


# The portal of the pictures is on localhost, under a port that is another one each time.
_OPERATORS_ADDRESS = """document.querySelectorAll('.address').forEach((each) => {
  each.textContent = each.textContent.replace(location.origin, 'https://pickup.clinic.example');
})"""


@dataclass(frozen=True)
class Shot:
    """One picture: what to bring the page to, and for whom."""

    name: str
    bring: Callable[[Stage], None]
    size: tuple[int, int] = WIDE
    scheme: Literal["light", "dark"] = "light"
    language: str = ""


def landing(stage: Stage) -> None:
    """The page of a link whose notice travelled in clear."""
    stage.go(f"/p/{stage.office.waiting(LETTER, code=True).token}")


def message(stage: Stage) -> None:
    """The message, opened."""
    stage.open(stage.office.waiting(LETTER, code=True))
    stage.page.frame_locator("iframe.letter").locator("p").first.wait_for()


def inbox(stage: Stage, recipient: str) -> None:
    """The inbox of a recipient who signed in, and who is in no other picture: whatever is held for them is listed."""
    for state in enrolling(stage, recipient):
        if state.name == "ways-set":
            break
    for sender in ("anna.hart@clinic.example", "accounts@clinic.example"):
        held = stage.office.hold(LETTER, recipients=(recipient,), sender=sender)[0]
        stage.office.link(held, way=CodeWay.ENROLLED)
    stage.go("/inbox")


SHOTS = (
    Shot("landing-light", landing),
    Shot("landing-dark", landing, scheme="dark"),
    Shot("landing-phone", landing, PHONE),
    Shot("landing-right-to-left", landing, PHONE, language="ar"),
    Shot("message-light", message),
    Shot("message-dark", message, scheme="dark"),
    Shot("message-phone", message, PHONE),
    Shot("message-right-to-left", message, PHONE, language="he"),
    Shot("inbox-light", partial(inbox, recipient="paula@patients.example")),
    Shot("inbox-dark-phone", partial(inbox, recipient="otto@patients.example"), PHONE, scheme="dark"),
)


def take(shot: Shot, browser: Browser, office: Post) -> bytes:
    """The picture as PNG, in as many colours as a palette holds."""
    width, height = shot.size
    context = browser.new_context(color_scheme=shot.scheme, viewport={"width": width, "height": height})
    try:
        stage = Stage(context, office)
        stage.unblock()
        stage.speak(shot.language)
        shot.bring(stage)
        stage.page.evaluate(_OPERATORS_ADDRESS)
        # As high as the page: what is in a frame is painted once it comes into sight.
        stage.page.set_viewport_size({"width": width, "height": stage.page.evaluate("document.body.scrollHeight")})
        picture = Image.open(io.BytesIO(stage.page.screenshot()))
    finally:
        context.close()
    saved = io.BytesIO()
    picture.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(saved, "PNG", optimize=True)
    return saved.getvalue()


def main(folder: Path, *names: str) -> None:
    """Take all of them, or those of ``names``, into ``folder``; ends with an error where one is too large."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, opened_office(Path(work)) as office, launched() as browser:
        for shot in SHOTS:
            if names and shot.name not in names:
                continue
            png = take(shot, browser, office)
            (folder / f"{shot.name}.png").write_bytes(png)
            sys.stdout.write(f"{shot.name}.png {len(png)} bytes\n")
            if len(png) > MOST_BYTES:
                raise SystemExit(f"{shot.name}.png is larger than {MOST_BYTES} bytes")


if __name__ == "__main__":
    main(FOLDER, *sys.argv[1:])
