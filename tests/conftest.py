"""What the whole suite shares: the database server, and the rule that a skipped test is a failed run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import TemporaryPostgres

END_TO_END = Path(__file__).parent / "e2e"


@pytest.fixture(scope="session")
def postgres() -> Iterator[TemporaryPostgres]:
    """One PostgreSQL server for the session; ask it for a database of your own."""
    with TemporaryPostgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database: the test runs once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/restante.db"
        return
    server: TemporaryPostgres = request.getfixturevalue("postgres")
    url = server.create_database()
    yield url
    server.drop_database(url)


class _SkipsFail:
    """Makes the run fail when a test or a module was skipped: a machine that lacks something must not test less."""

    def __init__(self) -> None:
        self._skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        self._skipped.append(f"{report.nodeid}: {reason}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._skipped:
            terminalreporter.section("a skipped test counts as a failure", red=True)
            for line in self._skipped:
                terminalreporter.write_line(line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, or one process is left with them when the others have nothing more to do.

    An end-to-end file, which waits for mail, and one that computes by turns: then one processor is not idle while the
    other has too much to do.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    files = sorted(dict.fromkeys(item.path for item in items), key=lambda path: path not in slow)
    waiting = [path for path in files if path.is_relative_to(END_TO_END)]
    computing = [path for path in files if not path.is_relative_to(END_TO_END)]
    turns = {path: (turn, kind) for kind, paths in enumerate((waiting, computing)) for turn, path in enumerate(paths)}
    items.sort(key=lambda item: turns[item.path])


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_SkipsFail(), "restante-skips-fail")
    # Restante is started some hundred times, and would be compiled as often.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
