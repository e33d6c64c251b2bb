"""Giving up, for good, whatever reading an attachment does not need.

Limits of resources always hold.  What else holds depends on the kernel and is said by :func:`confine`: no new
privileges; Landlock (Linux 5.13) without any file but the program's own, read only; seccomp with a list of what is
allowed (x86-64 and arm64): no new socket, program or process, no signal to others.  No network follows from seccomp,
and where it may be had, from an empty network namespace too.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import stat
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

from restante.classify.extract.syscalls import AUDIT_ARCH, CLONE, FOR_PROGRAMS, PRLIMIT, numbers

_CLONE_NEWNET = 0x40000000
_CLONE_THREAD = 0x00010000
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_FIRST = 0, 4, 16
_CLONE3 = 435  # the same everywhere

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_EXECUTE, _READ_FILE, _READ_DIR = 1, 1 << 2, 1 << 3
# Access rights to files by version of the interface (linux/landlock.h): each version knows some more.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL_FILE_RIGHTS = (1 << 16) - 1
_TCP_RIGHTS = 3  # bind and connect, from version 4
_SCOPES = 3  # abstract sockets and signals, from version 6
_NONEXECUTABLE = _READ_FILE | _READ_DIR


def limit(memory: int, *, files: int = 64) -> None:
    """Bound address space to ``memory`` bytes and open files to ``files``; no file may grow, no core be dumped."""
    for which, bound in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, files),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(which)
        lower = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(which, (lower, lower))


def limit_cpu(seconds: float) -> None:
    """End this process when it has used ``seconds`` more of processor time.  May be said again."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    bound = int(used.ru_utime + used.ru_stime + seconds) + 2
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (bound if hard == resource.RLIM_INFINITY else min(bound, hard), hard))


def confine(*, programs: bool = False) -> tuple[str, ...]:
    """Give up what can be given up, and name what holds.  ``programs`` leaves the right to run installed programs.

    Never raises: an old kernel, or a sandbox around this process, may refuse each of them.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    held = []
    if libc.unshare(_CLONE_NEWNET) == 0:
        held.append("network-namespace")
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return tuple(held)
    held.append("no-new-privileges")
    if _landlock(libc, programs=programs):
        held.append("landlock")
    if _seccomp(libc, programs=programs):
        held.append("seccomp")
    return tuple(held)


def _readable() -> Iterable[str]:
    """Where modules that are loaded late lie, character sets above all; and how much memory this host has."""
    own = Path(__file__).resolve().parents[2]
    places = (sys.prefix, sys.base_prefix, str(own), *sys.path)
    return {os.path.realpath(path) for path in places} | {"/proc/meminfo"}


def _landlock(libc: ctypes.CDLL, *, programs: bool) -> bool:
    version = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    rights = _FILE_RIGHTS.get(version, _ALL_FILE_RIGHTS)
    words = [rights, _TCP_RIGHTS if version >= 4 else 0, _SCOPES if version >= 6 else 0]
    attributes = struct.pack("=3Q", *words)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    try:
        allowed = dict.fromkeys(_readable(), _NONEXECUTABLE)
        if programs:
            allowed |= dict.fromkeys(("/usr", "/lib", "/lib64", "/bin", "/etc"), _NONEXECUTABLE | _EXECUTE)
        for path, access in allowed.items():
            _allow(libc, ruleset, path, access)
        return bool(libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, access: int) -> None:
    try:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(folder).st_mode):
            access &= ~_READ_DIR
        libc.syscall(_LANDLOCK_ADD, ruleset, 1, struct.pack("=Qi", access, folder), 0)
    finally:
        os.close(folder)


def _seccomp(libc: ctypes.CDLL, *, programs: bool) -> bool:
    machine = platform.machine()
    if machine not in AUDIT_ARCH or sys.maxsize < 1 << 32:
        return False
    program = _filter(machine, programs=programs)
    array = ctypes.create_string_buffer(b"".join(program))
    header = struct.pack("@HP", len(program), ctypes.addressof(array))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0) == 0)


def _filter(machine: str, *, programs: bool) -> list[bytes]:
    """The filter in classic BPF (linux/filter.h): 8 bytes each of code, jumps and operand."""

    def step(code: int, operand: int, then: int = 0, otherwise: int = 0) -> bytes:
        return struct.pack("=HBBI", code, then, otherwise, operand)

    number = step(_LOAD, _OFFSET_NUMBER)
    steps = [
        step(_LOAD, _OFFSET_ARCH),
        step(_EQUAL, AUDIT_ARCH[machine], 1, 0),
        step(_RETURN, _EPERM),
        number,
    ]
    allowed = numbers(machine)
    if programs:
        allowed += numbers(machine, FOR_PROGRAMS)
    else:
        # Threads only: the C library falls back from clone3, whose flags a filter cannot see.
        steps += [step(_EQUAL, _CLONE3, 0, 1), step(_RETURN, _ENOSYS)]
        steps += [step(_EQUAL, CLONE[machine], 0, 4), step(_LOAD, _OFFSET_FIRST)]
        steps += [step(_ANY_BIT, _CLONE_THREAD, 0, 1), step(_RETURN, _ALLOW), step(_RETURN, _EPERM)]
    # Its own limits, not those of others.
    steps += [step(_EQUAL, PRLIMIT[machine], 0, 4), step(_LOAD, _OFFSET_FIRST)]
    steps += [step(_EQUAL, 0, 0, 1), step(_RETURN, _ALLOW), step(_RETURN, _EPERM)]
    for one in allowed:
        steps += [step(_EQUAL, one, 0, 1), step(_RETURN, _ALLOW)]
    return [*steps, step(_RETURN, _EPERM)]
