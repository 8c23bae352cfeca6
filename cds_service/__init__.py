"""Magnesium CDS: a CDS Hooks service. `create_app` puts the rooms together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from cds_service.advice.loaded_content import Content
    from cds_service.settings import Settings
    from cds_service.trust.clients import Client

__version__ = version("magnesium-cds")
__all__ = ["create_app"]


def create_app(
    settings: Settings,
    *,
    now: Callable[[], datetime] | None = None,
    content: Content | None = None,
    clients: Sequence[Client] | None = None,
) -> Flask:
    """The service as a Flask app, warm: content loaded and checked, database open and migrated.

    `content` is what `load_content` gave before, and `clients` what `load_clients` did, where several apps share them.

    Raises ContentError (content or site file), StoreError (database), SettingsError (profile not complete).
    """
    from flask import Flask

    from cds_service.advice.loaded_content import load_content
    from cds_service.fhir import warm
    from cds_service.hooks.app import install
    from cds_service.trust.clients import load_clients

    app = Flask("cds_service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    declared = tuple(load_clients(settings) if clients is None else clients)
    loaded = content or load_content(cards=settings.cards)
    install(app, settings, __version__, now or (lambda: datetime.now(UTC)), loaded, declared)
    if settings.console:
        from cds_service.console.blueprint import install_console

        install_console(app)
    if settings.tries:
        from cds_service.web.try_pages import install_tries

        if settings.dev:
            install_tries(app, lambda: True, sign_in="")
        else:
            from cds_service.console.session import signed_in

            install_tries(app, signed_in, sign_in=f"{settings.console_url or ''}{settings.console_path}/sign-in")
    warm()
    return app
