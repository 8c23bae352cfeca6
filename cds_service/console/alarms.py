"""Alarms of the watch, canaries, and a card on the first page for both."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import structlog
from flask import Blueprint, Response, abort, flash, redirect, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import SubmitField, TextAreaField
from wtforms.validators import InputRequired, Length

from cds_service.console.access import audit, needs, who
from cds_service.console.front import FrontCard
from cds_service.console.pages import Column, page, table
from cds_service.console.parts import Parts
from cds_service.console.unsaved import unsaved_page
from cds_service.console.watched import KIND_WORDS, NEXT_STEPS, about, alarm_words, last_canaries, watched
from cds_service.store.duties import Alarm

log = structlog.get_logger("magnesium_cds.console")
SHOWN_FOR: Final = timedelta(days=90)
COLUMNS: Final = (
    Column("about", "About", "link"), Column("what", "What", "badge"), Column("told", "Seen"),
    Column("client", "Client"), Column("opened", "Since", "time"), Column("closed", "Over", "time"),
    Column("seen_by", "Looked at by"), Column("reason", "What came of it"),
)  # fmt: skip
CANARY_COLUMNS: Final = (
    Column("title", "Test patient"),
    Column("state", "State", "badge"),
    Column("wrong", "What is wrong"),
)


class SeenForm(FlaskForm):
    """Why an alarm needs nobody else."""

    reason = TextAreaField(
        "What came of it",
        [InputRequired("Say what you found, or what was done."), Length(max=2000)],
        description="For who reads it in a year: what was the cause, and what was done.",
    )
    submit = SubmitField("I have seen to it")


def add(blueprint: Blueprint, parts: Parts) -> None:
    """GET /alarms and /canaries; POST what somebody says of an alarm."""

    def row(alarm: Alarm) -> dict[str, Any]:
        return {
            "about": about(alarm, parts), "about_url": url_for("console.alarm", alarm_id=alarm.id),
            "what": KIND_WORDS.get(alarm.kind, alarm.kind), "what_kind": _kind(alarm), "told": alarm_words(alarm),
            "client": alarm.client or "all", "opened": alarm.opened_at, "closed": alarm.closed_at,
            "seen_by": alarm.acknowledged_by, "reason": alarm.reason,
        }  # fmt: skip

    @blueprint.get("/alarms")
    @blueprint.get("/alarms.<any(csv, json):kind>")
    @needs("viewer")
    def alarms(kind: str = "") -> Response:
        every = [row(alarm) for alarm in parts.store.alarms_since(parts.now() - SHOWN_FOR)]
        listed = table("alarms", COLUMNS, every, "Open alarms, and those of the last 90 days")
        return listed.file(kind) if kind else page("alarms.html", alarms=listed, looked=watched(parts))

    def one(alarm_id: int) -> Alarm:
        known = parts.store.alarms_since(parts.now() - SHOWN_FOR)
        found = next((alarm for alarm in known if alarm.id == alarm_id), None)
        return found if found is not None else abort(404)

    def shown(alarm: Alarm, form: SeenForm, status: int = 200) -> Response:
        rule = alarm.subject if alarm.subject in parts.current.library.rules else ""
        return page(
            "alarm.html", status=status, alarm=alarm, row=row(alarm), form=form, rule=rule, may=who().may("editor"),
            next_step=NEXT_STEPS.get(alarm.kind, ""),
            crumbs=[(url_for("console.alarms"), "Alarms"), ("", about(alarm, parts))],
        )  # fmt: skip

    @blueprint.get("/alarms/<whole:alarm_id>")
    @needs("viewer")
    def alarm(alarm_id: int) -> Response:
        return shown(one(alarm_id), SeenForm())

    @blueprint.post("/alarms/<whole:alarm_id>")
    @needs("editor")
    def alarm_seen(alarm_id: int) -> ResponseReturnValue:
        found, form = one(alarm_id), SeenForm()
        if not form.validate_on_submit():
            return shown(found, form, 400)
        if parts.store.acknowledge(alarm_id, who().name, form.reason.data or "", parts.now()):
            audit("alarm seen to", f"{found.kind} {found.subject}", client=found.client, reason=form.reason.data)
            log.info("alarm seen to", alarm=found.kind, about=found.subject, client=found.client)
            flash(
                "It is written down that you saw to this alarm. It closes by itself when counts are as usual.", "good"
            )
        elif _said(one(alarm_id)) == (who().name, form.reason.data):
            flash("It is written down already that you saw to this alarm.", "good")
        else:
            here = url_for("console.alarm", alarm_id=alarm_id)
            crumbs = [(url_for("console.alarms"), "Alarms"), (here, about(found, parts))]
            return unsaved_page({form.reason.label.text: form.reason.data or ""},
                                ["Somebody else saw to this alarm before you."], about(found, parts), crumbs,
                                [(here, "What they wrote")])  # fmt: skip
        return redirect(url_for("console.alarm", alarm_id=alarm_id), 303)

    @blueprint.get("/canaries")
    @blueprint.get("/canaries.<any(csv, json):kind>")
    @needs("viewer")
    def canaries(kind: str = "") -> Response:
        at, told = last_canaries(parts)
        rows = [
            {"title": each["title"], "state": "not as expected" if each["wrong"] else "as expected",
             "state_kind": "bad" if each["wrong"] else "good", "wrong": each["wrong"]}
            for each in told
        ]  # fmt: skip
        listed = table("canaries", CANARY_COLUMNS, rows, "The last time")
        return listed.file(kind) if kind else page("canaries.html", canaries=listed, at=at)


def _said(alarm: Alarm) -> tuple[str | None, str | None]:
    return alarm.acknowledged_by, alarm.reason


def _kind(alarm: Alarm) -> str:
    if alarm.closed_at is not None:
        return "plain"
    return "bad" if alarm.kind in ("stopped", "storm", "canary", "fault") and not alarm.acknowledged_by else "warn"


def on_front(parts: Parts) -> FrontCard:
    """How many alarms nobody saw to, and whether the canaries are well."""
    alarms = parts.store.open_alarms()
    new = [alarm for alarm in alarms if alarm.acknowledged_by is None]
    at, told = last_canaries(parts)
    wrong = [each["title"] for each in told if each["wrong"]]
    link = url_for("console.alarms")
    if new:
        items = tuple(f"{about(alarm, parts)}: {KIND_WORDS.get(alarm.kind, alarm.kind)}" for alarm in new[:5])
        text = "alarms that nobody saw to yet." if len(new) != 1 else "alarm that nobody saw to yet."
        return FrontCard("Alarms", text, "bad", str(len(new)), link, "See the alarms", items)
    if wrong:
        return FrontCard("Alarms", "Test patients are not as expected.", "bad", "", url_for("console.canaries"),
                         "See the test patients", tuple(wrong))  # fmt: skip
    if alarms:
        return FrontCard("Alarms", "open, all seen to.", "warn", str(len(alarms)), link, "See the alarms")
    looked = watched(parts).until
    if at is None or looked is None or parts.now() - min(at, looked + timedelta(hours=1)) > timedelta(hours=3):
        text = "Nobody looked at the counts and the test patients in the last hours. Is the setting watch on?"
        return FrontCard("Alarms", text, "warn", "", link, "See the alarms")
    text = "No alarm is open, and every test patient got the expected cards."
    return FrontCard("Alarms", text, "good", "", link, "See past alarms")
