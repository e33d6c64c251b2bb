"""The examples of docs/policy.md are valid, sound policies, and the page knows every key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from restante.policy import Condition, Group, Rule, load_policy
from restante.policy.problems import problems

PAGE = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.behaviour("D6")
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_can_be_loaded_and_every_rule_in_it_reached(tmp_path: Path, number: int) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(EXAMPLES[number], encoding="utf-8")
    assert [one.text for one in problems(load_policy(path)) if not one.hint] == []


def test_the_page_explains_every_key() -> None:
    assert len(EXAMPLES) >= 3
    for table in (Rule, Condition, Group):
        for name, field in table.model_fields.items():
            assert f"`{field.alias or name}`" in PAGE, f"{table.__name__}.{name}"
