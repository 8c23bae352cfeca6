"""What one of all workers does on its own: canaries at the start, after each change of what is in force and every hour;
and every hour a look at all counts. Whose turn it is stands in the database, so that it is done once."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from flask import Flask

from cds_service.advice.needs import needs_of
from cds_service.content.rulebook import Rulebook
from cds_service.hooks.services import Advisor
from cds_service.hooks.trial import TRIAL
from cds_service.store import StoreUnavailable
from cds_service.store.duties import Duty, Subject
from cds_service.watch import canaries, sources
from cds_service.watch.judge import KINDS, Verdict, judge, prices
from cds_service.watch.streams import Stream

log = structlog.get_logger("magnesium_cds.watch")

CANARIES, WATCH = "canaries", "watch"
HOUR: Final = timedelta(hours=1)
LOOK_EVERY: Final = 15.0  # seconds
HOLD: Final = timedelta(minutes=5)  # a worker that is killed at it is in nobody's way for longer
QUALITY_FALSE_ALARMS: Final = 0.5  # a month, of all that is said of data
_CHUNK: Final = timedelta(days=7)
_JUST_STARTED: Final = timedelta(seconds=60)
ALARM_KINDS: Final = (*KINDS, "fault", "canary", "data")


class Rounds:
    """Of one worker. `start` begins them in a thread of its own; tests call `look`."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._advisor: Advisor = app.extensions["advisor"]
        self._holder = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._began = self._advisor.now()
        self._ended = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._go_on, name="rounds", daemon=True).start()

    def end(self) -> None:
        self._ended.set()

    def look(self) -> None:
        """Do what is due and nobody else does. StoreUnavailable where the database does not answer."""
        now = self._advisor.now()
        rulebook = self._advisor.current.on(now.date())
        if self._canaries_due(rulebook, now) and self._take(CANARIES, now):
            self._end(CANARIES, now, self.canaries(rulebook, now))
        until = sources.settled(now)
        if self._watch_due(until) and self._take(WATCH, now):
            self._end(WATCH, now, self.watch(rulebook, until))

    def canaries(self, rulebook: Rulebook, now: datetime) -> dict[str, Any]:
        """Call this service for each canary, and open or close an alarm for each."""
        results = canaries.run(rulebook, self._templates(rulebook), self._ask, now)
        wrong: dict[Subject, dict[str, Any]] = {
            ("canary", each.name, ""): {"title": each.title, "wrong": list(each.wrong)}
            for each in results
            if not each.well
        }
        for (_, name, _), told in wrong.items():
            log.error("a canary is not as expected", canary=name, wrong=told["wrong"])
        self._set(wrong, ("canary",), {("canary", each.name, "") for each in results if each.well})
        every = [{"name": each.name, "title": each.title, "wrong": list(each.wrong)} for each in results]
        return {"of": self._in_force(rulebook), "canaries": every}

    def watch(self, rulebook: Rulebook, until: datetime) -> dict[str, Any]:
        """Judge all counts before this hour, and open and close alarms. A rule that this site has hidden is meant to be
        silent."""
        store, start = self._advisor.store, sources.first_hour(until)
        calls: list[Mapping[str, Any]] = []
        fired: list[Mapping[str, Any]] = []
        at = start
        while at < until:
            end = min(at + _CHUNK, until)
            calls += store.call_counts(at, end, kinds=("version", "refused", "input", "read", "not read", "lab"))
            fired += store.fired_counts(at, end)
            at = end
        tried = {rule.id for rule in rulebook.rules.values() if rule.visibility != "hidden"}
        made = (row for row in calls if row["kind"] == "version")
        rules = sources.rule_streams(made, (row for row in fired if row["rule"] in tried), start, until)
        quality = sources.quality_streams(calls, start, until)
        hour = int((until - start) / HOUR)
        paid = prices(rules, hour)
        verdicts = [judge(stream, hour, paid) for stream in rules]
        paid = prices(quality, hour, sources.QUALITY_TESTS, QUALITY_FALSE_ALARMS)
        of_data = [judge(stream, hour, paid, sources.QUALITY_TESTS) for stream in quality]
        faults = store.faults_since(until - timedelta(days=1))
        found = dict(_findings(verdicts)) | {
            ("data", verdict.subject, verdict.client): _told(verdict) for verdict in of_data if verdict.worst
        }
        of_clients = {(kind, subject) for kind, subject, client in found if client}
        # What a client's own count shows is not told once more of all clients.
        found = {key: told for key, told in found.items() if key[2] or key[:2] not in of_clients}
        found |= {("fault", rule, ""): {"observed": number} for rule, number in faults.items()}
        kinds = (*KINDS, "fault", "data")
        standing = {
            *found,
            *((kind, v.subject, v.client) for v in verdicts for kind in KINDS if kind not in v.over),
            *(("data", v.subject, v.client) for v in of_data if len(v.over) < len(KINDS)),
        }
        told = {(alarm.kind, alarm.subject, alarm.client) for alarm in store.open_alarms() if alarm.kind in kinds}
        self._set(found, kinds, told - standing)
        return {
            "until": until.isoformat(),
            "streams": [_row(verdict, stream) for verdict, stream in zip(verdicts, rules, strict=True)],
        }

    def _set(self, found: Mapping[Subject, Mapping[str, Any]], kinds: Iterable[str], over: set[Subject]) -> None:
        opened, closed = self._advisor.store.set_alarms(found, tuple(kinds), over, self._advisor.now())
        for kind, subject, client in opened:
            log.error("alarm opened", alarm=kind, about=subject, client=client)
        for kind, subject, client in closed:
            log.info("alarm closed", alarm=kind, about=subject, client=client)

    def _canaries_due(self, rulebook: Rulebook, now: datetime) -> bool:
        last = self._advisor.store.duty(CANARIES)
        if last.done_at is None or last.result is None or now - last.done_at >= HOUR:
            return True
        started = last.done_at < self._began - _JUST_STARTED
        return started or last.result.get("of") != self._in_force(rulebook)

    def _watch_due(self, until: datetime) -> bool:
        last = self._advisor.store.duty(WATCH)
        return last.result is None or last.result.get("until") != until.isoformat()

    def _in_force(self, rulebook: Rulebook) -> str:
        return f"{self._advisor.version} {rulebook.library.digest} {rulebook.site_digest}"

    def _take(self, name: str, now: datetime) -> bool:
        return self._advisor.store.take_duty(name, self._holder, now, HOLD)

    def _end(self, name: str, now: datetime, result: Mapping[str, Any]) -> None:
        self._advisor.store.end_duty(name, self._holder, now, result)

    def _templates(self, rulebook: Rulebook) -> dict[str, dict[str, str]]:
        windows = self._advisor.settings.today_windows
        return {
            name: {key: need.template for key, need in needs_of(rulebook, name, windows).items()}
            for name in rulebook.library.services
        }

    def _ask(self, service: str, body: dict[str, Any]) -> tuple[int, Mapping[str, Any]]:
        answer = self._app.test_client().post(f"/cds-services/{service}", json=body, environ_overrides={TRIAL: True})
        return answer.status_code, answer.get_json(silent=True) or {}

    def _go_on(self) -> None:
        wait = 1.0  # the first look comes when the worker answers calls
        while not self._ended.wait(wait):
            wait = LOOK_EVERY
            try:
                self.look()
            except StoreUnavailable as error:
                if error.kind == "closed":  # the service ends
                    return
                log.error("nothing was watched", cause=error.kind)
            except Exception as error:  # noqa: BLE001 - a fault here must not end the watch
                log.error("nothing was watched", cause=type(error).__name__)


def _findings(verdicts: Iterable[Verdict]) -> Iterable[tuple[Subject, dict[str, Any]]]:
    for verdict in verdicts:
        if verdict.worst is not None:
            yield (verdict.worst.kind, verdict.subject, verdict.client), _told(verdict)


def _told(verdict: Verdict) -> dict[str, Any]:
    worst = verdict.worst
    assert worst is not None
    return {
        "hours": worst.hours, "observed": worst.observed, "expected": round(worst.expected, 1),
        "usual_a_day": round(worst.usual_a_day, 1),
    }  # fmt: skip


def _row(verdict: Verdict, stream: Stream) -> dict[str, Any]:
    """What the console tells of a stream that is quiet."""
    silent = stream.hours - stream.quiet_since(stream.hours, stream.hours)
    found = None if verdict.stop_found_in is None else round(verdict.stop_found_in, 1)
    return {
        "rule": verdict.subject, "client": verdict.client, "usual_a_day": round(verdict.usual_a_day, 2),
        "silent_hours": silent, "learning": verdict.learning, "blind": verdict.blind, "stop_found_in_days": found,
    }  # fmt: skip


def canary_faults(duty: Duty) -> list[str]:
    """What is not as expected of the canaries, in words; nothing where all is or none was run yet."""
    told = (duty.result or {}).get("canaries", [])
    return [f"{each['title']}: {'; '.join(each['wrong'])}" for each in told if each["wrong"]]


def start_rounds(app: Flask) -> Rounds:
    """Begin the rounds of a worker that serves."""
    rounds = Rounds(app)
    rounds.start()
    return rounds
