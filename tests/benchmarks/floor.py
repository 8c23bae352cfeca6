"""The floor: one static card from Flask under the settings of `serve`: `python -m tests.benchmarks.floor PORT`."""

from __future__ import annotations

import sys

import orjson
from flask import Flask, Response, request

from cds_service.serving import Server
from cds_service.settings import Settings

CARD = {
    "summary": "Low magnesium 0.62 mmol/L",
    "indicator": "warning",
    "detail": "Magnesium is below 0.70 mmol/L.",
    "source": {"label": "Floor"},
}


def make_app() -> Flask:
    """One route that reads the body and answers the same card."""
    app = Flask("floor", static_folder=None)
    answer = orjson.dumps({"cards": [CARD]})

    @app.post("/cds-services/<service_id>")
    def call(service_id: str) -> Response:
        request.get_data(cache=False)
        return Response(answer, content_type="application/json")

    @app.get("/cds-services")
    def discovery() -> Response:
        return Response(b'{"services": []}', content_type="application/json")

    return app


if __name__ == "__main__":
    Server(Settings(port=int(sys.argv[1]), workers=1, watch=False), make_app).run()
