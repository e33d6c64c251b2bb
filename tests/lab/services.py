"""Restante's three services in the lab, from ``restante init`` to the moment when each of them answers.

Milter and worker run in the MTA's namespace; the portal runs on the host's own loopback, so that a browser there
reaches it.  Each can be killed, paused and started again by a test, with environment variables of the test's choice.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from restante.postfix import Site, render
from restante.settings import Settings, load_settings
from tests.installed import install
from tests.lab.netns import Host, run_command
from tests.lab.postfix import PostfixConfig, PrivatePostfix
from tests.lab.process import Process, Processes, wait_for_service
from tests.lab.waiting import LabError, free_port, milter_answers, tcp_port_answers, unix_socket_answers

READY_SECONDS = 30.0
RESTANTE = Path(sys.executable).with_name("restante")

# Placed before the rules that `restante init` writes.
REVIEW_RULE = """
[[rule]]
name = "review"
action = "quarantine"
when = [{ detectors = ["lexicon:nightfall"], confidence = "medium" }]
"""
REVIEW_LEXICON = """
[[lexicon]]
name = "nightfall"
confidence = "medium"
words = ["project nightfall"]
"""

# A lab is not the internet: what takes a minute there takes a second here.
QUICK = {
    "worker.poll_seconds": "0.2",
    "worker.retry_first_seconds": "1",
    "worker.retry_last_seconds": "2",
    "tls.dns_seconds": "2",
    "tls.connect_seconds": "2",
    "tls.banner_seconds": "6",
    "tls.total_seconds": "10",
    "tls.confirm_pause_seconds": "0.1",
    "tls.canaries": "[]",
    "milter.verdict_seconds": "15",
    "log_level": "debug",
}


class Service(StrEnum):
    """The services, in the order in which they start."""

    WORKER = "worker"
    MILTER = "milter"
    PORTAL = "portal"


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """What a test changes.

    ``settings`` are ``section.key`` and TOML values; ``policy`` is TOML put before the standard policy's rules;
    ``database`` is a URL, SQLite in the run directory when empty; ``env`` goes to every service; ``portal_port`` 0
    takes a free one.  ``run`` are the services to start at first.
    """

    settings: Mapping[str, str] = field(default_factory=dict)
    policy: str = REVIEW_RULE
    policy_end: str = REVIEW_LEXICON
    database: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    portal_port: int = 0
    run: tuple[Service, ...] = tuple(Service)


class RestanteServices:
    """An installation in ``directory``, with its sockets in ``sockets``, inside Postfix's queue directory."""

    def __init__(
        self, directory: Path, processes: Processes, mta: Host, sockets: Path, ca_file: Path, options: ServiceOptions
    ) -> None:
        self.directory = directory
        self.settings_path = directory / "restante.toml"
        self._processes, self._mta, self._sockets, self._ca_file = processes, mta, sockets, ca_file
        self._options = options
        self._running: dict[Service, Process] = {}
        self._installed: Settings | None = None

    @property
    def settings(self) -> Settings:
        """The settings as the services read them."""
        if self._installed is None:
            raise LabError("Restante is not installed in this lab")
        return self._installed

    @property
    def portal_url(self) -> str:
        """The portal's address, without a slash at the end."""
        return self.settings.portal.url

    def command(self, *arguments: str, check: bool = True) -> str:
        """Run ``restante`` with this installation's settings in the MTA's namespace and return its output."""
        argv = [str(RESTANTE), "--settings", str(self.settings_path), *arguments]
        return run_command(self._mta.argv(argv), check=check).stdout

    def install(self) -> None:
        """``restante init``, the policy, and an up-to-date database."""
        port = self._options.portal_port or free_port()
        changes = {
            **QUICK,
            "milter.socket": str(self._sockets / "milter.sock"),
            "worker.socketmap": str(self._sockets / "worker.sock"),
            "portal.listen": f"127.0.0.1:{port}",
            "tls.ca_file": str(self._ca_file),
            **self._options.settings,
        }
        argv = ["--directory", str(self.directory), "--hostname", "mta.example"]
        argv += ["--organisation", "Restante lab", "--portal-url", f"http://127.0.0.1:{port}"]
        argv += ["--notice-sender", "restante@site.example", "--internal-domain", "site.example"]
        argv += ["--database", self._options.database or f"sqlite:///{self.directory}/restante.db"]
        argv += ["--set", f"ring.path={self.directory}-ring/ring.db"]
        for name, value in changes.items():
            argv += ["--set", f"{name}={value}"]
        install(self.settings_path, argv)
        policy = self.directory / "policy.toml"
        text = policy.read_text(encoding="utf-8")
        head, first, rest = text.partition("[[rule]]")
        policy.write_text(f"{head}{self._options.policy}\n{first}{rest}\n{self._options.policy_end}", encoding="utf-8")
        self._installed = load_settings(self.settings_path)

    def start(self, *services: Service, env: Mapping[str, str] | None = None) -> None:
        """Start ``services``, or those of the options, and wait until each answers.

        ``env`` is added to the environment, for crash points.  Raises :class:`LabError` with the log.
        """
        self.launch(*services, env=env)
        self.await_ready(*services)

    def launch(self, *services: Service, env: Mapping[str, str] | None = None) -> None:
        """Start ``services``, or those of the options, without waiting; :meth:`await_ready` does."""
        for service in services or self._options.run:
            if service in self._running and self._running[service].alive:
                raise LabError(f"{service} runs already")
            argv = [str(RESTANTE), "--settings", str(self.settings_path), service.value]
            self._running[service] = self._processes.start(
                f"restante-{service}",
                argv if service is Service.PORTAL else self._mta.argv(argv),
                env={**self._options.env, **(env or {})},
            )

    def await_ready(self, *services: Service) -> None:
        """Wait until ``services``, or those of the options, answer.  Raises :class:`LabError` with the log."""
        for service in services or self._options.run:
            wait_for_service(self._running[service], self._readiness(service), READY_SECONDS)

    def process(self, service: Service) -> Process:
        """The process of ``service``: ``kill``, ``pause``, ``resume``, ``signal``, ``log_text``."""
        return self._running[service]

    def runs(self, service: Service) -> bool:
        """Whether ``service`` was started and has not exited."""
        return service in self._running and self._running[service].alive

    def stop(self, *services: Service) -> None:
        """Stop ``services``, or all of them, in good order."""
        for service in services or tuple(reversed(Service)):
            if service in self._running:
                self._running.pop(service).stop()

    def restart(self, *services: Service, env: Mapping[str, str] | None = None) -> None:
        """Stop and start ``services``, or all of those of the options."""
        self.stop(*services)
        self.start(*services, env=env)

    def wire(self, config: PostfixConfig, postfix: PrivatePostfix) -> PostfixConfig:
        """``config`` for ``postfix`` with Restante attached, in the lines that ``restante postfix`` prints."""
        site = Site(config_directory=postfix.config, queue_directory=postfix.queue, smtpd_chrooted=False)
        lines = render(self.settings, site)
        return replace(
            config,
            main_cf={**config.main_cf, **lines.main_cf},
            master_cf=config.master_cf + lines.master_cf,
            master_options=lines.master_options,
            files={**config.files, **{path.name: text for path, text in lines.files.items()}},
        )

    def _readiness(self, service: Service) -> Callable[[], bool]:
        if service is Service.PORTAL:
            address = self.settings.portal.listen
            return lambda: tcp_port_answers(address.host, address.port)
        if service is Service.MILTER:
            return lambda: milter_answers(self.settings.milter.socket)
        intake = self.settings.worker.intake
        return lambda: (
            unix_socket_answers(self.settings.worker.socketmap)
            and self._mta.call(lambda: tcp_port_answers(intake.host, intake.port))
        )
