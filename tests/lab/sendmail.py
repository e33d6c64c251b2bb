"""Debian's Sendmail, unpacked and never installed, beside Postfix: configuration, queue and log in one directory.

``tools/sendmail-packages`` unpacks it into ``.cache/sendmail``.  It runs in a namespace and listens on port 25 of the
namespace's own address alone, so that Restante's intake can have port 25 of a loopback address.  It logs to a
``/dev/log`` of its own; the queue is run every second.
"""

from __future__ import annotations

import contextlib
import os
import re
import smtplib
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.netns import Host, run_command
from tests.lab.process import Process, Processes, wait_for_service
from tests.lab.waiting import LabError, tcp_port_answers, wait_until

UNPACKED = Path(__file__).resolve().parents[2] / ".cache" / "sendmail"
CF_DIRECTORY = f"{UNPACKED}/usr/share/sendmail/cf/"
START_SECONDS = 20.0
QUEUE_RUN = "1s"
# Sendmail trusts no socket below a directory that everyone can write to, such as /tmp.
SOCKETS_SEEN = Path("/srv")
_DEVICES = ("null", "zero", "random", "urandom")

_MC = """\
divert(-1)
divert(0)dnl
include(`{cf}m4/cf.m4')dnl
VERSIONID(`the lab')dnl
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `{hostname}')dnl
define(`confPID_FILE', `{directory}/sendmail.pid')dnl
define(`QUEUE_DIR', `{queue}')dnl
define(`STATUS_FILE', `{directory}/statistics')dnl
define(`ALIAS_FILE', `{directory}/aliases')dnl
define(`confCONTROL_SOCKET_NAME', `')dnl
define(`confCACERT', `{ca_file}')dnl
define(`confCACERT_PATH', `{ca_directory}')dnl
define(`confLOG_LEVEL', `14')dnl
define(`confMIN_QUEUE_AGE', `0')dnl
define(`confTO_ICONNECT', `5s')dnl
define(`confTO_CONNECT', `5s')dnl
define(`confTO_INITIAL', `10s')dnl
define(`confTO_HELO', `10s')dnl
define(`confTO_STARTTLS', `5s')dnl
define(`confTO_IDENT', `0')dnl
dnl The more dangerous setting: what must not go in clear has to be held back by tls_rcpt alone.
define(`confTLS_FALLBACK_TO_CLEAR', `true')dnl
define(`confTO_QUEUEWARN', `')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
define(`confDELAY_LA', `0')dnl
define(`confDONT_PROBE_INTERFACES', `True')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`mailertable', `text -o {directory}/mailertable')dnl
FEATURE(`accept_unresolvable_domains')dnl
RELAY_DOMAIN(`{relay}')dnl
DAEMON_OPTIONS(`Name=MTA, Family=inet, Addr={address}, Port=25')dnl
dnl More recipients than this, and the envelope is split into several queue files.
QUEUE_GROUP(`mqueue', `P={queue}, F=f, r=4')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
{lines}"""


@dataclass(frozen=True, slots=True)
class SendmailConfig:
    """What a test adds: ``mc`` lines at the end of ``sendmail.mc``; ``relay`` as for Postfix."""

    hostname: str = "mta.example"
    mc: str = ""
    relay: Mapping[str, str] = field(default_factory=dict)


class PrivateSendmail:
    """One Sendmail under ``directory`` in the namespace ``host``."""

    def __init__(self, directory: Path, processes: Processes, *, host: Host, ca_file: Path) -> None:
        self.directory = directory
        self.queue = directory / "spool"
        self.sockets = directory / "run"
        self.cf = directory / "sendmail.cf"
        self._log = directory / "mail.log"
        self._devices = directory / "dev"
        self._processes, self._host, self._ca_file = processes, host, ca_file
        self._process: Process | None = None
        self._hostname = "mta.example"
        self._syslog: socket.socket | None = None

    @property
    def port(self) -> int:
        """The port that takes mail."""
        return 25

    @property
    def address(self) -> str:
        """The address that it listens on."""
        return self._host.ipv4

    def prepare(self) -> None:
        """Make its directories and its ``/dev/log``.  Raises :class:`LabError` where Sendmail is not unpacked."""
        if not (UNPACKED / ".complete").exists():
            raise LabError("Sendmail is not there: run tools/sendmail-packages")
        for path in (self.directory, self.queue, self.sockets, self._devices):
            path.mkdir(mode=0o755, exist_ok=True)
            path.chmod(0o755)
        self.queue.chmod(0o700)
        for name in ("aliases", "mailertable", "statistics", *(f"dev/{device}" for device in _DEVICES)):
            (self.directory / name).touch(mode=0o644)
        self._syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._syslog.bind(os.fspath(self._devices / "log"))
        threading.Thread(target=self._write_log, args=(self._syslog,), name="sendmail-log", daemon=True).start()

    def configure(self, config: SendmailConfig) -> None:
        """Write the configuration; m4 makes ``sendmail.cf``.  Raises :class:`LabError` with what m4 says."""
        table = "".join(f"{domain}\trelay:[{address}]\n" for domain, address in config.relay.items())
        (self.directory / "mailertable").write_text(table, encoding="ascii")
        self._hostname = config.hostname
        source = _MC.format(
            cf=CF_DIRECTORY,
            hostname=config.hostname,
            directory=self.directory,
            queue=self.queue,
            ca_file=self._ca_file,
            ca_directory=self._ca_file.parent,
            relay=" ".join((self._host.ipv4, *config.relay)),
            address=self._host.ipv4,
            lines=config.mc,
        )
        (self.directory / "sendmail.mc").write_text(source, encoding="utf-8")
        self.cf.write_text(compiled(self.directory / "sendmail.mc"), encoding="utf-8")
        self.cf.chmod(0o644)

    def start(self) -> None:
        """Start it and wait for its greeting.  Raises :class:`LabError` with the log when it does not come."""
        self._process = self._processes.start("sendmail", self._argv(["-bD", f"-q{QUEUE_RUN}"]))
        try:
            wait_for_service(self._process, self._answers, START_SECONDS)
        except LabError as error:
            raise LabError(f"{error}\n{self.log()[-3000:]}") from None

    def run(self, arguments: Sequence[str], *, check: bool = True, text: str | None = None) -> str:
        """Run Sendmail once with ``arguments`` where the daemon runs, ``text`` as its input; its output."""
        return run_command(self._argv(arguments), check=check, text=text).stdout

    def queued(self) -> list[str]:
        """The queue ids of what is queued."""
        return [path.name[2:] for path in self.queue.glob("qf*")]

    def waiting(self) -> set[str]:
        """The recipients of what is in the queue, as Sendmail knows them."""
        found: set[str] = set()
        for path in self.queue.glob("qf*"):
            with contextlib.suppress(FileNotFoundError):  # it has just been delivered
                text = path.read_text(encoding="utf-8", errors="replace")
                found.update(re.findall(r"^R[A-Z]*:?<?([^<>\s]+@[^<>\s]+)", text, re.MULTILINE))
        return found

    def flush(self) -> None:
        """Try everything in the queue again now."""
        self.run(["-q"])

    def clear(self) -> None:
        """Delete everything in the queue."""
        for path in self.queue.iterdir():
            path.unlink(missing_ok=True)

    def log(self) -> str:
        """Everything logged so far."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def wait_for_log(self, pattern: str, seconds: float = 15, *, after: int = 0) -> re.Match[str]:
        """The first match of ``pattern`` in the log beyond ``after`` characters.  Raises :class:`LabError`."""
        found = wait_until(lambda: re.search(pattern, self.log()[after:]), seconds, f"{pattern!r} in the mail log")
        if found is None:
            raise LabError(pattern)
        return found

    def close(self) -> None:
        """Stop taking log lines."""
        if self._syslog is not None:
            self._syslog.close()

    def _argv(self, arguments: Sequence[str]) -> list[str]:
        """``ip netns exec`` gives each command a mount namespace of its own: this one gets another ``/dev``."""
        binds = " && ".join(f"mount --bind /dev/{name} {self._devices}/{name}" for name in _DEVICES)
        program = UNPACKED / "usr/libexec/sendmail/sendmail"
        mounts = f"mount --bind {self.sockets} {SOCKETS_SEEN} && mount --bind {self._devices} /dev"
        script = f'hostname {self._hostname} && {binds} && {mounts} && exec "$@"'
        return self._host.argv(
            ["unshare", "--uts", "sh", "-c", script, "sh", "env", _LIBRARIES, str(program), f"-C{self.cf}", *arguments]
        )

    def _write_log(self, source: socket.socket) -> None:
        with self._log.open("ab") as log:
            while True:
                try:
                    line = source.recv(65_536)
                except OSError:
                    return
                log.write(line.partition(b">")[2].rstrip(b"\0\n") + b"\n")
                log.flush()

    def _answers(self) -> bool:
        def greeted() -> bool:
            if not tcp_port_answers(self.address, self.port):
                return False
            try:
                with smtplib.SMTP(self.address, self.port, timeout=5) as client:
                    return client.noop()[0] == 250
            except (OSError, smtplib.SMTPException):
                return False

        return self._host.call(greeted)


_LIBRARIES = f"LD_LIBRARY_PATH={UNPACKED}/usr/lib/x86_64-linux-gnu"


def compiled(mc: Path) -> str:
    """The ``sendmail.cf`` that m4 makes of ``mc``.  Raises :class:`LabError` with what m4 says."""
    argv = [str(UNPACKED / "usr/bin/m4"), f"-D_CF_DIR_={CF_DIRECTORY}", str(mc)]
    done = run_command(["env", _LIBRARIES, *argv])
    if done.stderr:
        raise LabError(f"m4 complains: {done.stderr}")
    return done.stdout
