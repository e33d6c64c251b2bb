"""Looking at a page as everybody would have to use it: axe-core, room, focus and weight, in each theme and size.

Nothing is said about a page where nothing is wrong with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.portal.stage import Stage, State

AXE = Path(__file__).parents[2] / ".cache/node_modules/axe-core/axe.min.js"
PAGE_BYTES = 50_000
RIGHT_TO_LEFT = "ar"

# A phone of 320 px; and a screen of 1280 × 1024 at a zoom of 400 % (WCAG 2.2, 1.4.10), which leaves 320 × 256.
SIZES = {
    "320 px": {"width": 320, "height": 640, "deviceScaleFactor": 1, "mobile": False},
    "400 %": {"width": 320, "height": 256, "deviceScaleFactor": 4, "mobile": False},
}

# Not into the frame of the letter, which has a page of its own in the catalogue.
_ALL_RULES = "axe.run(document, {resultTypes: ['violations'], iframes: false, preload: false})"

# Those of axe-core's rules that look at colours or at room; for the others, all themes and sizes are one page.
_RULES_OF_LOOKS = _ALL_RULES.replace(
    "{result",
    "{runOnly: ['color-contrast', 'link-in-text-block', 'target-size', 'scrollable-region-focusable',"
    " 'html-has-lang', 'html-lang-valid', 'valid-lang'], result",
)

# A letter is shown in a frame, where the page around it has the heading and the landmarks.
_ALL_RULES_IN_A_FRAME = _ALL_RULES.replace(
    "{result",
    "{rules: {'landmark-one-main': {enabled: false}, 'page-has-heading-one': {enabled: false},"
    " region: {enabled: false}}, result",
)

# Colours do not depend on the size, and room does not on the theme; names and structure depend on neither, nor on the
# direction: these looks are as good as all of them with all rules, for which set RESTANTE_EVERY_LOOK.
_EVERY_LOOK = bool(os.environ.get("RESTANTE_EVERY_LOOK"))
_LOOKS = {
    "ltr": (("light", "320 px", _ALL_RULES), ("dark", "400 %", _RULES_OF_LOOKS)),
    "rtl": (("dark", "320 px", _RULES_OF_LOOKS), ("light", "400 %", _RULES_OF_LOOKS)),
}
_ALL_LOOKS = tuple((scheme, size, _ALL_RULES) for scheme in ("light", "dark") for size in SIZES)

_STICKS_OUT = """() => {
  const root = document.documentElement;
  const found = root.scrollWidth > root.clientWidth ? [`the page scrolls sideways to ${root.scrollWidth} px`] : [];
  for (const each of document.body.querySelectorAll('*')) {
    if (each.closest('svg, .skip, .unseen, .scroll') && !each.matches('svg')) continue;
    const box = each.getBoundingClientRect();
    if (!box.width || !box.height || (box.left >= -1 && box.right <= root.clientWidth + 1)) continue;
    found.push(`${each.outerHTML.slice(0, 120)} reaches from ${box.left} to ${box.right} px`);
  }
  return found.slice(0, 5);
}"""

_FOCUS = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = numbers(colour).slice(0, 3).map((each) => each / 255)
      .map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const ground = (each) => {
    for (let at = each.parentElement; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((numbers(colour)[3] ?? 1) > 0) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = [];
  const choice = 'a[href], button, input:not([type=hidden]), select, textarea, summary';
  for (const each of document.querySelectorAll(choice)) {
    if (each.disabled || !each.checkVisibility()) continue;
    each.focus();
    const style = getComputedStyle(each);
    const box = each.getBoundingClientRect();
    const name = each.outerHTML.slice(0, 120);
    if (document.activeElement !== each) found.push(`${name} takes no focus`);
    else if (style.outlineStyle === 'none' || parseFloat(style.outlineWidth) < 2) found.push(`${name} shows no focus`);
    else if (contrast(style.outlineColor, ground(each)) < 3) found.push(`${name} shows its focus too faintly`);
    else if (box.bottom <= 0 || box.top >= innerHeight || box.right <= 0 || box.left >= innerWidth)
      found.push(`${name} is out of sight with the focus`);
  }
  return found;
}"""

_PAGE = """() => {
  for (const each of document.querySelectorAll('details')) each.open = true;
  const loaded = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
  return {
    lang: document.documentElement.lang,
    dir: document.documentElement.dir,
    html: document.documentElement.outerHTML,
    loaded: loaded.map((each) => [each.name, each.decodedBodySize, each.initiatorType]),
  };
}"""


@dataclass
class Look:
    """Looks at states; ``problems`` is what was found, ``seen`` which states were looked at."""

    stage: Stage
    problems: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    _known: dict[str, str] = field(default_factory=dict)
    _axe: str = field(default_factory=lambda: AXE.read_text(encoding="utf-8"), repr=False)

    def __post_init__(self) -> None:
        # Kept to the end: one that ends takes the tab's virtual authenticator along.
        self._screen = self.stage.context.new_cdp_session(self.stage.page)

    def at(self, state: State) -> None:
        """Look at the page in both themes, both directions and both sizes; leaves it in any of them."""
        assert state.name not in self.seen, state.name
        self.seen.append(state.name)
        for language in ("",) if state.english else ("", RIGHT_TO_LEFT):
            if language or state.again is not None:
                self.stage.speak(language)
                self.stage.page.reload()
            if state.again is not None:
                state.again()
            self._in_a_language(state, language or "en")
        self.stage.speak("")

    def _in_a_language(self, state: State, language: str) -> None:
        page = self.stage.page
        where = f"{state.name}, {language}"
        shown = page.evaluate(_PAGE)
        if not state.letter:
            assert (shown["lang"], shown["dir"]) == (language, "rtl" if language == RIGHT_TO_LEFT else "ltr"), where
        self._weigh(state, where, shown["loaded"])
        digest = _digest(shown["html"])
        if digest in self._known:
            return  # a page that was looked at under another name
        self._known[digest] = where
        sheet = self.stage.context.new_page() if state.letter else page
        if state.letter:
            sheet.set_content(shown["html"])  # where it stands, no script runs, and so no axe
        sheet.evaluate(self._axe)
        screen = self.stage.context.new_cdp_session(sheet) if state.letter else self._screen
        for scheme, size, rules in _ALL_LOOKS if _EVERY_LOOK else _LOOKS[shown["dir"]]:
            sheet.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            screen.send("Emulation.setDeviceMetricsOverride", SIZES[size])
            run_axe = _ALL_RULES_IN_A_FRAME if state.letter and rules == _ALL_RULES else rules
            result: dict[str, Any] = sheet.evaluate(run_axe)
            found = [_told(each) for each in result["violations"]] + sheet.evaluate(_STICKS_OUT)
            if not state.letter:
                sheet.keyboard.press("Tab")  # from here on, a browser shows where the focus is
                found += sheet.evaluate(_FOCUS)
            self.problems += [f"{where}, {scheme}, {size}: {each}" for each in found]
        if state.letter:
            sheet.close()

    def _weigh(self, state: State, where: str, loaded: list[tuple[str, int, str]]) -> None:
        """All that the page needs, but not what a sender wrote; and everything from here."""
        ours = (self.stage.url + "/", "data:")
        self.problems += [f"{where}: fetched {name}" for name, _, _ in loaded if not name.startswith(ours)]
        weight = sum(size for _, size, by in loaded if by != "iframe")
        if weight > PAGE_BYTES and not state.letter:
            self.problems.append(f"{where}: weighs {weight} bytes")


def _digest(html: str) -> str:
    """The same for pages that differ only in secrets and numbers."""
    plain = re.sub(r'(value|action|href|src)="[^"]*"|[0-9A-Za-z_-]{32,}', "", html)
    return hashlib.sha256(plain.encode()).hexdigest()


def _told(violation: dict[str, Any]) -> str:
    nodes = [f"{each['html'][:160]} {each['failureSummary'][:200]}" for each in violation["nodes"][:3]]
    return f"{violation['id']}: {json.dumps(nodes, ensure_ascii=False)}"
