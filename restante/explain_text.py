"""An explanation as lines for a terminal.  Pure; nothing in it steers the terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

Mark = Callable[[str], str]


def render(explanation: dict[str, Any], mark: Mark = str) -> str:
    """The value of :func:`restante.explain.explain` without a trailing line feed.

    ``mark`` makes a match stand out, where the terminal can.
    """
    lines = ["Findings:"]
    lines += list(_findings(explanation)) or ["  none"]
    if explanation["texts"]:
        lines += ["", "Texts, matches in brackets and masked:", *_texts(explanation, mark)]
    if explanation["rules"]:
        lines += ["", "Rules, the first that matches decides:", *_rules(explanation)]
    lines += ["", "Recipients:", *(_recipients(explanation) or ["  none is named"])]
    return "\n".join(lines)


def _findings(explanation: dict[str, Any]) -> Iterator[str]:
    for finding in explanation["findings"]:
        yield (
            f"  {_plain(finding['detector'])} in {_plain(finding['place'])}: {_plain(finding['match'])}"
            f" ({finding['confidence']})"
        )
        why = [finding["reason"]] if finding["reason"] and finding["reason"] != finding["match"] else []
        why += [f"read as {'; '.join(finding['readings'])}"] if finding["readings"] else []
        if why:
            yield f"    {_plain(', '.join(why))}"


def _texts(explanation: dict[str, Any], mark: Mark) -> Iterator[str]:
    for text in explanation["texts"]:
        found = {0: "no match", 1: "1 match"}.get(text["matches"], f"{text['matches']} matches")
        yield f"  {_plain(text['place'])}, read as {_plain(text['reading'])}, {text['bytes']} bytes, {found}"
        for excerpt in text["excerpts"]:
            shown = "".join(_segment(segment, mark) for segment in excerpt["segments"])
            lines = [line for line in shown.split("\n") if line.strip()]
            yield from (f"    | {line}" for line in lines)
            if excerpt["cut"]:
                yield "    | …"
    if not explanation["texts_complete"]:
        yield "  There is more text than is shown here."


def _segment(segment: dict[str, str], mark: Mark) -> str:
    text = "\n".join(_plain(re.sub(r"\s+", " ", line)) for line in segment["text"].split("\n"))
    if not segment["detector"]:
        return text
    return mark(f"[{_plain(segment['detector'])}: {text.replace(chr(10), ' ')}]")


def _rules(explanation: dict[str, Any]) -> Iterator[str]:
    for rule in explanation["rules"]:
        yield f"  {_plain(rule['name'])}: {rule['outcome']}"
        yield from (f"    {_plain(reason)}" for reason in rule["reasons"])


def _recipients(explanation: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for recipient in explanation["recipients"]:
        rule = recipient["rule"] or "none"
        way = f"{recipient['route']} (rule {rule}): {_plain(recipient['reason'])}"
        lines.append(f"  {_plain(recipient['address'])} -> {way}")
        evidence = recipient["evidence"]
        if evidence:
            lines.append(f"    evidence: {evidence['domain']} {evidence['level']}: {_plain(evidence['reason'])}")
            lines += [
                f"      MX {host['preference']} {_plain(host['host'])}: {host['level']}, {_plain(host['reason'])}"
                for host in evidence["hosts"]
            ]
        lines += [f"    would change it: {_plain(change)}" for change in recipient["changes"]]
    return lines


def _plain(text: str) -> str:
    """``text`` without control characters: a file name must not steer the reader's terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
