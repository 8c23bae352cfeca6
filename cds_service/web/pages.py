"""Our content over HTTP: web pages of rules and claims, and the same as JSON, CSV and FHIR for other machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from flask import Blueprint, Response, current_app, render_template, request

from cds_service.advice.advise import INDICATORS
from cds_service.advice.loaded_content import Content
from cds_service.content.current import CurrentRulebook
from cds_service.content.library import Library, LoadedRule
from cds_service.content.rulebook import Rulebook
from cds_service.content.shared import Claim
from cds_service.hooks.errors import FHIR_JSON
from cds_service.hooks.html import CSP, HEADERS, html_response
from cds_service.hooks.problems import Issue, Problem
from cds_service.publish import fhir
from cds_service.publish.changes import feed, feed_json, title_of
from cds_service.publish.examples import ExampleBook
from cds_service.publish.finding import (
    ALLOWED,
    WORST_FIRST,
    ClaimFilters,
    Found,
    Index,
    RuleFilters,
    faults_of_filters,
)
from cds_service.publish.rule_in_words import evidence_of, rule_view
from cds_service.publish.set_here import set_here
from cds_service.web.answers import MAX_QUERY, csv_answer, forms, json_answer, known
from cds_service.web.source_pages import add_sources

__all__ = ["CSP", "HEADERS", "content_blueprint", "html_response"]
FEW = 25  # so many are shown open; a longer list begins folded but for what is most urgent
T = TypeVar("T")
F = TypeVar("F", RuleFilters, ClaimFilters)


def content_blueprint(
    current: CurrentRulebook, content: Content, dev: bool, now: Callable[[], datetime], base: Callable[[], str]
) -> Blueprint:
    """GET /evidence and /claims (searched and filtered by their query, as .json and .csv too), one page of each below
    it, as .json too; /sources and below; /evidence/changes, also as .json and .atom, with addresses below `base`;
    /favicon.ico; and /fhir/PlanDefinition/<rule>, /fhir/ValueSet/<concept>, /fhir/Questionnaire/magnesium-intake.

    The pages are readable without JavaScript and without login.
    """
    blueprint = Blueprint("content", __name__, template_folder="templates", static_folder="static",
                          static_url_path="/static")  # fmt: skip
    library = current.library
    index, book = Index(library), ExampleBook(content)
    icon = (Path(__file__).parent / "static/icon.svg").read_bytes()

    @blueprint.app_context_processor
    def frame() -> dict[str, Any]:
        """What base.html asks for, on whatever page; also on that of a fault."""
        return {"dev": dev, "has_page": lambda endpoint: endpoint in current_app.view_functions}

    @blueprint.get("/favicon.ico")
    def favicon() -> Response:
        """For browsers that ask without having been told of it."""
        return Response(icon, content_type="image/svg+xml; charset=utf-8", headers={"Cache-Control": "max-age=86400"})

    def rulebook() -> Rulebook:
        return current.on(now().date())

    def page(template: str, **values: Any) -> Response:
        return html_response(render_template(template, library=library, **values))

    @blueprint.get("/evidence")
    def rules() -> Response:
        asked = _asked(RuleFilters)
        found = index.rules(asked)
        return page(
            "evidence_index.html", asked=asked, found=found, groups=_groups(found.items, _indicator, INDICATORS),
            state=lambda loaded: _state(loaded, rulebook()), drugs=index.drugs, allowed=ALLOWED, few=FEW,
            forms=forms(".rules_json", ".rules_csv", **_said(asked)),
        )  # fmt: skip

    @blueprint.get("/evidence.json")
    def rules_json() -> Response:
        asked = _asked(RuleFilters)
        found = _none_of_an_unknown_drug(index.rules(asked))
        listed = [_rule_row(loaded, rulebook(), base()) for loaded in found.items.values()]
        settled = [{"interaction": name, "why": why.strip()} for name, why in (found.settled or {}).items()]
        return json_answer(
            {"asked": _said(asked), "of": len(library.rules), "rules": listed, "noRuleOnPurpose": settled}
        )

    @blueprint.get("/evidence.csv")
    def rules_csv() -> Response:
        found = _none_of_an_unknown_drug(index.rules(_asked(RuleFilters)))
        return csv_answer(
            "evidence", RULE_COLUMNS, (_rule_row(one, rulebook(), base()) for one in found.items.values())
        )

    @blueprint.get("/evidence/changes")
    def changes() -> Response:
        return page("changes.html", entries=feed(library), forms=forms(".changes_json", ".changes_atom"))

    @blueprint.get("/evidence/changes.atom")
    def changes_atom() -> Response:
        text = render_template("changes.atom.xml", library=library, entries=feed(library), base=base(),
                               title_of=title_of)  # fmt: skip
        return Response(text, content_type="application/atom+xml; charset=utf-8")

    @blueprint.get("/evidence/changes.json")
    def changes_json() -> Response:
        return json_answer(feed_json(library, base()))

    @blueprint.get("/evidence/<rule_id>")
    def rule(rule_id: str) -> Response:
        loaded, book_now = known(library.rules, rule_id, "rule"), rulebook()
        return page(
            "evidence_page.html", **rule_view(loaded, book_now), set_here=set_here(loaded, book_now),
            examples=book.examples(loaded, book_now), state=_state(loaded, book_now),
            forms=forms(".rule_json", ".plan_definition", rule_id=rule_id),
        )  # fmt: skip

    @blueprint.get("/evidence/<rule_id>.json")
    def rule_json(rule_id: str) -> Response:
        loaded, book_now = known(library.rules, rule_id, "rule"), rulebook()
        more = {
            "kind": loaded.folder,
            "indicator": loaded.rule.card.indicator,
            "shownHere": _state(loaded, book_now),
            "setHere": [each.as_json() for each in set_here(loaded, book_now)],
            "examples": book.examples(loaded, book_now).as_json(),
        }
        return json_answer(evidence_of(loaded, book_now) | more)

    @blueprint.get("/claims")
    def claims() -> Response:
        asked = _asked(ClaimFilters)
        found = index.claims(asked)
        return page(
            "claims.html", asked=asked, found=found, groups=_groups(found.items, _verdict, WORST_FIRST),
            allowed=ALLOWED, few=FEW, forms=forms(".claims_json", ".claims_csv", **_said(asked)),
        )  # fmt: skip

    @blueprint.get("/claims.json")
    def claims_json() -> Response:
        found = index.claims(_asked(ClaimFilters)).items
        return json_answer({"claims": [claim_json(name, claim, library) for name, claim in found.items()]})

    @blueprint.get("/claims.csv")
    def claims_csv() -> Response:
        found = index.claims(_asked(ClaimFilters)).items
        rows = ({"id": name, **claim.model_dump(mode="json"), "rules": "; ".join(claim.rules),
                 "url": f"{base()}/claims/{name}"} for name, claim in found.items())  # fmt: skip
        return csv_answer("claims", CLAIM_COLUMNS, rows)

    @blueprint.get("/claims/<claim_id>")
    def claim(claim_id: str) -> Response:
        shown = known(library.claims, claim_id, "claim")
        return page("claim.html", name=claim_id, claim=shown, forms=forms(".one_claim_json", claim_id=claim_id))

    @blueprint.get("/claims/<claim_id>.json")
    def one_claim_json(claim_id: str) -> Response:
        return json_answer(claim_json(claim_id, known(library.claims, claim_id, "claim"), library))

    @blueprint.get("/fhir/PlanDefinition/<rule_id>")
    def plan_definition(rule_id: str) -> Response:
        return json_answer(fhir.plan_definition(known(library.rules, rule_id, "rule"), rulebook()), FHIR_JSON)

    @blueprint.get("/fhir/ValueSet/<concept>")
    def value_set(concept: str) -> Response:
        return json_answer(fhir.value_set(concept, known(library.terminology, concept, "concept"), library), FHIR_JSON)

    @blueprint.get("/fhir/Questionnaire/magnesium-intake")
    def questionnaire() -> Response:
        return json_answer(fhir.questionnaire(library.screener), FHIR_JSON)

    add_sources(blueprint, library)
    return blueprint


RULE_COLUMNS = ("id", "title", "indicator", "kind", "certainty", "strength", "direction", "source", "status",
                "shownHere", "version", "url")  # fmt: skip
CLAIM_COLUMNS = ("id", "claim", "verdict", "certainty", "topic", "statement", "rules", "url")


def _asked(kind: type[F]) -> F:
    """The filters of the query. Raises Problem 400 where one has a value that does not exist."""
    asked = kind(**{field.name: request.args.get(field.name, "")[:MAX_QUERY].strip() for field in fields(kind)})
    if faults := faults_of_filters(asked):
        raise Problem(400, [Issue(text, (name,), "value", error="value-not-allowed") for name, text in faults])
    return asked


def _said(asked: RuleFilters | ClaimFilters) -> dict[str, str]:
    return {name: value for name, value in asdict(asked).items() if value}


def _none_of_an_unknown_drug(found: Found[T]) -> Found[T]:
    """What was found. Raises Problem 400 where it was asked for a drug that nobody here knows: an empty list would
    read as if there were nothing to say of it."""
    if found.unknown_drug:
        words = "drug: no drug is known here by this name. Search with q, or leave it out."
        raise Problem.of(400, words, "drug", error="value-not-allowed", code="value")
    return found


def _groups(items: Mapping[str, T], key: Callable[[T], str], order: Sequence[str]) -> dict[str, dict[str, T]]:
    """What was found by `key`, in this order, without empty groups."""
    made = {each: {name: item for name, item in items.items() if key(item) == each} for each in order}
    return {name: group for name, group in made.items() if group}


def _indicator(loaded: LoadedRule) -> str:
    return loaded.rule.card.indicator


def _verdict(claim: Claim) -> str:
    return claim.verdict


def _state(loaded: LoadedRule, rulebook: Rulebook) -> str:
    """Whether its cards are shown here: shown, silent, hidden; else draft or retired."""
    active = rulebook.rules.get(loaded.id)
    return active.visibility if active else loaded.rule.status


def _rule_row(loaded: LoadedRule, rulebook: Rulebook, base: str) -> dict[str, Any]:
    """A rule in a list for machines."""
    rule = loaded.rule
    return {
        "id": loaded.id, "title": rule.title, "indicator": rule.card.indicator, "kind": loaded.folder,
        "certainty": rule.evidence.certainty, "strength": rule.evidence.strength,
        "direction": rule.evidence.direction, "source": rulebook.library.source(rule.evidence.references[0]),
        "status": rule.status, "shownHere": _state(loaded, rulebook), "version": loaded.version,
        "url": f"{base}/evidence/{loaded.id}",
    }  # fmt: skip


def claim_json(name: str, claim: Claim, library: Library) -> dict[str, Any]:
    """A claim with its sources and their check status; only citable ones count as sources."""
    item = {"id": name, **claim.model_dump(mode="json", exclude_none=True, exclude={"references"})}
    item["sources"] = [
        {"key": key, "citable": library.references[key].citable,
         **library.references[key].model_dump(mode="json", exclude_none=True)}
        for key in claim.references
    ]  # fmt: skip
    return item
