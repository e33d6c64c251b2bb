"""The portal's pages at a steady rate of visitors, beside a Flask application that says hello under the same gunicorn.

Once on SQLite and once on PostgreSQL, each with as many held messages as are asked for.  Each visitor of a page is
another recipient with another message: the link's page, the claim that opens it, the message, its attachment.  A run
fails at the first answer that is not what it must be.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from restante.init import SETTINGS_NAME, Answers, initialise
from restante.settings import Settings
from tests.bench import mails
from tests.bench.held import Letter, fill
from tests.bench.milters import RESTANTE
from tests.bench.processes import Family
from tests.bench.web_client import LONGEST_SECONDS, Outcome, Plan
from tests.lab.process import Process, Processes, wait_for_service
from tests.lab.waiting import LabError, free_port
from tests.portal.server import Visitor
from tests.postgres import TemporaryPostgres

HELLO = "hello world in Flask"
CODE = "claim, access code"
_START_SECONDS = 120.0
ATTACHMENT = random.Random(1).randbytes(100_000)


@dataclass(frozen=True, slots=True)
class Visits:
    """How much is done.

    ``held`` messages wait; ``rate`` visitors a second come to each page for ``seconds``, and ``code_rate`` with an
    access code: each of these costs a slow hash, of which two cores do not do many.  gunicorn has ``workers``.
    """

    held: int = 100_000
    rate: float = 200.0
    code_rate: float = 5.0
    seconds: float = 4.0
    workers: int = 2

    @classmethod
    def quick(cls) -> Visits:
        """Just enough to show that everything works."""
        return cls(held=30, rate=8.0, code_rate=1.0, seconds=1.0, workers=1)

    def count(self, rate: float) -> tuple[int, int]:
        """Visitors that count, and those before them that do not."""
        count = max(1, round(rate * self.seconds))
        return count, ceil(count / 10)


@dataclass(frozen=True, slots=True)
class Page:
    """One page on one database: offered and reached rate in requests a second, times and processor time in ms."""

    database: str
    name: str
    offered: float
    rate: float
    p50: float
    p99: float
    cpu: float
    requests: int


@dataclass(frozen=True, slots=True)
class PortalFigures:
    """All that one run measured."""

    visits: Visits
    pages: tuple[Page, ...]

    def lines(self) -> list[str]:
        """The rows of the table for people."""
        lines = [
            (
                f"{f'portal, {self.visits.held} messages held':34} {'offered/s':>9} {'reached/s':>9} {'p50 ms':>8} "
                f"{'p99 ms':>8} {'portal ms/request':>18}"
            )
        ]
        lines += [
            f"{page.database + ', ' + page.name:34} {page.offered:9.0f} "
            f"{page.rate:9.1f} {page.p50:8.1f} {page.p99:8.1f} {page.cpu:18.2f}"
            for page in self.pages
        ]
        return lines

    def table(self) -> str:
        """The table by itself."""
        return "\n".join(self.lines()) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            **asdict(self.visits),
            "attachment_bytes": len(ATTACHMENT),
            "pages": [asdict(page) for page in self.pages],
        }


def measure(visits: Visits, say: Callable[[str], None]) -> PortalFigures:
    """Raises :class:`LabError` when an answer is not what it must be."""
    pages: list[Page] = []
    with TemporaryPostgres(durable=True) as server, _folder() as directory:
        databases = {"SQLite": f"sqlite:///{directory}/restante.db", "PostgreSQL": server.create_database()}
        settings = {name: _install(directory / name, url, visits.workers) for name, url in databases.items()}
        processes = Processes(directory)
        try:
            port = free_port()
            argv = [sys.executable, "-m", "tests.bench.hello", str(directory / "SQLite" / SETTINGS_NAME)]
            hello = _ready(processes.start("hello", [*argv, f"127.0.0.1:{port}"]), port)
            for name, of_it in settings.items():
                letters = _fill(of_it, visits, say)
                argv = [str(RESTANTE), "--settings", str(directory / name / SETTINGS_NAME), "portal"]
                portal = _ready(processes.start(f"portal-{name}", argv), of_it.portal.listen.port)
                run = _Run(name, of_it, visits, Family(portal.pid), say)
                pages += [run.hello(Family(hello.pid), port), *run.all_pages(letters)]
                portal.stop()
        finally:
            processes.stop_all()
    return PortalFigures(visits, tuple(pages))


@contextmanager
def _folder() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="restante-portal-", dir="/tmp"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _fill(settings: Settings, visits: Visits, say: Callable[[str], None]) -> list[Letter]:
    begin = time.perf_counter()
    letters = fill(
        settings,
        visits.held,
        mail=_crlf(mails.short()),
        opening=_crlf(mails.with_attachment(ATTACHMENT, "drawing.bin")),
        by_number=sum(visits.count(visits.rate)),
        by_code=sum(visits.count(visits.code_rate)),
    )
    say(f"  {visits.held} messages held in {time.perf_counter() - begin:.0f} s")
    return letters


def _install(folder: Path, database: str, workers: int) -> Settings:
    port = free_port()
    listen = f"127.0.0.1:{port}"
    answers = Answers(
        hostname="mail.bench.example",
        organisation="Bench",
        portal_url=f"http://{listen}",
        notice_sender="restante@site.example",
        database=database,
        internal_domains=("site.example",),
        extra=(
            ("portal.listen", f'"{listen}"'),
            ("portal.workers", str(workers)),
            ("ring.path", f'"{folder}/ring/ring.db"'),
        ),
    )
    return initialise(folder, answers)


def _crlf(mail: bytes) -> bytes:
    return mail.replace(b"\n", b"\r\n")


def _ready(process: Process, port: int) -> Process:
    wait_for_service(process, lambda: _answers(port), _START_SECONDS)
    return process


def _answers(port: int) -> bool:
    """Whether an application is there: gunicorn listens before its workers have made theirs."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


class _Run:
    """One portal on one database."""

    def __init__(
        self, database: str, settings: Settings, visits: Visits, family: Family, say: Callable[[str], None]
    ) -> None:
        self._database, self._visits, self._family, self._say = database, visits, family, say
        self._port = settings.portal.listen.port
        self._visitor = Visitor(settings)

    def hello(self, family: Family, port: int) -> Page:
        """The application that says hello."""
        count, warm = self._visits.count(self._visits.rate)
        requests = [_request(port, "GET", "/")] * (count + warm)
        plan = Plan(port, self._visits.rate, warm, requests, 200, "Hello")
        return self._page(HELLO, plan, family)[0]

    def all_pages(self, every: list[Letter]) -> Iterator[Page]:
        """Each page in the order in which recipients come to them."""
        rate = self._visits.rate
        letters, coded = [each for each in every if not each.code], [each for each in every if each.code]
        gets = [_request(self._port, "GET", f"/p/{letter.token}") for letter in letters]
        yield self._page("landing page", self._plan(gets, rate, 200, "</html>"))[0]
        page, claimed = self._page("claim", self._plan(self._claims(letters), rate, 303))
        yield page
        gets = [_request(self._port, "GET", "/message", cookie) for cookie in claimed.cookies]
        yield self._page("message page", self._plan(gets, rate, 200, "drawing.bin"))[0]
        # The parts of a message are counted as they come: text, HTML, the file.
        gets = [_request(self._port, "GET", "/message/attachments/3", cookie) for cookie in claimed.cookies]
        digest = hashlib.sha256(ATTACHMENT).hexdigest()
        yield self._page(f"attachment of {len(ATTACHMENT) // 1000} kB", self._plan(gets, rate, 200, sha256=digest))[0]
        yield self._page(CODE, self._plan(self._claims(coded), self._visits.code_rate, 303))[0]

    def _claims(self, letters: list[Letter]) -> list[str]:
        """The form of the link's page, filled in; one browser's cookie does for all, as the work is the same."""
        form_key = self._visitor.form_key(f"/p/{letters[0].token}")
        cookie = self._visitor.headers()["Cookie"]
        return [
            _request(
                self._port,
                "POST",
                f"/p/{letter.token}/open",
                cookie,
                urlencode({"form_key": form_key, "number": letter.number, "code": letter.code}),
            )
            for letter in letters
        ]

    def _plan(self, requests: list[str], rate: float, status: int, contains: str = "", *, sha256: str = "") -> Plan:
        return Plan(self._port, rate, self._visits.count(rate)[1], requests, status, contains, sha256)

    def _page(self, name: str, plan: Plan, family: Family | None = None) -> tuple[Page, Outcome]:
        family = family or self._family
        before = family.cpu_seconds()
        outcome = _visit(name, plan)
        cpu = (family.cpu_seconds() - before) * 1e3 / len(plan.requests)
        times = sorted(outcome.milliseconds)
        p50, p99 = (times[ceil(share * len(times)) - 1] for share in (0.5, 0.99))
        page = Page(self._database, name, plan.rate, len(times) / outcome.seconds, p50, p99, cpu, len(times))
        self._say(f"  {self._database}, {name}: {page.rate:.1f}/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, {cpu:.2f} ms")
        return page, outcome


def _request(port: int, method: str, path: str, cookie: str = "", form: str = "") -> str:
    fields = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close", "Accept-Language: en-GB,en"]
    if cookie:
        fields.append(f"Cookie: {cookie}")
    if form:
        fields += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(form)}"]
    return "\r\n".join((*fields, "", form))


def _visit(name: str, plan: Plan) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.web_client"],
        input=json.dumps(asdict(plan)),
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * LONGEST_SECONDS + len(plan.requests) / plan.rate,
    )
    if done.returncode != 0:
        raise LabError(f"{name}: {done.stderr[-800:]}")
    return Outcome(**json.loads(done.stdout))
