"""The root of Restante's exceptions.

Every domain error derives from :class:`RestanteError`, so that a command can print one line instead of a
traceback.  Each subclass says in its docstring what the caller must do.
"""

from __future__ import annotations


class RestanteError(Exception):
    """Something the operator can mend.  The command line prints its text and exits with 1."""
