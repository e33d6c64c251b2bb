"""The measurement beside Presidio: what each side gets and how rounds become figures, with a stand-in for the peer.

The real one is 400 MB and runs in ``python -m tests.bench``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.bench import mails, presidio
from tests.corpus import presidio_environment
from tests.lab.waiting import LabError

_STAND_IN = """\
import hashlib, json, sys
print(json.dumps({"version": "1.2", "recognizers": 3}), flush=True)
for line in sys.stdin:
    mails = json.loads(line)
    print(hashlib.sha256(line.encode()).hexdigest(), file=sys.stderr)
    print(json.dumps({"seconds": 2.0 * len(mails), "least": LEAST}), flush=True)
"""


def _stand_in(least: int) -> list[str]:
    return [sys.executable, "-c", _STAND_IN.replace("LEAST", str(least))]


def _quiet(_text: str) -> None:
    pass


def test_rounds_become_medians_and_a_ratio(capfd: pytest.CaptureFixture[str]) -> None:
    beside = presidio.measure(_stand_in(least=1), count=2, rounds=3, say=_quiet)
    assert [(one.mails, one.theirs) for one in beside.rounds] == [(2, 4.0)] * 3
    assert beside.theirs_us == 2e6
    assert 0 < beside.ours_us < 2e6
    assert beside.ratio == sorted(4.0 / one.ours for one in beside.rounds)[1]
    assert beside.theirs_mb_s == sorted(one.size for one in beside.rounds)[1] / 4e6
    _, peer, ours = beside.lines()
    assert "Presidio 1.2, 3 pattern recognizers" in peer
    assert peer.split()[-1] == "1.00"
    assert ours.split()[-1] == f"{beside.ratio:.2f}"
    asked = capfd.readouterr().err.split()
    assert len(set(asked)) == len(asked) == 4, "one round to warm up and three, each of other mails"


def test_a_peer_that_finds_nothing_or_ends_stops_the_run() -> None:
    with pytest.raises(LabError, match="recognizers are not on"):
        presidio.measure(_stand_in(least=0), count=1, rounds=1, say=_quiet)
    with pytest.raises(LabError, match="status 3"):
        presidio.measure([sys.executable, "-c", "raise SystemExit(3)"], count=1, rounds=1, say=_quiet)


def test_the_peer_gets_the_text_and_what_is_seen_of_the_html() -> None:
    text, seen = presidio.texts(mails.ordinary())
    for part in (text, seen):
        assert "Die Schließfächer im Erdgeschoß werden bis Ende März geräumt." in part
        assert "https://meet.example.net/j/83920011847?pwd=c3VtbWVyLWV2ZW5pbmc" in part
        assert "<td>" not in part
        assert "padding:" not in part


def test_the_environment_is_ready_when_it_was_made_from_this_lock(tmp_path: Path) -> None:
    assert presidio_environment.interpreter(tmp_path) is None
    mark = tmp_path / presidio_environment.LOCK.name
    mark.write_text("presidio-analyzer==1.0\n", encoding="ascii")
    assert presidio_environment.interpreter(tmp_path) is None
    shutil.copyfile(presidio_environment.LOCK, mark)
    assert presidio_environment.set_up(tmp_path) == tmp_path / "bin" / "python"


def test_an_installation_that_fails_names_the_lock_and_is_not_ready(tmp_path: Path) -> None:
    occupied = tmp_path / "a-file"
    occupied.touch()
    with pytest.raises(RuntimeError, match=r"presidio\.lock"):
        presidio_environment.set_up(occupied / "presidio")
    assert presidio_environment.interpreter(occupied / "presidio") is None
