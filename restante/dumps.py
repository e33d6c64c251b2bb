"""Core dumps: that none is ever made of a service, however it was started.

A service's memory holds keys and messages in plain.  The units of systemd set a limit of zero, but a service that is
started by hand or by another supervisor has whatever its parent had, and a handler of crashes to which the kernel
pipes a dump (``core_pattern``; systemd-coredump and apport) gets it whatever the limit is (core(5)), with the
environment and the command line.  A process that is not dumpable is dumped in neither way, and only root reads its
memory, environment and open files under /proc (prctl(2), PR_SET_DUMPABLE).
"""

from __future__ import annotations

import ctypes
import os
import resource

from restante.errors import RestanteError

_PR_SET_DUMPABLE = 4


class CanBeDumped(RestanteError):
    """The kernel does not let this process forbid dumps of itself.  Its sandbox must allow prctl(2)."""


def forbid() -> None:
    """Have no dump made of this process, of processes that it forks, nor, as a file, of programs that it runs.

    Call before the first key is read.  Raises :class:`CanBeDumped`.
    """
    # Programs are dumpable again once they are run; the limit stays with them.  A sandbox that has set it already may
    # forbid to set it.
    if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        cause = os.strerror(ctypes.get_errno())
        raise CanBeDumped(f"prctl(PR_SET_DUMPABLE): {cause}. Let the service call prctl: a dump of it would hold keys")
