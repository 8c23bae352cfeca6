"""The page that says what site values would do before they are live, over patients that ship or that are uploaded.

Nothing of an upload is kept: it is read from memory, and gone when the answer is sent.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Final

import orjson
from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from flask_wtf.file import MultipleFileField
from wtforms import RadioField, SelectField, StringField, SubmitField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import Length

from cds_service.advice.loaded_content import Content
from cds_service.console.access import audit, needs
from cds_service.console.pages import Column, Table, page, table
from cds_service.console.parts import Parts
from cds_service.console.population_preview import NoAnswer, change_of, ways_table
from cds_service.console.site_parts import publishing_of
from cds_service.content.publishing import NotDone
from cds_service.content.rulebook import Rulebook, make_rulebook
from cds_service.content.site import NO_SITE, SiteValues
from cds_service.content.yamlfile import ContentError
from cds_service.population import Cohort, Comparison, compare, samples_cohort, scenarios_cohort
from cds_service.population.attrition import Attrition
from cds_service.population.kept import kept_cohort
from cds_service.population.uploads import TooLarge, read_upload
from cds_service.spelling import nearest
from cds_service.store import Draft
from cds_service.store.facts import FactsStore

MOST_SECONDS: Final = 45.0  # proxies wait for a minute
PAUSE: Final = 0.0005  # after each chart, so that hooks of this process go first
IN_FORCE, NOTHING, FILE = "in force", "nothing", "file"
SAMPLES, SCENARIOS, UPLOAD, KEPT = "samples", "scenarios", "upload", "kept"
POPULATION = "population"
MOST_SITE_FILE: Final = 1024 * 1024
RULES: Final = (
    Column("title", "Rule"),
    Column("rule", "Its id"),
    Column("appears", "New cards", "number"),
    Column("vanishes", "Cards gone", "number"),
    Column("changes", "Read differently", "number"),
    Column("outcomes", "Outcomes that change"),
)
TOTALS: Final = (
    Column("what", "Cards"),
    Column("before", "Before", "number"),
    Column("after", "After", "number"),
)
STEPS: Final = (
    Column("side", "Under"),
    Column("test", "Test, in the order of the rule"),
    Column("reached", "Came to it", "number"),
    Column("fell", "Fell here", "number"),
    Column("unknown", "Not known here", "number"),
)
_one_at_a_time = Lock()  # of this process: the others' hooks and pages go on


class PreviewForm(FlaskForm):
    """What is tried, against what, and on whom."""

    what = SelectField("Values to try")
    file = MultipleFileField(
        "Site file", description="Only for a file of your own: the document of values, as export gives it."
    )
    against = SelectField("Compared with")
    cohort = RadioField(
        "Patients to try them on",
        choices=[
            SelectChoice(SAMPLES, "The sample patients: ten invented people, in a second"),
            SelectChoice(SCENARIOS, "The scenario patients: some thousand invented people, several for each test of"
                         " each rule; half a minute"),
            SelectChoice(UPLOAD, "My own patients, from files"),
            SelectChoice(KEPT, "Kept calls: the last real ones, as codes and numbers, if this site keeps any"),
        ],
        default=SAMPLES,
    )  # fmt: skip
    patients = MultipleFileField(
        "Files of patients",
        description="FHIR Bundles or Bulk Data NDJSON, plain or gzip; several files are brought together by patient."
        " They are read in memory, and nothing of them is kept after the answer.",
    )
    rule = StringField(
        "Also say at which test patients fall, of the rule", [Length(max=100)],
        description="The rule's id, such as low_serum_magnesium. May be left empty.",
    )  # fmt: skip
    show = SubmitField("Show what would change")
    csv = SubmitField("As CSV")
    json = SubmitField("As JSON")


def add(blueprint: Blueprint, parts: Parts) -> None:
    """/preview."""
    content = Content(parts.current.library, parts.vocabulary)
    blueprint.record_once(lambda state: _in_memory(state, parts))

    @blueprint.get("/preview")
    @needs("viewer")
    def preview() -> Response:
        form = _form(parts)
        if asked := request.args.get("draft"):
            form.what.data = f"draft:{asked}"
        return _asked(form, [])

    @blueprint.post("/preview")
    @needs("viewer")
    def preview_made() -> ResponseReturnValue:
        form = _form(parts)
        if not form.validate():
            return _asked(form, [], 400)
        try:
            after = _after(parts, form)
            before = _values(parts, str(form.against.data))
            if form.cohort.data == POPULATION and parts.settings.screening is not None:
                return _of_population(form, content, before, after, parts.settings.screening)
            cohort = _cohort(parts, content, form)
        except (ContentError, NotDone, TooLarge, NoAnswer, _Refused) as error:
            return _asked(form, _faults(error), 400)
        rule = str(form.rule.data or "").strip()
        if rule and rule not in after.rules:
            return _asked(form, [f"There is no rule of this id{nearest(rule, after.rules)}."], 400)
        if not _one_at_a_time.acquire(blocking=False):
            return _asked(form, ["Another preview runs now. Try again in a minute."], 503)
        draft = _draft(parts, form)
        try:
            found = compare(
                cohort, before, after, content, parts.now(), rule=rule or None, most_seconds=MOST_SECONDS,
                between=lambda: time.sleep(PAUSE),
            )  # fmt: skip
        finally:
            _one_at_a_time.release()
        audit("preview made", str(form.what.data), cohort=cohort.name, charts=found.charts)
        if draft is not None and form.against.data == IN_FORCE:
            parts.store.keep_effect(draft.id, draft.version, found.effect())  # of this version: an edit ends it
        titles = {name: loaded.rule.title for name, loaded in content.library.rules.items()}
        return _answered(form, found, titles | {"not_evaluated": "What could not be checked"})


def _of_population(form: PreviewForm, content: Content, before: Rulebook, after: Rulebook, folder: Path) -> Response:
    """Who of the screened population changes. Raises NoAnswer and _Refused."""
    if not _one_at_a_time.acquire(blocking=False):
        raise _Refused("Another preview runs now. Try again in a minute.")
    try:
        found = change_of(folder, content, before, after, MOST_SECONDS, PAUSE)
    finally:
        _one_at_a_time.release()
    audit("preview made", str(form.what.data), cohort=POPULATION, charts=found.patients)
    titles = {name: loaded.rule.title for name, loaded in content.library.rules.items()}
    rules = ways_table(found, titles)
    if form.csv.data:
        return rules.file("csv")
    if form.json.data:
        return _json(found.told())
    return page(
        "preview_population.html", found=found, told=found.told(), labels=_labels(form), rules=rules, titles=titles
    )


def _json(told: Mapping[str, Any]) -> Response:
    headers = {"Content-Disposition": 'attachment; filename="preview.json"'}
    return Response(orjson.dumps(told, default=str), content_type="application/json", headers=headers)


def _labels(form: PreviewForm) -> dict[str, str]:
    """What was chosen, in words."""
    fields = {"what": form.what, "against": form.against}
    return {
        name: next((one.label for one in field.choices if one.value == field.data), "")
        for name, field in fields.items()
    }


def _in_memory(state: BlueprintSetupState, parts: Parts) -> None:
    """What is pasted or uploaded is never written to a temporary file."""
    state.app.config["MAX_FORM_MEMORY_SIZE"] = parts.settings.max_body


def _draft(parts: Parts, form: PreviewForm) -> Draft | None:
    """The draft that is tried, if it is one."""
    kind, _, number = str(form.what.data).partition(":")
    return parts.store.draft(int(number)) if kind == "draft" else None


class _Refused(ValueError):
    """What was sent cannot be used; the text says what to do."""


def _form(parts: Parts) -> PreviewForm:
    form = PreviewForm()
    revisions = [
        SelectChoice(f"revision:{one.number}", f"Revision {one.number} ({one.author})")
        for one in parts.store.revisions()
    ]
    drafts = [SelectChoice(f"draft:{one.id}", f"Draft: {one.title}") for one in parts.store.drafts() if one.open]
    nothing = SelectChoice(NOTHING, "Nothing set: the rules as they ship")
    form.what.choices = [*drafts, SelectChoice(FILE, "A site file of my own"), *revisions, nothing]
    if parts.settings.screening is not None:
        words = "The screened population, as codes and numbers: seconds for one threshold, a minute at most"
        form.cohort.choices = [*form.cohort.choices, SelectChoice(POPULATION, words)]
    form.against.choices = [SelectChoice(IN_FORCE, "What is in force now"), nothing, *revisions]
    return form


def _values(parts: Parts, name: str) -> Rulebook:
    """The rulebook of one choice. Raises NotDone and ContentError."""
    today, publishing = parts.now().date(), publishing_of(parts)
    if name == IN_FORCE:
        return parts.current.on(today)
    kind, _, number = name.partition(":")
    values: SiteValues = NO_SITE
    if kind == "revision":
        values = publishing.values(int(number))
    elif kind == "draft":
        draft = parts.store.draft(int(number))
        if draft is None:
            raise _Refused("This draft is gone. Choose another one.")
        values = publishing.read(draft.document, f"draft {number}")
    return make_rulebook(parts.current.library, values, today)


def _after(parts: Parts, form: PreviewForm) -> Rulebook:
    if form.what.data != FILE:
        return _values(parts, str(form.what.data))
    sent = [(name, raw) for name, raw in _files("file")]
    if len(sent) != 1:
        raise _Refused("Choose one site file, or choose other values to try.")
    name, raw = sent[0]
    if len(raw) > MOST_SITE_FILE:
        raise _Refused("A site file has no more than 1 MB.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _Refused("The site file is no text in UTF-8.") from None
    values = publishing_of(parts).read(text, name)
    return make_rulebook(parts.current.library, values, parts.now().date())


def _cohort(parts: Parts, content: Content, form: PreviewForm) -> Cohort:
    if form.cohort.data == SAMPLES:
        return samples_cohort(parts.now())
    if form.cohort.data == SCENARIOS:
        return scenarios_cohort(content, parts.now())
    if form.cohort.data == KEPT:
        facts: FactsStore | None = current_app.extensions.get("facts")
        if facts is None:
            raise _Refused("This site keeps no calls. Choose other patients, or set keep_facts.")
        return kept_cohort(facts.all, parts.now().date())
    files = list(_files("patients"))
    if not files:
        raise _Refused("Choose the files of your patients, or choose patients that ship.")
    return read_upload(files)


def _files(name: str) -> Iterable[tuple[str, bytes]]:
    """The files of a field; an empty field of a browser is one without a name."""
    for sent in request.files.getlist(name):
        if sent.filename:
            yield sent.filename[-100:], sent.read()


def _faults(error: Exception) -> list[str]:
    if isinstance(error, ContentError):
        return [f"The values cannot be used: {fault}" for fault in error.faults]
    return [str(error)]


def _asked(form: PreviewForm, faults: list[str], status: int = 200) -> Response:
    return page("preview.html", form=form, faults=faults, status=status)


def _answered(form: PreviewForm, found: Comparison, titles: Mapping[str, str]) -> Response:
    rules = rules_table(found, titles)
    if form.csv.data:
        return rules.file("csv")
    if form.json.data:
        return _json(found.told())
    return page(
        "preview_result.html",
        found=found,
        labels=_labels(form),
        rules=rules,
        titles=titles,
        totals=table("cards", TOTALS, _totals(found), "All cards, by how urgent they are"),
        steps=table("attrition", STEPS, _steps(found.attrition), "Where patients fall") if found.attrition else None,
        rule=str(form.rule.data or "").strip(),
        draft=str(form.what.data).removeprefix("draft:") if str(form.what.data).startswith("draft:") else "",
        fired={side: counted.fired for side, counted in found.attrition.items()},
    )


def rules_table(found: Comparison, titles: Mapping[str, str]) -> Table:
    """What changes, by rule."""
    rows = [
        {
            "title": titles.get(rule, rule), "rule": rule, "appears": each.appears,
            "vanishes": each.vanishes, "changes": each.changes,
            "outcomes": [f"{what}: {number}" for what, number in sorted(each.outcomes.items())],
        }
        for rule, each in sorted(found.rules.items())
    ]  # fmt: skip
    return table("preview", RULES, rows, "What changes, by rule")


def _totals(found: Comparison) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"what": kind, **{side: found.cards[side][kind] for side in ("before", "after")}}
        for kind in ("critical", "warning", "info")
    ]
    both = {"before": found.interruptive("before"), "after": found.interruptive("after")}
    return [*rows, {"what": "critical and warning, per 100 charts", **both}]


def _steps(attrition: Mapping[str, Attrition]) -> list[dict[str, Any]]:
    return [
        {"side": side, "test": step.test, "reached": step.reached, "fell": step.fell, "unknown": step.unknown}
        for side, counted in attrition.items()
        for step in counted.steps()
    ]
