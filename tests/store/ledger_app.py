"""A service of feedback only, for the ledger test: it is killed again and again.

gunicorn --preload opens the store once in the master, before it forks: what the workers write is written by threads
and connections of their own.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from flask import Flask

from cds_service.hooks.errors import install_error_handlers
from cds_service.hooks.feedback import feedback_blueprint
from cds_service.store import Store

SERVICE = "magnesium-patient-view"


def create() -> Flask:
    app = Flask(__name__)
    install_error_handlers(app)
    store = Store.open(data_dir=Path(os.environ["LEDGER_DATA_DIR"]))
    app.register_blueprint(feedback_blueprint(store, [SERVICE], client=lambda: "ehr", now=lambda: datetime.now(UTC)))
    return app
