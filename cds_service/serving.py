"""The service under gunicorn: gthread workers, each with its own app, warm before it accepts."""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable
from typing import Any, Final

from flask import Flask
from gunicorn.app.base import BaseApplication

from cds_service import create_app
from cds_service.hooks.app import Content
from cds_service.logs import configure
from cds_service.receiving import ReceivingWorker
from cds_service.settings import Settings

_MOST_CONNECTIONS: Final = 4096
_OWN_FILES: Final = 256


class Server(BaseApplication):
    """gunicorn with our settings and no access log: request lines come from the app, without paths."""

    def __init__(self, settings: Settings, make_app: Callable[[], Flask]) -> None:
        self.settings = settings
        self.make_app = make_app
        super().__init__()

    def load_config(self) -> None:
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        options: dict[str, Any] = {
            "bind": f"{host}:{self.settings.port}",
            "workers": self.settings.workers,
            "threads": self.settings.threads,
            "worker_class": ReceivingWorker,
            "worker_connections": _connections(),
            "accesslog": None,
            "loglevel": "warning",
            "timeout": 30,
            "graceful_timeout": 20,
            "keepalive": 75,
            "limit_request_line": 4094,
            "limit_request_field_size": 32768,
            "proc_name": "magnesium-cds",
            "post_worker_init": _freeze,
            "control_socket_disable": True,
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:  # type: ignore[override]
        configure(self.settings.log_level)
        return self.make_app()


def _connections() -> int:
    """How many connections a worker holds at the same time: files that may be open, but for those of its own."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(64, min(_MOST_CONNECTIONS, allowed - _OWN_FILES))


def _freeze(_worker: object) -> None:
    """What is loaded stays: the collector need not look at it again, nor look often at what one large body makes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def serve(settings: Settings, content: Content) -> None:
    """Serve until stopped. Start-up faults are found by the caller beforehand, in one process; the content
    that was loaded for it is shared with the workers."""
    Server(settings, lambda: create_app(settings, content=content)).run()
