"""The page that says why a card came, or why none did: by a card's uuid, or of a request that is pasted."""

from __future__ import annotations

import json
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
from cds_service.advice.needs import needs_of
from cds_service.advice.one_bundle import NotOnePatient, hook_request, is_hook_request
from cds_service.console.access import audit, needs
from cds_service.console.pages import Column, page, table
from cds_service.console.parts import Parts
from cds_service.content.site import SiteValues, read_site
from cds_service.fhir.strict_json import NotStrict, check
from cds_service.hooks.problems import Problem
from cds_service.hooks.request import chart_of, parse_call
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
    body = text.encode("utf-8", "replace")
    try:
        check(body)
        document = json.loads(body)
    except NotStrict as fault:
        raise _Refused(fault.text) from None
    except (ValueError, RecursionError):
        raise _Refused("This is not JSON.") from None
    called = is_hook_request(document)
    if not called and not (isinstance(document, dict) and document.get("resourceType") == "Bundle"):
        raise _Refused("This is neither a CDS Hooks request nor a FHIR Bundle.")
    rulebook = parts.current.on(parts.now().date())
    asked = str(document["hook"]) if called else hook
    service = next((name for name, item in content.library.services.items() if item.hook == asked), None)
    if service is None:
        raise _Refused("No service answers the hook of this request.")
    wanted = needs_of(rulebook, service).values()
    vocabulary = parts.vocabulary.of_site(rulebook.site)
    try:
        call = parse_call(body if called else orjson.dumps(hook_request(document, asked, wanted)), asked)
        chart = chart_of(call, wanted, vocabulary, rulebook, parts.now())
    except NotOnePatient as error:
        raise _Refused(f"{error}.") from None
    except Problem as problem:
        lines = [f"{', '.join(each.expression)}: {each.text}".removeprefix(": ") for each in problem.issues]
        raise _Refused(*lines) from None
    advice = advise(
        chart, rulebook, service, units=vocabulary.units, style=CardStyle(),
        encounter_named=call.envelope.context.encounterId is not None,
    )  # fmt: skip
    tried = [each.rule_id for each in advice.evaluation.outcomes]
    if rule and rule not in tried:
        raise _Refused(f"{asked} has no rule of this id{nearest(rule, tried)}.")
    answer = advice.answer()
    return {
        "hook": asked,
        "cards": [{name: card[name] for name in ("summary", "indicator", "detail")} for card in answer["cards"]],
        "outcomes": answer["extension"]["org.magnesium-cds"]["outcomes"],
        "why": tree(advice, rulebook, service, rule) if rule else None,
    }
