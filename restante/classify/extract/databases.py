"""Databases in one file: what looks like text in them is read, and that this is not all of it is said."""

from __future__ import annotations

from restante.classify.extract.job import Job, Part
from restante.classify.extract.limits import Unreadable
from restante.classify.extract.plain import say_runs


def read_database(job: Job, part: Part) -> None:
    """The text in an SQLite file, whose numbers are binary."""
    say_runs(job, part.place, part.content)
    raise Unreadable("a database, of which only text was read")
