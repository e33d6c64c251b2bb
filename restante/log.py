"""Logging: one JSON object a line on standard error, which systemd's journal keeps.

Records carry event names and ids, never subjects, bodies, file names, links or codes; addresses only where an
operator needs them to find a message.  Libraries that log through :mod:`logging` come out in the same form.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_FORBIDDEN = frozenset({"password", "code", "token", "link", "secret", "subject", "body", "filename"})

# Libraries that narrate every step, addresses and all, at the level where we want our own records.
_CHATTY = ("alembic", "asyncio", "httpcore", "httpx", "mail.log")


def configure(level: str = "info") -> None:
    """Set the process up to log at ``level`` (debug, info, warning, error).  Call once, before the first record."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        without_secrets,
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def without_secrets(
    logger: Any, method: str, event: MutableMapping[str, Any]  # noqa: ARG001  the shape of a structlog processor
) -> MutableMapping[str, Any]:
    """Blank the values of fields that must never be logged, whoever put them there."""
    for name in _FORBIDDEN & event.keys():
        event[name] = "[not logged]"
    return event
