"""Network namespaces joined by one bridge, each with its own address, loopback and resolv.conf.

The bridge sits in a namespace of its own, so the host's interfaces, routes and firewall are never touched and the
lab's subnet cannot collide with anything.  Names start with ``rst<pid>-`` (``rst<pid>-2-`` for a second lab in one
process), so that :func:`cleanup` can tell the leftovers of dead processes from what is in use.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.lab.process import kill_recorded
from tests.lab.waiting import LabError

Result = TypeVar("Result")

SUBNET = ipaddress.IPv4Network("10.77.0.0/16")
RUN_ROOT = Path("/tmp")  # short, because a unix socket's path ends at 107 bytes; the name is made unique
NETNS_ETC = Path("/etc/netns")
CLONE_NEWNET = 0x40000000
_LEFTOVER = re.compile(r"^rst(\d+)-")


@dataclass(frozen=True, slots=True)
class Host:
    """One namespace.  ``label`` is its short name, ``namespace`` the one that ``ip netns`` knows."""

    label: str
    namespace: str
    ipv4: str

    def argv(self, argv: Sequence[str]) -> list[str]:
        """``argv`` as a command that runs inside; the process id stays that of the command."""
        return ["ip", "netns", "exec", self.namespace, *argv]

    def run(self, argv: Sequence[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``argv`` inside and wait.  Raises :class:`LabError` with its output when it fails and ``check``."""
        return run_command(self.argv(argv), check=check)

    def call(self, function: Callable[[], Result]) -> Result:
        """Call ``function`` in a thread of this process that has joined the namespace, and return its result.

        Sockets that it opens belong to the namespace for good.  The file system, resolv.conf included, is the
        host's.  What ``function`` raises is raised here.
        """
        results: list[Result] = []
        errors: list[BaseException] = []

        def body() -> None:
            try:
                _join(self.namespace)
                results.append(function())
            except BaseException as error:  # noqa: BLE001  a thread boundary: handed to the caller below
                errors.append(error)

        thread = threading.Thread(target=body, name=f"in-{self.label}")
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]


def _join(namespace: str) -> None:
    """Move the calling thread into ``namespace`` (``os.setns`` came only with Python 3.12)."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise LabError(f"setns {namespace}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(descriptor)


def run_command(
    argv: Sequence[str], *, check: bool = True, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``argv`` to its end with ``text`` as input.  Raises :class:`LabError` with its output when it fails."""
    done = subprocess.run(list(argv), capture_output=True, text=True, check=False, input=text)
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(argv)} exited with {done.returncode}: {done.stdout}{done.stderr}")
    return done


class Network:
    """A bridge and the hosts on it.  ``prefix`` starts every namespace's name; ``nameserver`` goes to resolv.conf.

    The address of host number N is the subnet's base plus N.  Addresses are IPv4 for now; IPv6 needs a second
    subnet here and a field in :class:`Host`, nothing else.
    """

    def __init__(self, prefix: str, *, nameserver: int = 53, subnet: ipaddress.IPv4Network = SUBNET) -> None:
        self._prefix = prefix
        self._subnet = subnet
        self._switch = f"{prefix}switch"
        self._hosts: dict[str, Host] = {}
        self._ports = 0
        self.nameserver = self.address(nameserver)

    def address(self, number: int) -> str:
        """The address of host ``number``."""
        return str(self._subnet.network_address + number)

    def open(self) -> None:
        """Create the bridge.  Raises :class:`LabError` when not root or when the kernel refuses."""
        if os.geteuid() != 0:
            raise LabError("the lab needs root: it creates network namespaces")
        run_command(["ip", "netns", "add", self._switch])
        self._batch(self._switch, "link set lo up", "link add br0 type bridge", "link set br0 up")

    def add_host(self, label: str, number: int) -> Host:
        """Create a namespace on the bridge with the address ``number`` of the subnet."""
        if label in self._hosts:
            raise LabError(f"host {label} exists")
        host = Host(label, f"{self._prefix}{label}", self.address(number))
        etc = NETNS_ETC / host.namespace
        etc.mkdir(parents=True, exist_ok=True)
        (etc / "resolv.conf").write_text(
            f"nameserver {self.nameserver}\noptions edns0 trust-ad timeout:2 attempts:2\n", encoding="ascii"
        )
        run_command(["ip", "netns", "add", host.namespace])
        self._hosts[label] = host
        self._ports += 1
        port = f"p{self._ports}"
        self._batch(
            self._switch,
            f"link add {port} type veth peer name eth0 netns {host.namespace}",
            f"link set {port} master br0 up",
        )
        self._batch(
            host.namespace,
            "link set lo up",
            "link set eth0 up",
            f"address add {host.ipv4}/{self._subnet.prefixlen} dev eth0",
        )
        return host

    def add_address(self, host: Host, number: int) -> str:
        """Give ``host`` a second address and return it."""
        address = self.address(number)
        self._batch(host.namespace, f"address add {address}/{self._subnet.prefixlen} dev eth0")
        return address

    def link(self, host: Host, *, up: bool) -> None:
        """Plug the host's cable in or out."""
        self._batch(host.namespace, f"link set eth0 {'up' if up else 'down'}")

    def remove_host(self, host: Host) -> None:
        """Remove one namespace with what still runs in it."""
        del self._hosts[host.label]
        remove_namespace(host.namespace)

    def close(self) -> None:
        """Remove every namespace with what still runs in it.  Safe to call twice and after a failed :meth:`open`."""
        for namespace in (*(host.namespace for host in self._hosts.values()), self._switch):
            remove_namespace(namespace)
        self._hosts.clear()

    @staticmethod
    def _batch(namespace: str, *commands: str) -> None:
        run_command(["ip", "-n", namespace, "-batch", "-"], text="\n".join(commands) + "\n")


def namespaces() -> list[str]:
    """The names of all named network namespaces of this machine."""
    root = Path("/run/netns")
    return sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []


def remove_namespace(namespace: str) -> None:
    """Kill every process inside ``namespace`` and remove it and its resolv.conf.  Missing ones are fine."""
    if namespace in namespaces():
        inside = run_command(["ip", "netns", "pids", namespace], check=False).stdout.split()
        for pid in inside:
            # A thread of this very process may be inside by way of Host.call: it is never ours to kill.
            if int(pid) != os.getpid():
                _kill(int(pid))
        run_command(["ip", "netns", "delete", namespace], check=False)
    shutil.rmtree(NETNS_ETC / namespace, ignore_errors=True)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def cleanup() -> list[str]:
    """Remove what labs of dead processes left behind: processes, namespaces, run directories.  Returns the names."""
    removed = []
    for directory in sorted(RUN_ROOT.glob("rst*-*")):
        if _is_leftover(directory.name):
            kill_recorded(directory)
            shutil.rmtree(directory, ignore_errors=True)
            removed.append(str(directory))
    leftovers = {*namespaces(), *(entry.name for entry in NETNS_ETC.glob("rst*-*"))}
    for namespace in sorted(leftovers):
        if _is_leftover(namespace):
            remove_namespace(namespace)
            removed.append(namespace)
    return removed


def _is_leftover(name: str) -> bool:
    found = _LEFTOVER.match(name)
    return found is not None and not Path("/proc", found.group(1)).exists()
