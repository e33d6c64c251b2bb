"""Hours of the week in a time zone, for rules that hold at some times only."""

from __future__ import annotations

from datetime import datetime, time
from functools import cached_property
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field

from restante.policy.fields import Frozen

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no time zone: write one such as Europe/Berlin or UTC") from None
    return value


def _day(value: str) -> str:
    day = value.strip().lower()
    if day not in DAYS:
        raise ValueError(f"must be one of {', '.join(DAYS)}")
    return day


def _minutes(value: object) -> object:
    """``HH:MM`` as minutes after midnight; 24:00 is the end of the day."""
    if isinstance(value, time):
        return value.hour * 60 + value.minute
    if not isinstance(value, str):
        return value
    hours, colon, minutes = value.partition(":")
    if not (colon and hours.isdigit() and minutes.isdigit() and int(minutes) < 60 and int(hours) <= 24):
        raise ValueError("must be a time of day such as 08:30")
    return int(hours) * 60 + int(minutes)


Minutes = Annotated[int, BeforeValidator(_minutes), Field(ge=0, le=1440)]


class Hours(Frozen):
    """Days of the week and hours of the day.  ``end`` before ``start`` goes past midnight, on the day it began."""

    days: tuple[Annotated[str, AfterValidator(_day)], ...] = Field(default=DAYS, min_length=1)
    start: Minutes = 0
    end: Minutes = 1440
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"

    @cached_property
    def _zone_info(self) -> ZoneInfo:
        return ZoneInfo(self.zone)

    def hold(self, at: datetime) -> bool:
        """Whether ``at``, a moment with a time zone, lies within."""
        if self.never:
            return False
        here = at.astimezone(self._zone_info)
        minute, today = here.hour * 60 + here.minute, DAYS[here.weekday()]
        if self.start < self.end:
            return today in self.days and self.start <= minute < self.end
        yesterday = DAYS[here.weekday() - 1]
        return (today in self.days and minute >= self.start) or (yesterday in self.days and minute < self.end)

    @property
    def never(self) -> bool:
        """Whether no moment lies within."""
        return self.start == self.end
