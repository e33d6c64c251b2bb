"""Fuzz one target: ``python -m tests.fuzz mime|policy FOLDER [libFuzzer options]``.

New inputs go to FOLDER; the kept corpus only seeds.  ``make fuzz`` runs both for RESTANTE_FUZZ_SECONDS each.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]

HERE = Path(__file__).parent


def main() -> None:
    """Hand over to libFuzzer, which does not come back."""
    name, folder, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["restante"]):
        from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    target(b"")
    arguments = [sys.argv[0], folder, str(HERE / "corpus" / name), f"-dict={HERE / name}.dict", *options]
    atheris.Setup(arguments, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
