"""Exact-data match: values of a list are found however they are written, and nothing of them is stored."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from restante.classify.dictionary import BadDictionary, Dictionary, Value, key_of, open_dictionaries, write
from restante.classify.engine import Classifier
from restante.classify.finding import Finding
from restante.cli import main
from restante.commands.dictionary import values
from restante.credentials import Credential, read_credential
from restante.init import initialise
from restante.policy import load_policy
from restante.toml_source import BadFile
from tests.core.test_settings import ANSWERS

SECRET = bytes(range(32))
VALUES = ("P-4711-08", "998877", "0815/AB", "Änne Größer", "Max Mustermann", "J. R. Hartley-Smith", "1234567")
ROOMS = """
[[dictionary]]
name = "rooms"
path = "rooms.dictionary"
context = ["room"]
"""
POLICY = f"""
[[dictionary]]
name = "patients"
path = "patients.dictionary"
tags = ["patient"]
{ROOMS}
[[rule]]
name = "patients"
when = [{{ detectors = ["dictionary:patients"], count = 2 }}, {{ tags = ["patient"] }}]
"""


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = tmp_path_factory.mktemp("dictionaries")
    (folder / "policy.toml").write_text(POLICY, encoding="utf-8")
    write(folder / "patients.dictionary", "patients", key_of(SECRET, "patients"), map(Value.of, VALUES))
    write(folder / "rooms.dictionary", "rooms", key_of(SECRET, "rooms"), [Value.of("B4-17")])
    policy = load_policy(folder / "policy.toml")
    return Classifier(policy, dictionaries=open_dictionaries(policy.dictionary, SECRET))


def found(classifier: Classifier, text: str) -> list[Finding]:
    message = f"Content-Type: text/plain; charset=utf-8\n\n{text}\n".encode()
    findings = classifier.classify(io.BytesIO(message)).findings
    return [one for one in findings if one.detector.startswith("dictionary:")]


@pytest.mark.behaviour("C1")
@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("about P-4711-08.", ["108"]),
        ("p471108", ["108"]),
        ("P 4711\n08", ["108"]),
        ("P-4711-0", []),
        ("XP-4711-08x", []),
        ("number 998877 and 99 88 77", ["877"]),
        ("998 8770", []),
        ("0815/ab", ["5ab"]),
        ("ÄNNE  GRÖSSER is here", ["ser"]),
        ("Ms Änne Größer", ["ser"]),
        ("ännegrößer", []),
        ("Max and Mustermann", []),
        ("Mustermann Max", []),
        ("j r hartley smith", ["ith"]),
        ("nothing of it", []),
    ],
)
def test_a_value_is_found_however_it_is_written(classifier: Classifier, text: str, ends: list[str]) -> None:
    hits = found(classifier, text)
    assert [str(hit.confidence) for hit in hits] == ["high"] * len(ends)
    assert [hit.match[-3:] for hit in hits] == ends


@pytest.mark.behaviour("C1")
def test_a_context_word_makes_a_value_certain(classifier: Classifier) -> None:
    assert [str(hit.confidence) for hit in found(classifier, "in B4-17")] == ["medium"]
    assert [str(hit.confidence) for hit in found(classifier, "in room B4-17")] == ["high"]


@pytest.mark.parametrize("before", [65_525, 65_532])
def test_a_value_at_the_edge_of_a_window_is_found_once(classifier: Classifier, before: int) -> None:
    text = "x" * (before - 5) + " " + "P-4711-08 Max Mustermann" + " y" * 2_000
    assert [hit.match[-3:] for hit in found(classifier, text)] == ["108", "ann"]


def test_the_file_holds_no_value_and_fits_one_key_and_name(tmp_path: Path) -> None:
    path = tmp_path / "d"
    assert write(path, "d", key_of(SECRET, "d"), map(Value.of, (*VALUES, VALUES[0]))) == len(VALUES)
    content = path.read_bytes().lower()
    assert [value for value in VALUES if value.lower().encode() in content] == []
    assert Value.of("p 4711 08") in Dictionary("d", path, key_of(SECRET, "d"))
    assert Value.of("P-4711-09") not in Dictionary("d", path, key_of(SECRET, "d"))
    with pytest.raises(BadDictionary, match="another site's key"):
        Dictionary("d", path, key_of(bytes(32), "d"))
    with pytest.raises(BadDictionary, match='is the dictionary "d"'):
        Dictionary("e", path, key_of(SECRET, "e"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadDictionary, match="is cut off"):
        Dictionary("d", path, key_of(SECRET, "d"))
    for damaged in (b"", b"x", b"restante-dictionary 1 {}\n"):
        path.write_bytes(damaged)
        with pytest.raises(BadDictionary, match="Run: restante dictionary d"):
            Dictionary("d", path, key_of(SECRET, "d"))
    with pytest.raises(BadDictionary, match="No such file"):
        Dictionary("d", tmp_path / "nothing", key_of(SECRET, "d"))


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (b"", 1, "is empty"),
        (b"4711\n12\n", 2, "has 2 letters and digits"),
        (b"4711;abcd\n4712;bcde\n4713\n", 3, "there are only 1"),
        (b'4711;"abcd\n', 1, "is no CSV"),
        (b"4711;abcd\n\xff\xfe;b\n", 1, "is not UTF-8"),
        (b"4711;" + b"x" * 101 + b"\n", 1, "has 101 letters"),
    ],
)
def test_a_bad_list_is_refused_with_file_and_line(tmp_path: Path, content: bytes, line: int, says: str) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    column = 2 if b";" in content else 1
    with pytest.raises(BadFile, match=says) as caught:
        list(values(path, column, header=False))
    assert (caught.value.path, caught.value.line) == (path, line)


def test_the_command_hashes_a_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    initialise(tmp_path, ANSWERS)
    (tmp_path / "policy.toml").write_text(POLICY.replace(ROOMS, ""), encoding="utf-8")
    (tmp_path / "list.csv").write_text("name;number\nAnn;P-4711-08\n\nBob;P-4712-09\n", encoding="utf-8-sig")
    base = ["--settings", str(tmp_path / "restante.toml"), "dictionary"]
    with pytest.raises(SystemExit) as done:
        main([*base, "patients", str(tmp_path / "list.csv"), "--column", "2", "--header"])
    assert done.value.code == 0
    assert "2 different values" in capsys.readouterr().out
    secret = read_credential(tmp_path / "credentials", Credential.ROUTE)
    made = Dictionary("patients", tmp_path / "patients.dictionary", key_of(secret, "patients"))
    assert Value.of("p471209") in made
    (tmp_path / "mail.eml").write_bytes(b"To: a@partner.example\n\nabout P-4711-08\n")
    with pytest.raises(SystemExit):
        main([*base[:2], "explain", str(tmp_path / "mail.eml"), "--no-network"])
    assert "dictionary:patients" in capsys.readouterr().out
    with pytest.raises(SystemExit) as failed:
        main([*base, "nobody", str(tmp_path / "list.csv")])
    assert failed.value.code == 2
    assert "[[dictionary]]" in capsys.readouterr().err
    with pytest.raises(SystemExit) as refused:
        main([*base, "patients", str(tmp_path / "list.csv"), "--column", "3"])
    assert refused.value.code == 1
    assert f"{tmp_path / 'list.csv'}:1: column 3" in capsys.readouterr().err
