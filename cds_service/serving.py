"""The service under gunicorn: gthread workers, each with its own app, warm before it accepts.

A thread reads the request that it answers, so who sends slowly holds one. The proxy in front (docker/nginx.conf) takes
each request whole before it passes it on.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import structlog
from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.workers.gthread import ThreadWorker

from cds_service import create_app
from cds_service.advice.loaded_content import Content
from cds_service.hooks.errors import outcome_response
from cds_service.hooks.problems import Issue
from cds_service.hooks.rounds import start_rounds
from cds_service.hooks.services import make_ready
from cds_service.loading import uncollected
from cds_service.logs import configure
from cds_service.metrics.folder import worker_begins, worker_comes, worker_ended
from cds_service.metrics.instruments import count, switch_off
from cds_service.rules.faults import fault_of
from cds_service.settings import Settings
from cds_service.trust.clients import Client

_MOST_CONNECTIONS: Final = 4096
_OWN_FILES: Final = 256
_AGAIN: Final = 2.0  # seconds until a worker that could not start is followed by another
log = structlog.get_logger("magnesium_cds.serving")


class Worker(ThreadWorker):
    """gthread, but for what it says to a request that it cannot read, and for how it ends."""

    def handle_error(self, req: object | None, client: socket.socket, _: object, exc: BaseException) -> None:
        """Answers in our words: gunicorn's own answer and log line repeat what was sent."""
        fault = fault_of(exc)
        if req is None:
            log.warning("request not read", kind=fault.kind)
            status, text, error = 400, "The request cannot be read.", "request-unreadable"
        else:
            log.error("unexpected fault", kind=fault.kind, ref=fault.reference, places=fault.places)
            status, text, error = 500, "The request could not be answered.", "fault-of-ours"
        answer = outcome_response(status, [Issue(text, error=error)], {"Connection": "close"})
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            *(f"{name}: {value}" for name, value in answer.headers),
        ]
        with suppress(OSError):
            client.sendall("\r\n".join([*lines, "", ""]).encode() + answer.get_data())

    def set_accept_enabled(self, enabled: bool | None) -> None:
        """As gunicorn; a worker that stops takes whom it has accepted in the kernel's queue, and then lets its address
        go. gunicorn keeps that until its last connection ends, and drops without an answer who came meanwhile."""
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for listener in self.sockets:
            before = -1
            while before != self.nr_conns:
                before = self.nr_conns
                self.accept(listener)
            listener.close()

    def handle_quit(self, *_: object) -> None:
        """At once: gunicorn takes a lock here, and waits for ever where the signal came while a call was handed on."""
        _leave(self)

    def is_parent_alive(self) -> bool:
        """Without its master a worker ends at once: nobody could stop it any more."""
        if not super().is_parent_alive():
            _leave(self)
        return True


class Server(BaseApplication):
    """gunicorn with our settings and no access log: request lines come from the app, without paths."""

    def __init__(self, settings: Settings, make_app: Callable[[], Flask]) -> None:
        self.settings = settings
        self.make_app = make_app
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": self.settings.bind,
            "workers": self.settings.workers,
            "threads": self.settings.threads,
            "worker_class": Worker,
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
            "pre_fork": lambda _master, worker: worker_comes(worker),
            "post_fork": _begun,
            "worker_exit": _ended,
            "child_exit": _gone,
            "forwarded_allow_ips": "",  # gunicorn believes no header on where a call comes from or goes to
            "control_socket_disable": True,
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:  # type: ignore[override]
        configure(self.settings.log_level)
        try:
            with uncollected():
                app = self.make_app()
        except Exception as error:  # noqa: BLE001 - what kept one worker from starting must not end the others
            fault = fault_of(error)
            log.error("worker not started", kind=fault.kind, ref=fault.reference, places=fault.places)
            time.sleep(_AGAIN)
            os._exit(1)  # gunicorn then makes another; an exception would have it stop the whole service
        if (spans := app.extensions.get("spans")) is not None:
            spans.start()
        if self.settings.watch:
            start_rounds(app)
        return app


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


def _begun(_master: object, worker: object) -> None:
    """Until a worker has its own handlers it has copies of its master's, which only note what came."""
    for name in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(name, lambda *_: os._exit(0))
    if not worker_begins(worker):
        log.error("metrics not written", kind="no room")
        switch_off()


def _leave(worker: Any) -> None:
    """The last act of a worker. Its threads that wait for a slow caller would else keep the process, and its port; and
    an exit that is raised is lost where it comes while the collector works."""
    for name in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    if worker.booted and "advisor" in worker.wsgi.extensions:
        if (facts := worker.wsgi.extensions.get("facts")) is not None:
            facts.close()
        if (spans := worker.wsgi.extensions.get("spans")) is not None:
            spans.end()
        worker.wsgi.extensions["advisor"].store.close()
    os._exit(0)


def _ended(_master: object, worker: Any) -> None:
    """Of a worker that did not start the exit code tells why; and the master tells of those that have gone."""
    if worker.booted and worker.pid == os.getpid():
        _leave(worker)


def _gone(_master: object, worker: Any) -> None:
    """In the master, when a worker has ended in whatever way: what it counted stays."""
    worker_ended(worker)
    count("worker_exits_total")


def serve(settings: Settings, content: Content, clients: Sequence[Client]) -> None:
    """Serve until stopped. Start-up faults are found by the caller beforehand, in one process; the content and the
    clients that were loaded for it are those of every worker, also of one that comes later."""

    def make_app() -> Flask:
        app = create_app(settings, content=content, clients=clients)
        make_ready(app.extensions["advisor"])
        return app

    gc.freeze()  # before the workers are forked, who then share these pages
    Server(settings, make_app).run()
