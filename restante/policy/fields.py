"""Kinds of fields that the tables of a policy share: names, confidences, frozen tables that refuse unknown keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from restante.classify.finding import Confidence


class Frozen(BaseModel):
    """A table of the policy: immutable, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _confidence(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return Confidence[value.upper()]
    except KeyError:
        raise ValueError("must be low, medium or high") from None


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
ConfidenceName = Annotated[Confidence, BeforeValidator(_confidence)]
