"""The page that says why a card came, or why none did: by a card's uuid, or of a request that is pasted."""

from __future__ import annotations

from typing import Any, Final

import orjson
from flask import Blueprint, Response, current_app, request
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import SelectField, StringField, SubmitField, TextAreaField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length

from cds_service.advice.advise import advise
from cds_service.advice.card_text import CardStyle
from cds_service.advice.loaded_content import Content
from cds_service.advice.one_bundle import is_hook_request
from cds_service.console.access import audit, needs
from cds_service.console.pages import Column, page, table
from cds_service.console.parts import Parts
from cds_service.content.site import SiteValues, read_site
from cds_service.hooks.one_patient import NotAsked, chart_asked, document_of, lines_of, question_of
from cds_service.hooks.problems import Problem
from cds_service.publish.recorded import Recorded, recorded
from cds_service.publish.why import Why, tree
from cds_service.spelling import nearest
from cds_service.store.facts import FactsStore

OUTCOMES: Final = (Column("rule", "Rule"), Column("outcome", "Outcome", "badge"), Column("reason", "Why"))
THRESHOLDS: Final = (
    Column("label", "Threshold"),
    Column("value", "Value", "number"),
    Column("unit", "Unit"),
    Column("by", "Set by"),
)
KINDS: Final = {"fired": "warn", "quiet": "good", "not_evaluated": "bad", "not_applicable": "plain"}
WORDS: Final = {
    "fired": "fires", "quiet": "quiet", "not_evaluated": "not checked", "not_applicable": "not for this patient",
}  # fmt: skip


class PastedForm(FlaskForm):
    """A request, and the rule that is asked about."""

    body = TextAreaField(
        "The request", [InputRequired("Paste the request, or the Bundle.")],
        description="A CDS Hooks request as the EHR sent it, or a FHIR Bundle of one patient. It is read in memory, and"
        " nothing of it is kept.",
    )  # fmt: skip
    hook = SelectField(
        "Hook, for a Bundle",
        choices=[
            SelectChoice("patient-view", "patient-view: the chart is opened"),
            SelectChoice("order-select", "order-select: an order is chosen"),
            SelectChoice("order-sign", "order-sign: orders are signed"),
        ],
    )
    rule = StringField(
        "Rule", [Length(max=100)],
        description="The rule's id, to see each of its tests. May be left empty: then all outcomes are shown.",
    )  # fmt: skip
    submit = SubmitField("Say why")
    json = SubmitField("As JSON")


def add(blueprint: Blueprint, parts: Parts) -> None:
    """/why."""
    content = Content(parts.current.library, parts.vocabulary)

    @blueprint.get("/why")
    @needs("viewer")
    def why() -> Response:
        card = request.args.get("card", "").strip()
        if not card:
            return page("why.html", form=PastedForm(), card="", faults=[])
        told = _recorded(parts, content, card)
        if told is None:
            text = "No such card is on record: it may be too old, or of another database. Paste the request instead."
            return page("why.html", form=PastedForm(), card=card[:100], faults=[text], status=404)
        audit("card looked up", told.card.card)
        rows = [
            {
                "label": each.label,
                "value": each.value,
                "unit": each.unit,
                "by": "this site" if each.site else "the rule",
            }
            for each in told.thresholds
        ]
        thresholds = table("thresholds", THRESHOLDS, rows, "Thresholds of the rule as they were in force")
        return page("why_card.html", told=told, thresholds=thresholds)

    @blueprint.post("/why")
    @needs("viewer")
    def why_pasted() -> ResponseReturnValue:
        form = PastedForm()
        if not form.validate():
            return page("why.html", form=form, card="", faults=[], status=400)
        try:
            found = _pasted(parts, content, str(form.body.data), str(form.hook.data), str(form.rule.data or "").strip())
        except _Refused as error:
            return page("why.html", form=form, card="", faults=error.lines, status=400)
        if form.json.data:
            return Response(orjson.dumps(found, default=_plain), content_type="application/json")
        rows = [
            {
                "rule": each["rule"], "outcome": WORDS[each["outcome"]], "outcome_kind": KINDS[each["outcome"]],
                "reason": each.get("reason", ""),
            }
            for each in found["outcomes"]
        ]  # fmt: skip
        outcomes = table("outcomes", OUTCOMES, rows, "Every rule of this hook")
        return page("why_pasted.html", found=found, outcomes=outcomes)


class _Refused(ValueError):
    def __init__(self, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self.lines = list(lines)


def _plain(value: Any) -> Any:
    if isinstance(value, Why):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    raise TypeError


def _recorded(parts: Parts, content: Content, card: str) -> Recorded | None:
    found = parts.store.card(card[:100])
    if found is None:
        return None
    facts: FactsStore | None = current_app.extensions.get("facts")
    kept = facts.of_card(card) if facts is not None else None

    def read(document: str, name: str) -> SiteValues:
        return read_site(document, name, parts.current.library, parts.current.input_keys)

    return recorded(found, content, parts.store.revisions(), read, parts.current.on(parts.now().date()), kept)


def _pasted(parts: Parts, content: Content, text: str, hook: str, rule: str) -> dict[str, Any]:
    """The outcomes, the cards and the tests of one rule. Raises _Refused."""
    raw, rulebook = text.encode("utf-8", "replace"), parts.current.on(parts.now().date())
    try:
        document = document_of(raw)
        of_request = document.get("hook") if is_hook_request(document) else hook
        question = question_of(document, raw, rulebook, content.vocabulary, str(of_request))
        asked = chart_asked(question, rulebook, content.vocabulary, parts.now())
    except NotAsked as fault:
        raise _Refused(*[f"This cannot be used: {line}." for line in fault.lines]) from None
    except Problem as problem:
        raise _Refused(*lines_of(problem)) from None
    advice = advise(
        asked.chart, rulebook, asked.service, units=content.vocabulary.units, style=CardStyle(),
        encounter_named=asked.encounter_named,
    )  # fmt: skip
    tried = [each.rule_id for each in advice.evaluation.outcomes]
    if rule and rule not in tried:
        raise _Refused(f"{asked.hook} has no rule of this id{nearest(rule, tried)}.")
    answer = advice.answer()
    return {
        "hook": asked.hook,
        "cards": [{name: card[name] for name in ("summary", "indicator", "detail")} for card in answer["cards"]],
        "outcomes": answer["extension"]["org.magnesium-cds"]["outcomes"],
        "why": tree(advice, rulebook, asked.service, rule) if rule else None,
    }
