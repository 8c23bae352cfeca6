"""What `/metrics` says of calls, who may read it, and that its labels are bounded and hold nothing of a patient."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from cds_service.advice.advise import INDICATORS
from cds_service.fhir.server import Reason
from cds_service.hooks.rounds import ALARM_KINDS
from cds_service.hooks.trial import TRIAL
from cds_service.metrics.stages import STAGES
from cds_service.metrics.table import BUCKETS, METRICS
from cds_service.sandbox.mock_ehr import MockEhr, Signer
from cds_service.settings import SettingsError
from cds_service.store import Store, StoreUnavailable
from cds_service.store.records import StoreCounters
from cds_service.trust.tokens import CAUSES
from tests.observing.support import Samples, names, of, samples
from tests.store.helpers import locked
from tests.trust.support import (
    BASE,
    DISCOVERY,
    FEEDBACK,
    MARK,
    SERVICE,
    bare_body,
    body_for,
    client_entry,
    clients_file,
    free_port,
    wait_until,
)

NAME = SERVICE.rpartition("/")[2]
Make = Callable[..., Flask]


def read(app: Flask, **headers: str) -> Samples:
    answer = app.test_client().get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.content_type.startswith("text/plain")
    assert answer.headers["Cache-Control"] == "no-store"
    return samples(answer.text)


class Change:
    """What was added to each series. The instruments are of the process, and other tests count too."""

    def __init__(self) -> None:
        self.by: Samples = {}

    def of(self, name: str, **labels: str) -> float:
        return of(self.by, name, **labels)


@contextmanager
def changes(app: Flask) -> Iterator[Change]:
    before, change = read(app), Change()
    yield change
    change.by = {key: value - before.get(key, 0) for key, value in read(app).items()}


@pytest.fixture
def signed(make_app: Make, signer: Signer, folder: Path) -> tuple[Flask, FlaskClient]:
    app = make_app(profile="production", public_url=BASE, clients=clients_file(folder, client_entry(signer)))
    return app, app.test_client()


def test_a_patient_with_low_magnesium_is_counted_once_in_every_way(app: Flask) -> None:
    with changes(app) as added:
        answer = app.test_client().post(SERVICE, json=body_for(app))
    told = answer.json or {}
    outcomes = told["extension"]["org.magnesium-cds"]["outcomes"]
    assert added.of("calls_total", service=NAME, client="dev", status="2xx") == 1
    for kind in ("fired", "quiet", "not_evaluated", "not_applicable"):
        assert added.of("rule_outcomes_total", outcome=kind) == sum(each["outcome"] == kind for each in outcomes)
    for each in outcomes:
        assert added.of("rule_fired_total", rule=each["rule"]) == (each["outcome"] == "fired")
    assert added.of("cards_total", rule="low_serum_magnesium") == 1
    for indicator in INDICATORS:
        assert added.of("cards_total", indicator=indicator) == sum(
            card["indicator"] == indicator for card in told["cards"]
        )
    assert added.of("rule_faults_total") == 0
    for stage in {*STAGES} - {"fetch"}:
        assert added.of("stage_seconds_count", stage=stage) == 1, stage
    assert added.of("stage_seconds_sum") <= added.of("call_seconds_sum"), "no time is counted twice"
    assert added.of("stage_seconds_sum", stage="rules") > 0


def test_what_is_missing_is_counted_by_reason(app: Flask) -> None:
    with changes(app) as added:
        app.test_client().post(SERVICE, json=bare_body())
    assert added.of("incomplete_calls_total", service=NAME) == 1
    assert added.of("not_evaluated_total") >= added.of("rule_outcomes_total", outcome="not_evaluated") > 0


def test_a_canary_and_whatever_else_is_a_trial_is_not_counted(app: Flask) -> None:
    with changes(app) as added:
        answer = app.test_client().post(SERVICE, json=body_for(app), environ_overrides={TRIAL: True})
    assert answer.status_code == 200
    for name in ("calls_total", "call_seconds_count", "stage_seconds_count", "cards_total", "rule_outcomes_total"):
        assert added.of(name) == 0, name


def test_refused_tokens_are_counted_by_cause_and_calls_by_client(
    signed: tuple[Flask, FlaskClient], signer: Signer
) -> None:
    app, http = signed
    good, other = signer.token(BASE + SERVICE), replace(signer, issuer="https://nobody.example")
    with changes(app) as added:
        for token in (good, good, other.token(BASE + SERVICE), "nonsense"):
            http.post(SERVICE, json=bare_body(), headers={"Authorization": f"Bearer {token}"})
        http.get(DISCOVERY)
    for cause, number in {"replayed": 1, "issuer": 1, "malformed": 1, "no_token": 1, "signature": 0}.items():
        assert added.of("tokens_refused_total", cause=cause) == number, cause
    assert added.of("calls_total", client="ehr", status="2xx") == 1
    assert added.of("calls_total", client="none", status="4xx") == 3
    assert added.of("requests_total", part="services", status="4xx") == 4


def test_what_clinicians_did_is_counted_by_outcome_and_by_what_became_of_it(app: Flask) -> None:
    shown = (app.test_client().post(SERVICE, json=body_for(app)).json or {})["cards"][0]["uuid"]
    time = "2026-11-21T09:31:00Z"
    items: list[dict[str, Any]] = [
        {"card": shown, "outcome": "overridden", "outcomeTimestamp": time},
        {"card": str(uuid4()), "outcome": "accepted", "outcomeTimestamp": time, "acceptedSuggestions": [{"id": "x"}]},
        {"card": shown, "outcome": f"{MARK}", "outcomeTimestamp": time},
    ]
    with changes(app) as added:
        for _ in range(2):
            app.test_client().post(FEEDBACK, json={"feedback": items})
    assert added.of("feedback_total", outcome="overridden") == added.of("feedback_total", outcome="accepted") == 2
    for result, number in {"new": 2, "repeated": 2, "unmatched": 2, "unreadable": 2, "not_stored": 0}.items():
        assert added.of("feedback_stored_total", result=result) == number, result


def test_reads_from_an_ehr_are_counted_by_server_and_outcome_and_its_failures_open_the_breaker(
    make_app: Make, ehr: MockEhr
) -> None:
    app = make_app(fhir_servers=(ehr.fhir,))
    http = app.test_client()
    with changes(app) as added:
        http.post(SERVICE, json=bare_body(fhirServer=ehr.fhir))
    assert added.of("fhir_reads_total", server=ehr.fhir, outcome="read") > 3
    assert added.of("fhir_read_seconds_count", server=ehr.fhir) == added.of("fhir_reads_total", server=ehr.fhir)
    assert added.of("stage_seconds_count", stage="fetch") == 1
    assert of(read(app), "fhir_breaker_open", server=ehr.fhir) == 0
    ehr.fail("", status=500)
    with changes(app) as added:
        wait_until(
            lambda: http.post(SERVICE, json=bare_body(fhirServer=ehr.fhir)).status_code == 200
            and of(read(app), "fhir_breaker_open", server=ehr.fhir) == 1, 30, "it stays closed",
        )  # fmt: skip
    assert added.of("fhir_reads_total", server=ehr.fhir, outcome="refused") > 0


def test_a_store_that_does_not_answer_is_said_and_what_only_it_knows_is_left_out(
    make_app: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    store = app.extensions["advisor"].store
    found = read(app)
    assert of(found, "store_up") == 1
    assert {"magnesium_cds_alarms_open", "magnesium_cds_canaries_failing"} <= names(found)

    def silent(_: Store) -> None:
        raise StoreUnavailable("late", "no answer")

    monkeypatch.setattr(type(store), "ping", silent)
    found = read(app)
    assert of(found, "store_up") == 0
    assert not {"magnesium_cds_alarms_open", "magnesium_cds_canaries_failing"} & names(found), "not 0: not known"


def test_feedback_that_a_locked_database_does_not_take_is_counted(make_app: Make, folder: Path) -> None:
    app = make_app(data_dir=folder)
    app.extensions["advisor"].store.feedback_wait = 2.0
    item = {"card": str(uuid4()), "outcome": "overridden", "outcomeTimestamp": "2026-11-21T09:31:00Z"}
    with changes(app) as added, locked(folder):
        assert app.test_client().post(FEEDBACK, json={"feedback": [item]}).status_code == 503
    assert added.of("feedback_stored_total", result="not_stored") == 1
    assert added.of("store_total", what="feedback_refused") == 1
    assert added.of("store_wait_seconds_count", what="write") >= 1


def test_alarms_and_canaries_stand_there(make_app: Make) -> None:
    app = make_app()
    advisor = app.extensions["advisor"]
    now = advisor.now()
    advisor.store.set_alarms({("stopped", "low_serum_magnesium", ""): {}}, (), set(), now)
    assert advisor.store.take_duty("canaries", "me", now, now - now)
    advisor.store.end_duty("canaries", "me", now, {"canaries": [{"name": "a", "title": "A", "wrong": ["no card"]}]})
    found = read(app)
    assert of(found, "alarms_open", kind="stopped") == of(found, "alarms_open") == 1
    assert of(found, "canaries_failing") == 1
    assert of(found, "canaries_run_timestamp_seconds") == now.timestamp()


def test_which_values_of_the_site_are_in_force_and_that_a_broken_file_is_not(
    make_app: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cds_service.content.current.LOOK_EVERY", 0.0)
    file = folder / "site.yaml"
    file.write_text("site: Example\n")
    app = make_app(site=file)
    digest = app.extensions["advisor"].current.on(app.extensions["advisor"].now().date()).site_digest
    found = read(app)
    assert of(found, "site_info", revision="site.yaml", managed_by="file", digest=digest) == 1
    assert of(found, "site_changed_timestamp_seconds") == pytest.approx(file.stat().st_mtime)
    assert of(found, "site_faults") == 0
    file.write_text("site: [\n")
    found = read(app)
    assert of(found, "site_faults") >= 1
    assert of(found, "site_info", digest=digest) == 1, "the last good ones stay"
    assert of(read(make_app()), "site_info", revision="none") == 1


def test_what_serves_here_is_named(app: Flask) -> None:
    advisor, found = app.extensions["advisor"], read(app)
    assert of(found, "info", version=advisor.version, content=advisor.current.library.digest, profile="dev") == 1
    assert of(found, "rules") == len(advisor.current.on(advisor.now().date()).rules)


# Who may read it.


def test_in_production_the_numbers_are_for_those_who_reach_the_service_itself(
    signed: tuple[Flask, FlaskClient],
) -> None:
    _, http = signed
    assert http.get("/metrics").status_code == 200
    for header in ("X-Forwarded-For", "Forwarded"):
        assert http.get("/metrics", headers={header: "1.1.1.1"}).status_code == 404, "it came through a proxy"


def test_with_a_token_they_are_for_whoever_has_it_proxy_or_not(make_app: Make, folder: Path) -> None:
    file = folder / "metrics-token"
    file.write_text("a-token-of-enough-characters\n")
    http = make_app(metrics_token_file=file).test_client()
    for given in ("", "Bearer", "Bearer wrong", "Bearer a-token-of-enough-characters2", "Basic x", "Bearer ü"):
        answer = http.get("/metrics", headers={"Authorization": given} if given else {})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "magnesium_cds_" not in answer.text
    headers = {"Authorization": "Bearer a-token-of-enough-characters", "X-Forwarded-For": "1.1.1.1"}
    assert http.get("/metrics", headers=headers).status_code == 200


@pytest.mark.parametrize(("written", "told"), [(None, "cannot be read"), ("short", "at least 16"), ("ü" * 20, "ASCII")])
def test_a_token_file_of_no_use_is_told_at_the_start(
    make_app: Make, folder: Path, written: str | None, told: str
) -> None:
    file = folder / "metrics-token"
    if written is not None:
        file.write_text(written)
    with pytest.raises(SettingsError, match=f"metrics_token_file: .*{told}"):
        make_app(metrics_token_file=file)


def test_off_means_off(make_app: Make) -> None:
    assert make_app(metrics="off").test_client().get("/metrics").status_code == 404


# A45: labels.


def domains(app: Flask) -> dict[str, set[str]]:
    """What each label may hold, by name of the label."""
    advisor = app.extensions["advisor"]
    library = advisor.current.library
    rules = set(library.rules)
    return {
        "service": {*library.services, "other"},
        "client": {"ehr", "dev", "none"},
        "status": {"2xx", "3xx", "4xx", "5xx"},
        "stage": set(STAGES),
        "rule": {*rules, "not_evaluated"},
        "indicator": set(INDICATORS),
        "outcome": {
            "fired", "quiet", "not_evaluated", "not_applicable", "accepted", "overridden", "read", *get_args(Reason),
        },
        "reason": set(library.wording.reasons),
        "cause": set(CAUSES),
        "why": {"address_rate", "client_rate", "busy"},
        "part": {*app.blueprints, "state", "none", "other"},
        "result": {"new", "repeated", "unmatched", "unreadable", "not_stored"},
        "what": {*StoreCounters.__dataclass_fields__, "counts_dropped", "read", "write"},
        "kind": set(ALARM_KINDS),
        "le": {*(str(bucket) for bucket in BUCKETS), "+Inf"},
    }  # fmt: skip


def strange(found: Samples, allowed: dict[str, set[str]]) -> set[tuple[str, str, str]]:
    """Labels that hold something else; those of the configuration are looked at by name."""
    free = {"version", "content", "profile", "managed_by", "revision", "digest"}
    wrong = set()
    for name, labels in found:
        for label, value in labels:
            if label == "server":
                ok = re.fullmatch(r"https?://[\w.:\[\]-]+(/[\w/-]*)?", value) is not None
            else:
                ok = label in free or value in allowed[label]
            if not ok:
                wrong.add((name, label, value))
    return wrong


def test_a45_labels_hold_words_of_closed_lists_whatever_callers_send(
    signed: tuple[Flask, FlaskClient], signer: Signer
) -> None:
    app, http = signed

    def send(path: str, body: Any = None, method: str = "POST", **headers: str) -> None:
        token = signer.token(BASE + path.partition("?")[0])
        http.open(path, method=method, json=body, headers={"Authorization": f"Bearer {token}", **headers})

    earlier = set(read(app))  # of other apps of this process, whose words may be others
    send(SERVICE, body_for(app))
    known = set(read(app))
    for number in range(5):
        mark = f"{MARK}{number}"
        send(f"/cds-services/{mark}", bare_body())
        send(f"/cds-services/{mark}/feedback", {"feedback": []})
        send(SERVICE, {"hook": mark, "hookInstance": mark, "context": {"patientId": mark, "userId": mark}})
        send(SERVICE, bare_body(fhirServer=f"https://{mark}.example/fhir"))
        send(SERVICE, body_for(app, prefetch={mark: {"resourceType": mark}}), traceparent=mark)
        send(FEEDBACK, {"feedback": [{"card": mark, "outcome": mark, "outcomeTimestamp": mark}]})
        send(f"/{mark}?{mark}={mark}", method="GET")
        send(f"/evidence/{mark}", method="GET")
        send(f"/plan/{mark}", method="GET")
        http.post(SERVICE, data=mark, content_type=mark, headers={"Authorization": f"Bearer {mark}"})
        if number == 0:
            first = set(read(app))
    found = read(app)
    assert MARK not in str(found)
    assert strange({name: value for name, value in found.items() if name not in earlier}, domains(app)) == set()
    assert set(found) == first, "whatever they send, the second round adds no series"
    assert len(first - known) < 60


def test_a45_the_number_of_series_is_bounded_by_the_content_and_the_configuration(app: Flask) -> None:
    """The largest is rule x indicator. Printed by `pytest -s`; quoted in docs/operate/observe.md."""
    allowed = domains(app)
    of_outcome = {"rule_outcomes_total": 4, "feedback_total": 2, "fhir_reads_total": 1 + len(get_args(Reason))}
    clients, servers, bound = 10, 10, {}
    for metric in METRICS.values():
        number = len(BUCKETS) + 3 if metric.kind == "histogram" else 1
        for label in metric.labels:
            if label == "outcome":
                number *= of_outcome[metric.name]
            elif label == "what":
                number *= 9 if metric.name == "store_total" else 2
            elif label in ("client", "server"):
                number *= {"client": clients + 1, "server": servers}[label]
            elif label in allowed:
                number *= len(allowed[label])
        bound[metric.name] = number
    print(bound, sum(bound.values()))
    rules = len(app.extensions["advisor"].current.library.rules)
    assert rules > 200
    assert max(bound, key=lambda name: bound[name]) == "cards_total"
    assert bound["cards_total"] == (rules + 1) * len(INDICATORS)
    assert sum(bound.values()) < 3000, "ten clients and ten FHIR servers"


def test_every_metric_that_is_served_is_in_the_table_and_the_other_way_round(make_app: Make, folder: Path) -> None:
    file = folder / "site.yaml"
    file.write_text("site: Example\n")
    app = make_app(site=file, fhir_servers=(f"http://127.0.0.1:{free_port()}/fhir",))
    text = app.test_client().get("/metrics").text
    served = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    served = {name for name in served if not name.endswith("_created")}
    assert served == {
        metric.full_name for metric in METRICS.values() if metric.name != "canaries_run_timestamp_seconds"
    }, "all but the time of canaries, which were not asked yet"


AT_ONCE = """
from threading import Barrier, Thread
from cds_service.metrics import instruments

together, faults = Barrier(16), []

def first() -> None:
    together.wait()
    try:
        instruments.count("tokens_refused_total", "expired")
    except Exception as error:
        faults.append(error)

threads = [Thread(target=first) for _ in range(16)]
for each in threads:
    each.start()
for each in threads:
    each.join()
print(len(faults), instruments.exposition({}).decode().count('tokens_refused_total{cause="expired"} 16.0'))
"""


def test_the_first_calls_of_a_worker_may_come_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["0", "1"], done.stderr
