"""Every metric of `/metrics`, once: its kind, its labels with what they may hold, and what it says.

The instruments are made from this table, and so is the reference in the docs. A label holds words of closed lists or of
the configuration (rules, services, clients, FHIR servers), never a word that a caller chose and never a patient's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

PREFIX: Final = "magnesium_cds_"
# Seconds. One bucket lies beyond the limit of the alert on latency (2 s): no quantile is told above the last one.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)

SERVICE: Final = "id of the service called; `other` for one that there is not"
RULE: Final = "id of a rule"
SERVER: Final = "FHIR base URL, as it is registered"
STATUS: Final = "class of the HTTP status: 2xx, 3xx, 4xx, 5xx"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, without the prefix in its `name`. `labels`: name -> what it may hold. `live`: for a gauge that each
    worker sets, how the values of all that live are joined; without it the value is learned when it is asked for."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: dict[str, str] = field(default_factory=dict)
    live: Literal["", "livesum"] = ""

    @property
    def full_name(self) -> str:
        """As it stands in `/metrics`."""
        return self.name if self.name.startswith("process_") else PREFIX + self.name


_TABLE: Final = (
    Metric("calls_total", "counter", "Calls of CDS services.", {
        "service": SERVICE,
        "client": "name of the client, without its tenant; `none` where it was not let in",
        "status": STATUS,
    }),
    Metric("call_seconds", "histogram", "Time from the head of a service call to its answer.", {"service": SERVICE}),
    Metric("stage_seconds", "histogram", "Own time of each stage of a service call.", {
        "stage": "auth (token), read (body, FHIR to facts), fetch (from the EHR's FHIR server), rules, cards, "
                 "store (what was told before, what is shown now)",
    }),
    Metric("incomplete_calls_total", "counter", "Service calls in which a rule could not be evaluated.",
           {"service": SERVICE}),
    Metric("rule_outcomes_total", "counter", "Outcomes of rules, all rules together.", {
        "outcome": "fired, quiet, not_evaluated, not_applicable",
    }),
    Metric("rule_fired_total", "counter", "Calls in which a rule fired.", {"rule": RULE}),
    Metric("rule_faults_total", "counter", "Calls in which a fault of ours kept a rule from answering.",
           {"rule": RULE}),
    Metric("not_evaluated_total", "counter", "Rules that could not be evaluated, by reason.", {
        "reason": "key of `reasons` in cards/wording.yaml",
    }),
    Metric("cards_total", "counter", "Cards shown.", {
        "rule": "id of the rule that leads the card; `not_evaluated` on the card about what was not checked",
        "indicator": "critical, warning, info",
    }),
    Metric("feedback_total", "counter", "Items of feedback received.", {"outcome": "accepted, overridden"}),
    Metric("feedback_stored_total", "counter", "What became of the items of feedback.", {
        "result": "new, repeated, unmatched (new or repeated, on no card of ours), unreadable, not_stored",
    }),
    Metric("fhir_reads_total", "counter", "Reads from FHIR servers of EHRs.", {
        "server": SERVER,
        "outcome": "read, not reachable, timed out, not permitted, not found, refused, unreadable, too large",
    }),
    Metric("fhir_read_seconds", "histogram", "Time of one read from a FHIR server.", {"server": SERVER}),
    Metric("fhir_breaker_open", "gauge", "Workers that do not ask this FHIR server for a while.", {"server": SERVER},
           "livesum"),
    Metric("tokens_refused_total", "counter", "Calls refused with 401, by cause.", {
        "cause": "as in the log: no_token, malformed, header, algorithm, issuer, tenant, jku, key, claims, audience, "
                 "expired, not_yet, lifetime, signature, replayed, sandbox_key",
    }),
    Metric("turned_away_total", "counter", "Calls turned away for their number (429, 503).", {
        "why": "address_rate, client_rate, busy",
    }),
    Metric("requests_total", "counter", "All HTTP requests.", {
        "part": "which part answered, such as services, feedback, console; `state` for / and the probes, `none` for "
                "an address where there is nothing",
        "status": STATUS,
    }),
    Metric("store_total", "counter", "What the store wrote, or could not.", {
        "what": "shown_written, shown_late, shown_dropped, reads_failed, feedback_stored, feedback_repeated, "
                "feedback_refused, purged, counts_dropped",
    }),
    Metric("store_wait_seconds", "histogram", "Time that a caller waited for the store.", {
        "what": "read (for a connection and the answer), write (for the commit)",
    }),
    Metric("worker_exits_total", "counter", "Workers that ended, for whatever reason."),
    # Learned when they are asked for.
    Metric("info", "gauge", "Always 1: what serves here.", {
        "version": "of this software", "content": "digest of the rules and texts", "profile": "dev, production",
    }),
    Metric("rules", "gauge", "Rules in force."),
    Metric("site_info", "gauge", "Always 1: which values of the site are in force.", {
        "managed_by": "file, console", "revision": "such as `revision 12`, or the name of the file; `none` without",
        "digest": "of the values",
    }),
    Metric("site_changed_timestamp_seconds", "gauge", "When the values in force were published, or changed."),
    Metric("site_faults", "gauge", "Faults of a site file or revision that was not taken over."),
    Metric("store_up", "gauge", "1 where the store answers, else 0."),
    Metric("canaries_failing", "gauge", "Patients whose cards are known and were not as expected."),
    Metric("canaries_run_timestamp_seconds", "gauge", "When they were asked last."),
    Metric("alarms_open", "gauge", "Alarms of the watch that are open.", {
        "kind": "stopped, storm, fell, rose (how often a rule fires), fault, canary, data",
    }),
    Metric("workers", "gauge", "Worker processes that live."),
    Metric("process_cpu_seconds_total", "counter", "Processor time of the master and all its workers, past ones too."),
    Metric("process_resident_memory_bytes", "gauge", "Memory of master and workers; what they share counts for each."),
    Metric("process_open_fds", "gauge", "Open files of the master and its workers."),
    Metric("process_start_time_seconds", "gauge", "When the master started."),
)  # fmt: skip

METRICS: Final[dict[str, Metric]] = {metric.name: metric for metric in _TABLE}
"""All metrics by their name without prefix, in the order of the docs."""
