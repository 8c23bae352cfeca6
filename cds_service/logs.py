"""Logs: one JSON object a line on stderr. Request lines hold fields of a closed list only, so no patient data can."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

# No path, query, id, name, address or header is in it.
REQUEST_FIELDS = frozenset(
    {"method", "route", "service", "status", "ms", "cards", "fired", "not_evaluated", "faults", "unreadable"}
)
_requests = structlog.get_logger("magnesium_cds.requests")


def configure(level: str = "INFO") -> None:
    """Set up logging for a process."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # The first ones log URLs, which hold patient ids; the last one talks at every start.
    for name in ("urllib3", "requests", "werkzeug", "gunicorn.access", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def request_line(**fields: object) -> None:
    """One line for one answered request."""
    _requests.info("request", **{key: value for key, value in fields.items() if key in REQUEST_FIELDS})
