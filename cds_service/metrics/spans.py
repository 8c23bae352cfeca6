"""OpenTelemetry (extra `otel`): a span for each call and one for each of its stages, sent to a collector by OTLP/HTTP.

Off unless the setting `traces_to` names an address. The spans are made from what the recorder noted, when the call is
over, and sent by a thread of each worker; no call waits for it. Attributes are those of ATTRIBUTES: no path, query,
patient or user.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from cds_service.metrics.stages import Recorder
from cds_service.metrics.trace_ids import Trace
from cds_service.settings import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

# What a span of a call may say; the names with a dot are OpenTelemetry's.
ATTRIBUTES: Final = {
    "http.request.method": "POST",
    "http.response.status_code": "HTTP status",
    "service": "id of the service called",
    "client": "name of the client, without its tenant",
    "hook_instance": "hash of hookInstance, as in the log",
    "cards": "cards shown",
    "fired": "rules that fired",
    "not_evaluated": "rules that could not be evaluated",
    "faults": "rules that met a fault of ours",
    "unreadable": "resources that could not be read",
}
_FLUSH: Final = 2000  # milliseconds that the end of a worker waits for its last spans


class Spans:
    """What makes spans and sends them. `start` is called in the process that serves, after the fork."""

    def __init__(self, address: str, version: str) -> None:
        self._address = address
        self._version = version
        self._provider: TracerProvider | None = None
        self._chosen: Any = threading.local()  # the trace whose spans this thread makes

    @classmethod
    def of(cls, address: str | None, version: str) -> Spans | None:
        """By the setting; None where it is not set. Raises SettingsError where the extra is not installed."""
        if not address:
            return None
        try:
            import opentelemetry.exporter.otlp.proto.http.trace_exporter
            import opentelemetry.sdk.trace  # noqa: F401
        except ImportError as error:
            raise SettingsError(
                "traces_to: sending traces needs the extra otel, which is not installed: pip install '.[otel]'"
            ) from error
        return cls(address, version)

    def start(self) -> None:
        """Begin to send."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        chosen = self._chosen

        class Ids(RandomIdGenerator):
            """Random, but for those that the call has already."""

            def generate_trace_id(self) -> int:
                return int(chosen.trace.id, 16)

            def generate_span_id(self) -> int:
                if chosen.first:
                    chosen.first = False
                    return int(chosen.trace.span, 16)
                return super().generate_span_id()

        resource = Resource.create({"service.name": "magnesium-cds", "service.version": self._version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False, id_generator=Ids())
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=self._address, timeout=5)))

    def tell(
        self, trace: Trace, recorder: Recorder, took: float, ended: datetime, status: int, told: Mapping[str, Any]
    ) -> None:
        """The spans of a call that is over. `took`: seconds; `ended`: when (aware); `told`: attributes, of which only
        those of ATTRIBUTES are kept."""
        if self._provider is None or not trace.sampled:
            return
        from opentelemetry import trace as api
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
        from opentelemetry.trace.propagation import set_span_in_context

        self._chosen.trace, self._chosen.first = trace, True
        tracer = self._provider.get_tracer("magnesium_cds")
        above = None
        if trace.parent:
            flags = TraceFlags(TraceFlags.SAMPLED)
            parent = SpanContext(int(trace.id, 16), int(trace.parent, 16), is_remote=True, trace_flags=flags)
            above = set_span_in_context(api.NonRecordingSpan(parent))
        start = int((ended.timestamp() - took) * 1e9)
        said = {"http.request.method": "POST", "http.response.status_code": status, **told}
        attributes = {name: value for name, value in said.items() if name in ATTRIBUTES and value != ""}
        root = tracer.start_span(
            "POST /cds-services/{id}", above, kind=SpanKind.SERVER, attributes=attributes, start_time=start
        )
        within = set_span_in_context(root)
        for name, begins, ends in recorder.parts:
            part = tracer.start_span(name, within, start_time=start + int(begins * 1e9))
            part.end(start + int(ends * 1e9))
        if status >= 500:
            root.set_status(Status(StatusCode.ERROR))
        root.end(start + int(took * 1e9))

    def end(self) -> None:
        """Send what waits, for a moment."""
        if self._provider is not None:
            self._provider.force_flush(_FLUSH)
