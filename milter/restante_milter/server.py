"""The milter service: one parent, several children, one unix socket.

The parent opens the socket, owns its path, restarts children that die and replaces those that ask for it.  It runs
no threads and holds no store.  A child serves sessions until it is told to drain: it then takes no new sessions,
finishes those it has, and exits.  A child whose parent is gone drains too.

libmilter unlinks, on exit of an unprivileged process, the path that it opened; so it opens a private name, which the
parent then renames to the public one.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import Milter
import structlog

from restante.errors import RestanteError
from restante.settings import Settings
from restante_milter.services import PolicyInForce, Services
from restante_milter.session import Session

DRAIN_SECONDS = 60
FAST_DEATH_SECONDS = 1.0
BACKLOG = 512
# Who writes to the store needs the interpreter again after each statement, not after a whole classification.
SWITCH_SECONDS = 0.0005
# libmilter looks at its listening descriptor again at least this often (MI_CHK_TIME is 5 seconds).
LISTENER_SECONDS = 6.0
_RELOAD, _DRAIN, _STOP, _REPLACE_ME = b"r", b"d", b"s", b"x"

log = structlog.get_logger()


class CannotListen(RestanteError):
    """The milter socket cannot be opened.  The text says why; the service must not start."""


@dataclass(slots=True)
class _Child:
    """The parent's view of a child.  ``control`` carries one-byte orders down and the wish to be replaced up."""

    pid: int
    control: socket.socket
    started: float
    draining: bool = False
    silent: bool = False  # its end of ``control`` is closed: it is going away, and there is nothing to wait for


class Parent:
    """Owns the socket and the children.  :meth:`run` returns when the service was told to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._children: dict[int, _Child] = {}
        self._listener = -1
        self._stopping = False
        self._signals: tuple[int, int] = (-1, -1)
        self._in_force: PolicyInForce

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.  Raises :class:`CannotListen`, ``BadFile`` or ``BadCredential`` at once."""
        # A mistake in settings, policy or keys shows here, not in a child.
        self._in_force = PolicyInForce.load(self._settings)
        self._in_force.classifier.warm_up()
        Services.build(self._settings, self._in_force).store.close()
        gc.freeze()  # what the children share is not to be copied for a look at it
        self._listener = _open_socket(self._settings.milter.socket)
        # A child that another one beat to a session must not wait in accept(): it could then never drain.
        os.set_blocking(self._listener, False)
        self._catch_signals()
        for _ in range(self._settings.milter.processes):
            self._start_child()
        log.info("milter-ready", socket=str(self._settings.milter.socket), processes=self._settings.milter.processes)
        try:
            while self._children:
                self._wait()
        finally:
            with contextlib.suppress(FileNotFoundError):
                self._settings.milter.socket.unlink()
        log.info("milter-stopped")

    def _catch_signals(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        os.set_blocking(reader, False)
        self._signals = (reader, writer)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def _wait(self) -> None:
        """Sleep until a signal or a child's wish, or until a child that died at once may be started again."""
        controls = {child.control.fileno(): child for child in self._children.values() if not child.silent}
        ready, _, _ = select.select([self._signals[0], *controls], [], [])
        if self._signals[0] in ready:
            received = set(os.read(self._signals[0], 4096))
            if received & {signal.SIGTERM, signal.SIGINT}:
                self._stop()
            if signal.SIGHUP in received:
                self._reload()
            self._reap()
        for control in ready:
            if control in controls:
                self._answer(controls[control])

    def _stop(self) -> None:
        self._stopping = True
        for child in self._children.values():
            _order(child, _STOP)

    def _reload(self) -> None:
        try:
            self._in_force = PolicyInForce.load(self._settings)
        except RestanteError as error:
            log.error("policy-refused", error=str(error), in_force="the one before")
            return
        for child in self._children.values():
            _order(child, _RELOAD)
        log.info("policy-reloaded")

    def _answer(self, child: _Child) -> None:
        try:
            wish = child.control.recv(1)
        except OSError:
            wish = b""
        if wish == _REPLACE_ME and not child.draining:
            child.draining = True
            _order(child, _DRAIN)
            if not self._stopping:
                self._start_child()
        elif not wish:
            child.silent = True  # SIGCHLD follows; until then the closed socket must not keep select awake

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is None:
                continue
            child.control.close()
            if child.draining or self._stopping:
                continue
            log.error("child-died", pid=pid, status=os.waitstatus_to_exitcode(status))
            if time.monotonic() - child.started < FAST_DEATH_SECONDS:
                time.sleep(FAST_DEATH_SECONDS)  # do not spin on something that will not start
            self._start_child()

    def _start_child(self) -> None:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                ours.close()
                for other in self._children.values():
                    other.control.close()
                self._forget_signals()
                status = Child(self._settings, self._in_force, self._listener, theirs).run()
            # The boundary of the process: the parent logs the exit status and starts another.
            except BaseException as error:  # noqa: BLE001
                log.error("child-failed", error=f"{type(error).__name__}: {error}"[:300])
            finally:
                os._exit(status)
        theirs.close()
        self._children[pid] = _Child(pid, ours, time.monotonic())

    def _forget_signals(self) -> None:
        signal.set_wakeup_fd(-1)
        for descriptor in self._signals:
            os.close(descriptor)
        for number in (signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        # A terminal's Ctrl-C reaches everyone in the group: the parent decides what it means.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _order(child: _Child, order: bytes) -> None:
    with contextlib.suppress(OSError):
        child.control.send(order)


def _open_socket(path: Path) -> int:
    """Open the milter socket in this process and give it its public name.  Returns its descriptor."""
    private = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        private.unlink()
    Milter.setconn(f"unix:{private}")
    Milter.setbacklog(BACKLOG)
    Milter.set_exception_policy(Milter.TEMPFAIL)
    mask = os.umask(0o117)
    try:
        Milter.register("restante", data=_call("data"), unknown=_call("unknown"), negotiate=Milter.negotiate_callback)
        Milter.opensocket(True)
        private.rename(path)
    except (Milter.error, OSError) as error:
        raise CannotListen(
            f"{path}: cannot open the milter socket: {error}. Check that its folder exists and is ours"
        ) from None
    finally:
        os.umask(mask)
    return _descriptor_of(private, path)


def _descriptor_of(opened_as: Path, path: Path) -> int:
    """The descriptor of the socket that the milter library has just opened and does not tell us."""
    for name in [entry.name for entry in Path("/proc/self/fd").iterdir()]:
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as candidate:
            if candidate.family == socket.AF_UNIX and candidate.getsockname() == str(opened_as):
                return int(name)
    raise CannotListen(f"{path}: the milter library opened no listening socket")


def _call(name: str) -> Callable[..., int]:
    return lambda ctx, *arguments: getattr(ctx.getpriv(), name)(*arguments)


class Child:
    """Serves sessions in one process."""

    def __init__(self, settings: Settings, in_force: PolicyInForce, listener: int, control: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._control = control
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._open = 0
        self._handled = 0
        self._services = Services.build(settings, in_force)

    def run(self) -> int:
        """Serve until drained.  Returns the exit status."""
        _set_callbacks()
        Milter.factory = self._session
        Milter.settimeout(self._settings.milter.timeout_seconds)
        threading.Thread(target=self._obey, name="control", daemon=True).start()
        sys.setswitchinterval(SWITCH_SECONDS)
        Milter.main()
        return 0

    def _session(self) -> Session:
        with self._lock:
            self._open += 1
        return Session(self._services, self._finished_message, self._closed_session)

    def _finished_message(self) -> None:
        with self._lock:
            self._handled += 1
            due = self._handled == self._settings.milter.recycle_after
        if due:
            with contextlib.suppress(OSError):
                self._control.send(_REPLACE_ME)

    def _closed_session(self) -> None:
        with self._lock:
            self._open -= 1
            self._idle.notify_all()

    def _obey(self) -> None:
        """Carry out the parent's orders; end of file means that there is no parent any more."""
        while True:
            try:
                order = self._control.recv(1)
            except OSError:
                order = b""
            if order == _RELOAD:
                self._reload()
            else:
                self._drain(patience=LISTENER_SECONDS if order == _DRAIN else 0.0)

    def _reload(self) -> None:
        try:
            self._services.in_force = PolicyInForce.load(self._settings).with_extractor(self._services.extractor)
        except RestanteError as error:  # changed again since the parent looked: what was in force stays
            log.error("policy-refused", error=str(error), in_force="the one before")
        else:
            log.debug("policy-taken-over", pid=os.getpid())

    def _drain(self, *, patience: float) -> None:
        """Take no new sessions, wait for those that are open, and exit.

        ``patience`` is how long a session may still come in that the listener had in hand already, in seconds.

        libmilter cannot stop accepting without dropping its sessions, so its listening descriptor is replaced, in
        this process only, by a socket to which nobody connects.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as nowhere:
            nowhere.bind("")  # an abstract name that the kernel picks
            nowhere.listen(1)
            nowhere.setblocking(False)
            os.dup2(nowhere.fileno(), self._listener)
        time.sleep(patience)
        with self._idle:
            self._idle.wait_for(lambda: self._open <= 0, timeout=DRAIN_SECONDS)
        if self._services.learner is not None:
            self._services.learner.flush()
        os._exit(0)


def _set_callbacks() -> None:
    """What :func:`Milter.runmilter` registers, without its socket handling."""
    Milter.set_connect_callback(Milter.connect_callback)
    Milter.set_helo_callback(_call("hello"))
    Milter.set_envfrom_callback(_call("envfrom_bytes"))
    Milter.set_envrcpt_callback(_call("envrcpt_bytes"))
    Milter.set_header_callback(_call("header_bytes"))
    Milter.set_eoh_callback(_call("eoh"))
    Milter.set_body_callback(_call("body"))
    Milter.set_eom_callback(_call("eom"))
    Milter.set_abort_callback(_call("abort"))
    Milter.set_close_callback(Milter.close_callback)
