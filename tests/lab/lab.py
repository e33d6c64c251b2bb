"""The whole lab as one context manager: namespaces, DNS, peers, a private Postfix and, where asked for, Restante.

Everything lives below one run directory and in namespaces with this process's prefix.  It is removed at the end of
the ``with`` block, after an exception, Ctrl-C or SIGTERM, and at interpreter exit; what a killed process left is
removed by the next lab.
"""

from __future__ import annotations

import atexit
import itertools
import os
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

from restante.sendmail import render as render_for_sendmail
from restante.settings import Mta
from tests.lab import mail
from tests.lab.certificates import CertificateAuthority
from tests.lab.dns import DnsServer, Record, mail_host
from tests.lab.netns import RUN_ROOT, Network, cleanup
from tests.lab.peers import Peer
from tests.lab.postfix import PostfixConfig, PrivatePostfix
from tests.lab.process import Processes
from tests.lab.sendmail import SOCKETS_SEEN, PrivateSendmail, SendmailConfig
from tests.lab.services import RestanteServices, ServiceOptions
from tests.lab.waiting import LabError

MTA_NUMBER, DNS_NUMBER, FIRST_PEER_NUMBER = 2, 53, 100
SITE = "site.example"


@dataclass(frozen=True, slots=True)
class PeerSpec:
    """A peer to start: its domain, a name of :data:`tests.lab.behaviours.BEHAVIOURS`, and changes to that."""

    domain: str
    behaviour: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The short name: the domain's first label."""
        return self.domain.partition(".")[0]


# The mailboxes of the site's own users are on a host of their own, as behind most gateways.
MAILBOXES = PeerSpec(SITE, "clear")
STANDARD_PEERS = (
    PeerSpec("tls.example", "tls"),
    PeerSpec("clear.example", "clear"),
    PeerSpec("strip.example", "drops-tls"),
    PeerSpec("grey.example", "greylist"),
)
STANDARD_RECORDS = (Record("nullmx.example", "MX", "0 ."),)

_COUNTER = itertools.count(1)


class MailServer(Protocol):
    """What is asked of the site's MTA, whichever it is."""

    @property
    def port(self) -> int:
        """The port that takes mail."""

    def queued(self) -> Sequence[object]:
        """What is in the queue."""

    def waiting(self) -> set[str]:
        """The recipients of what is in the queue."""

    def flush(self) -> None:
        """Try everything in the queue again now."""

    def clear(self) -> None:
        """Delete everything in the queue."""

    def log(self) -> str:
        """Everything logged so far."""

    def wait_for_log(self, pattern: str, seconds: float = 15, *, after: int = 0) -> re.Match[str]:
        """The first match in the log.  Raises :class:`LabError`."""


class Lab:
    """See the module.  Attributes: ``mta`` (host), ``dns``, ``postfix`` or ``sendmail``, ``server`` (either),
    ``services`` (``None`` without Restante).

    ``peers`` are started beside the mailbox host of ``site.example``; more can be added with :meth:`add_peer`.
    ``records`` are in the DNS from the start.  ``missing.example`` does not exist, ``nullmx.example`` takes no mail.
    """

    def __init__(
        self,
        *,
        peers: Sequence[PeerSpec] = STANDARD_PEERS,
        with_restante: bool = True,
        postfix: PostfixConfig | None = None,
        options: ServiceOptions | None = None,
        mta: Mta = Mta.POSTFIX,
        records: Sequence[Record] = (),
    ) -> None:
        self._mta = mta
        self._records = (*STANDARD_RECORDS, *records)
        self._specs = (MAILBOXES, *peers)
        self._with_restante = with_restante
        self._postfix_config = postfix or PostfixConfig()
        self._options = options or ServiceOptions()
        self._peers: dict[str, Peer] = {}
        self._numbers = itertools.count(FIRST_PEER_NUMBER)
        self._previous_sigterm: Any = None
        self._owner = os.getpid()
        self._open = False
        self.services: RestanteServices | None = None
        self.server: MailServer

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Bring everything up.  Raises :class:`LabError`; call :meth:`close` then too."""
        cleanup()
        number = next(_COUNTER)
        prefix = f"rst{os.getpid()}-" + (f"{number}-" if number > 1 else "")
        self.directory = Path(tempfile.mkdtemp(prefix=prefix, dir=RUN_ROOT))
        self.directory.chmod(0o755)
        self._open = True
        self._catch_signals()
        self.processes = Processes(self.directory)
        self.network = Network(prefix)
        self.authority = CertificateAuthority(self.directory)
        self.network.open()
        self.mta = self.network.add_host("mta", MTA_NUMBER)
        dns_host = self.network.add_host("dns", DNS_NUMBER)
        records = [*mail_host(self._postfix_config.hostname, self._postfix_config.hostname, self.mta.ipv4)]
        for spec in self._specs:
            peer = self._launch(spec)
            records += mail_host(peer.domain, peer.mx, peer.host.ipv4)
        self.dns = DnsServer(self.network, dns_host, self._subdirectory("dns"), self.processes)
        self.dns.start([*records, *self._records])
        self._start_mta()

    def close(self) -> None:
        """Stop and remove everything.  Safe to call at any time and more than once."""
        if not self._open or os.getpid() != self._owner:
            return
        self._open = False
        atexit.unregister(self.close)
        if self._previous_sigterm is not None:
            signal.signal(signal.SIGTERM, self._previous_sigterm)
        for peer in self._peers.values():
            peer.stop()
        if hasattr(self, "processes"):
            self.processes.stop_all()
        if hasattr(self, "sendmail"):
            self.sendmail.close()
        if hasattr(self, "network"):
            self.network.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def peer(self, label: str) -> Peer:
        """The peer with this label (``tls``, ``clear``, ``strip``, ``grey``, ``site``) or domain."""
        return self._peers[label.partition(".")[0]]

    @property
    def peers(self) -> tuple[Peer, ...]:
        """Every peer that is there now, the site's mailbox host first."""
        return tuple(self._peers.values())

    @property
    def mailboxes(self) -> Peer:
        """The host that keeps the site's own mailboxes: what senders get is recorded here."""
        return self.peer(SITE)

    def add_peer(self, domain: str, behaviour: str, **changes: Any) -> Peer:
        """Start one more peer for ``domain``, with MX and A records in place at the return."""
        peer = self._launch(PeerSpec(domain, behaviour, changes))
        self.dns.replace(*mail_host(peer.domain, peer.mx, peer.host.ipv4))
        return peer

    def remove_peer(self, domain: str) -> None:
        """Take a peer that :meth:`add_peer` started away again, with its records in the DNS."""
        peer = self._peers.pop(domain.partition(".")[0])
        peer.stop()
        self.dns.delete(peer.domain)
        self.dns.delete(peer.mx)
        self.network.remove_host(peer.host)

    def send(
        self, content: bytes | EmailMessage, recipients: Sequence[str], *, sender: str = mail.SENDER, **options: Any
    ) -> mail.Submission:
        """Hand a message to Postfix's smtpd from inside its namespace; see :func:`tests.lab.mail.send`."""
        return mail.send(
            content, sender, recipients, host=self.mta, address=self.mta.ipv4, port=self.server.port, **options
        )

    def reset(self) -> None:
        """Forget what was received, empty the queue and give every peer its first behaviour again."""
        self.server.clear()
        for spec in self._specs:
            self.peer(spec.domain).behave(spec.behaviour, **spec.changes)
        for peer in self._peers.values():
            peer.reset()

    def _launch(self, spec: PeerSpec) -> Peer:
        if spec.label in self._peers:
            raise LabError(f"peer {spec.label} exists")
        host = self.network.add_host(spec.label, next(self._numbers))
        directory = self._subdirectory("peers") / spec.label
        shutil.rmtree(directory, ignore_errors=True)  # of an earlier peer with this label, which has left
        peer = Peer(spec.domain, host, directory, self.authority)
        self._peers[spec.label] = peer
        peer.behave(spec.behaviour, **spec.changes)
        return peer

    def _start_mta(self) -> None:
        if self._mta is Mta.SENDMAIL:
            self._start_sendmail()
            return
        config = self._postfix_config
        config = replace(config, relay={SITE: self.mailboxes.host.ipv4, **config.relay})
        self.postfix = PrivatePostfix(
            self.directory / "postfix", self.processes, host=self.mta, ca_file=self.authority.bundle
        )
        self.server = self.postfix
        self.postfix.prepare()
        if self._with_restante:
            self.services = self._launch_services(self.postfix.queue / "restante", self._options)
            config = self.services.wire(config, self.postfix)
        self.postfix.configure(config)
        self.postfix.start()
        if self.services is not None:
            self.services.await_ready()

    def _start_sendmail(self) -> None:
        self.sendmail = PrivateSendmail(
            self.directory / "sendmail", self.processes, host=self.mta, ca_file=self.authority.bundle
        )
        self.server = self.sendmail
        self.sendmail.prepare()
        config = SendmailConfig(relay={SITE: self.mailboxes.host.ipv4})
        if self._with_restante:
            changes = {"mta": '"sendmail"', "worker.intake": '"127.0.0.2:25"', **self._options.settings}
            self.services = self._launch_services(self.sendmail.sockets, replace(self._options, settings=changes))
            lines = render_for_sendmail(self.services.settings)
            config = replace(config, mc=lines.replace(str(self.sendmail.sockets), str(SOCKETS_SEEN)))
        self.sendmail.configure(config)
        self.sendmail.start()
        if self.services is not None:
            self.services.await_ready()

    def _launch_services(self, sockets: Path, options: ServiceOptions) -> RestanteServices:
        services = RestanteServices(
            self._subdirectory("restante"), self.processes, self.mta, sockets, self.authority.bundle, options
        )
        services.install()
        services.launch()
        return services

    def _subdirectory(self, name: str) -> Path:
        path = self.directory / name
        path.mkdir(exist_ok=True)
        return path

    def _catch_signals(self) -> None:
        atexit.register(self.close)
        if threading.current_thread() is threading.main_thread():
            self._previous_sigterm = signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM unwinds the ``with`` block as Ctrl-C does."""
    raise KeyboardInterrupt
