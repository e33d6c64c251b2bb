"""Checks of identifiers that python-stdnum lacks: specimens that agencies publish hold, one digit off does not."""

from __future__ import annotations

import pytest

from restante.classify.validators import OWN

SPECIMENS = (
    ("gb-nino", "AB123456C", "BG123456C"),
    ("gb-chi", "0101901232", "3201901232"),
    ("gb-driving-licence", "MORGA657054SM9IJ", "MORGA677054SM9IJ"),
    ("de-document", "T220001293", "T220001294"),
    ("de-pension", "15070649C103", "15070649C104"),
    ("de-health", "A123456780", "A123456781"),
    ("lu-person", "1893120105732", "1893120105733"),
    ("hu-taj", "111111110", "111111112"),
    ("pl-identity-card", "ABA300000", "ABA300001"),
    ("pl-passport", "ZS0000177", "ZS0000178"),
    ("pl-account", "61109010140000071219812874", "61109010140000071219812875"),
    ("jmbg", "0101006500006", "0101006500007"),
    ("ru-snils", "11223344595", "11223344596"),
    ("us-npi", "1234567893", "1234567894"),
    ("us-dea", "AB1234563", "AB1234564"),
    ("us-routing", "021000021", "021000022"),
    ("ca-quebec-health", "TREM84521018", "TREM84721018"),
    ("br-cns", "898001160660761", "898001160660762"),
    ("br-voter", "106644440302", "106644440303"),
    ("br-driving-licence", "62472927637", "62472927638"),
    ("mx-clabe", "032180000118359719", "032180000118359718"),
    ("uy-person", "12345672", "12345673"),
    ("au-medicare", "2428778132", "2428778232"),
    ("nz-nhi", "ZAC5361", "ZAC5362"),
    ("nz-nhi", "ZBN77VL", "ZBN77VM"),
    ("hk-person", "A1234563", "A1234564"),
    ("sg-person", "S1234567D", "S1234567E"),
    ("tw-person", "A123456789", "A123456788"),
    ("lk-person", "822222222V", "824002222V"),
    ("vin", "1HGCM82633A004352", "1HGCM82643A004352"),
    ("mrz", "L898902C36UTO7408122F1204159ZE184226B<<<<<10", "L898902C36UTO7408122F1204159ZE184226B<<<<<11"),
    ("base58-wallet", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb"),
    ("bech32-wallet", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5"),
    ("date-of-birth", "born on 29 February 2000", "born on 29 February 2001"),
)


@pytest.mark.parametrize(("name", "right", "wrong"), SPECIMENS)
def test_specimens_hold_and_their_neighbours_do_not(name: str, right: str, wrong: str) -> None:
    assert OWN[name](right) is not None
    assert OWN[name](wrong) is None


def test_no_validator_raises_and_none_takes_zeros() -> None:
    junk = ["", "A", "é", "<" * 44, "\u0663" * 13, "²" * 13, "A<" * 30, "1" * 5000, "\n", "İ", "0101", "12345678V"]
    zeros = ["0" * length for length in range(4, 30)]
    for name, validator in OWN.items():
        for candidate in (*junk, *zeros):
            validator(candidate)
        if name not in {"date", "labelled-code"}:
            assert [zero for zero in zeros if validator(zero)] == [], name
