"""A whole Postfix of our own: configuration, queue, data and log in one directory.

It runs beside an installed Postfix and shares nothing with it but the programs.  In a namespace it listens on port
25; without one, on the loopback port that it is given.  Retries come within a second or two.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import smtplib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.netns import Host, run_command
from tests.lab.process import Process, Processes, wait_for_service
from tests.lab.waiting import LabError, tcp_port_answers, wait_until

START_SECONDS = 20.0

# Name, owner, group, mode: what `postfix set-permissions` would make, without asking it to look elsewhere.
_QUEUE_DIRECTORIES = (
    *((name, "postfix", "root", 0o700) for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush")),
    *((name, "postfix", "root", 0o700) for name in ("hold", "incoming", "private", "saved", "trace")),
    ("maildrop", "postfix", "postdrop", 0o1730),
    ("public", "postfix", "postdrop", 0o2710),
    ("pid", "root", "root", 0o755),
    ("restante", "root", "postfix", 0o2770),
)

# qmgr wakes every two seconds: with deliveries tried again after one, it meets messages that are still locked, puts
# them back into "incoming", and looks there again only when it is woken.
_SERVICES = """\
{listen} inet n - n - - smtpd
pickup    unix  n - n 60    1 pickup
cleanup   unix  n - n -     0 cleanup
qmgr      unix  n - n 2     1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n -     - trivial-rewrite
bounce    unix  - - n -     0 bounce
defer     unix  - - n -     0 bounce
trace     unix  - - n -     0 bounce
verify    unix  - - n -     1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -     - proxymap
proxywrite unix - - n -     1 proxymap
smtp      unix  - - n -     - smtp
relay     unix  - - n -     - smtp
showq     unix  n - n -     - showq
error     unix  - - n -     - error
retry     unix  - - n -     - error
discard   unix  - - n -     - discard
local     unix  - n n -     - local
anvil     unix  - - n -     1 anvil
scache    unix  - - n -     1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, slots=True)
class PostfixConfig:
    """What a test adds: ``main_cf`` settings, ``master_cf`` lines, and files beside them (name to text).

    ``master_options`` are set on the services of master.cf, as ``postconf -P`` takes them.  ``port`` is the smtpd's,
    on all addresses of a namespace or on 127.0.0.1 of the host.  ``relay`` maps domains of this site to the address of
    the host that keeps their mailboxes.
    """

    hostname: str = "mta.example"
    port: int = 25
    main_cf: Mapping[str, str] = field(default_factory=dict)
    master_cf: str = ""
    master_options: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    relay: Mapping[str, str] = field(default_factory=dict)


class PrivatePostfix:
    """One Postfix instance under ``directory``, in the namespace ``host`` or, without one, on the host's loopback."""

    def __init__(
        self, directory: Path, processes: Processes, *, host: Host | None, ca_file: Path, name: str = "postfix-lab"
    ) -> None:
        self.directory = directory
        self.config = directory / "etc"
        self.queue = directory / "spool"
        self._log = directory / "log" / "mail.log"
        self._data = directory / "data"
        self._processes = processes
        self._host = host
        self._ca_file = ca_file
        self._name = name
        self._process: Process | None = None
        self._port = 25

    @property
    def address(self) -> str:
        """The address that its smtpd listens on."""
        return self._host.ipv4 if self._host else "127.0.0.1"

    @property
    def log_path(self) -> Path:
        """The file that it logs to."""
        return self._log

    @property
    def port(self) -> int:
        """The port of its smtpd."""
        return self._port

    def prepare(self) -> None:
        """Make its directories, so that a milter can put its socket into ``queue / "restante"`` before the start."""
        for path in (self.directory, self.config, self.queue, self._log.parent):
            path.mkdir(mode=0o755, exist_ok=True)
            path.chmod(0o755)
        for name, owner, group, mode in _QUEUE_DIRECTORIES:
            path = self.queue / name
            path.mkdir(exist_ok=True)
            shutil.chown(path, owner, group)
            path.chmod(mode)
        self._data.mkdir(mode=0o700, exist_ok=True)
        os.chown(self._data, pwd.getpwnam("postfix").pw_uid, -1)

    def configure(self, config: PostfixConfig) -> None:
        """Write main.cf, master.cf and the extra files.  A running instance takes them over with :meth:`reload`."""
        self._port = config.port
        settings = {**self._base(config), **config.main_cf}
        (self.config / "main.cf").write_text(
            "".join(f"{name} = {value}\n" for name, value in settings.items()), encoding="utf-8"
        )
        listen = str(config.port) if self._host else f"127.0.0.1:{config.port}"
        (self.config / "master.cf").write_text(_SERVICES.format(listen=listen) + config.master_cf, encoding="utf-8")
        for name, text in config.files.items():
            (self.config / name).write_text(text, encoding="utf-8")
        if config.master_options:
            options = [f"{option}={value}" for option, value in config.master_options.items()]
            run_command(["postconf", "-c", str(self.config), "-P", *options])

    def start(self) -> None:
        """Start the master and wait for its smtpd.  Raises :class:`LabError` with the log when it does not come.

        The master itself, not ``postfix start``: that first walks through the whole installation, and refuses where
        the installed Postfix has several instances.
        """
        master = Path(run_command(["postconf", "-d", "-h", "daemon_directory"]).stdout.strip()) / "master"
        self._process = self._processes.start(self._name, self._argv([str(master), "-c", str(self.config), "-s"]))
        try:
            wait_for_service(self._process, self._answers, START_SECONDS)
        except LabError as error:
            raise LabError(f"{error}\n{self.log()[-3000:]}") from None

    def stop(self) -> None:
        """Stop the master and everything under it; the queue stays."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def reload(self) -> None:
        """Make it read its configuration again."""
        self.run(["postfix", "-c", str(self.config), "reload"])

    def run(self, argv: Sequence[str], *, check: bool = True) -> str:
        """Run a Postfix command where the instance runs and return its output."""
        return run_command(self._argv(argv), check=check).stdout

    def _argv(self, argv: Sequence[str]) -> list[str]:
        return self._host.argv(argv) if self._host else list(argv)

    def _answers(self) -> bool:
        # The greeting, not the listening socket: master opens that before smtpd can serve.
        def greeted() -> bool:
            if not tcp_port_answers(self.address, self._port):
                return False
            try:
                with smtplib.SMTP(self.address, self._port, timeout=5) as client:
                    return client.noop()[0] == 250
            except (OSError, smtplib.SMTPException):
                return False

        return self._host.call(greeted) if self._host else greeted()

    def queued(self) -> list[dict[str, Any]]:
        """The queue as ``postqueue -j`` shows it, one entry a message."""
        return [json.loads(line) for line in self.run(["postqueue", "-c", str(self.config), "-j"]).splitlines()]

    def waiting(self) -> set[str]:
        """The recipients of what is in the queue."""
        return {one["address"] for entry in self.queued() for one in entry["recipients"]}

    def flush(self) -> None:
        """Try everything in the queue again now."""
        self.run(["postqueue", "-c", str(self.config), "-f"])

    def kick_pickup(self) -> None:
        """Have what was put into the maildrop taken in now; Postfix itself looks once a minute."""

        def kicked() -> bool:
            # A pickup that leaves because it was idle takes the wish with it: postkick dies of SIGPIPE.
            argv = self._argv(["postkick", "-c", str(self.config), "public", "pickup", "W"])
            return run_command(argv, check=False).returncode == 0

        wait_until(kicked, 10, "pickup to be there")

    def wait_empty(self, seconds: float = 20) -> None:
        """Wait until nothing is queued.  Raises :class:`LabError` with what still is."""
        try:
            wait_until(lambda: not self.queued(), seconds, "an empty queue")
        except LabError as error:
            raise LabError(f"{error}: {self.queued()}") from None

    def clear(self) -> None:
        """Delete everything in the queue."""
        self.run(["postsuper", "-c", str(self.config), "-d", "ALL"])

    def log(self) -> str:
        """Everything logged so far."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def wait_for_log(self, pattern: str, seconds: float = 15, *, after: int = 0) -> re.Match[str]:
        """The first match of ``pattern`` in the log beyond ``after`` characters.  Raises :class:`LabError`."""
        found = wait_until(lambda: re.search(pattern, self.log()[after:]), seconds, f"{pattern!r} in the mail log")
        if found is None:
            raise LabError(pattern)
        return found

    def _base(self, config: PostfixConfig) -> dict[str, str]:
        relay = " ".join(f"{{ {domain} = relay:[{address}] }}" for domain, address in config.relay.items())
        return {
            "compatibility_level": "3.6",
            "queue_directory": str(self.queue),
            "data_directory": str(self._data),
            "syslog_name": self._name,
            "maillog_file": str(self._log),
            "maillog_file_prefixes": str(self.directory),
            "myhostname": config.hostname,
            "mydestination": "",
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            "local_transport": "error:no local delivery",
            "inet_protocols": "ipv4",
            "inet_interfaces": "all" if self._host else "loopback-only",
            "mynetworks": f"127.0.0.0/8{' ' + self._host.ipv4 if self._host else ''}",
            "relay_domains": " ".join(config.relay),
            "transport_maps": f"inline:{{ {relay} }}" if relay else "",
            "smtpd_relay_restrictions": "permit_mynetworks reject_unauth_destination",
            "smtpd_peername_lookup": "no",
            "message_size_limit": "104857600",
            "mailbox_size_limit": "0",
            "smtp_tls_security_level": "may",
            "smtp_tls_CAfile": str(self._ca_file),
            "smtp_tls_loglevel": "1",
            "queue_run_delay": "1s",
            "minimal_backoff_time": "1s",
            "maximal_backoff_time": "2s",
            "smtp_connect_timeout": "5s",
            "smtp_helo_timeout": "10s",
            "smtp_starttls_timeout": "5s",
            "smtpd_client_connection_count_limit": "0",
            "smtpd_client_connection_rate_limit": "0",
            "smtpd_client_message_rate_limit": "0",
            "in_flow_delay": "0",
            "bounce_queue_lifetime": "0",
            "delay_warning_time": "0",
            # A dead destination must be asked again at the next retry, not after a minute.
            "transport_retry_time": "1s",
            "master_service_disable": "",
        }
