"""What the OpenAPI document is made from: the models that read each body, and the service that is described."""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import Any

import orjson
from pydantic import BaseModel

from cds_service.content.library import Library
from cds_service.content.rulebook import Rulebook, make_rulebook
from cds_service.content.site import NO_SITE
from cds_service.hooks.feedback import MAX_ITEMS, Feedback
from cds_service.hooks.request import Envelope
from cds_service.publish.openapi import MODELS, Service, document
from cds_service.settings import Settings
from cds_service.trust.profile import services_served
from cds_service.web.plan_question import PlanAnswer, PlanQuestion


@cache
def models() -> dict[str, dict[str, Any]]:
    """JSON Schemas of our models, by name, those that they hold among them."""
    found: dict[str, dict[str, Any]] = {}
    for model in (Envelope, Feedback, PlanQuestion, PlanAnswer):
        _add(found, model)
    found |= _feedback(found.pop("Feedback"))
    return found


def _feedback(item: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The body of feedback: what was accepted names its suggestions, which the model leaves to the endpoint."""
    taken = item["properties"]["acceptedSuggestions"]["anyOf"][0] | {"minItems": 1}
    made = {}
    for outcome, more in (("accepted", {"acceptedSuggestions": taken}), ("overridden", {})):
        needed = [*item["required"], *more]
        named = item["properties"] | {"outcome": {"const": outcome}} | more
        made[outcome.capitalize()] = item | {"required": needed, "properties": named}
    items = {"anyOf": [{"$ref": _ref(name)} for name in made]}
    listed = {"type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": items}
    return made | {"FeedbackRequest": {"type": "object", "required": ["feedback"], "properties": {"feedback": listed}}}


def _ref(name: str) -> str:
    return MODELS.format(model=name)


def _add(found: dict[str, dict[str, Any]], model: type[BaseModel]) -> None:
    schema = _untitled(model.model_json_schema(ref_template=MODELS))
    found.update(schema.pop("$defs", {}))
    found[model.__name__] = schema


def _untitled(schema: Any) -> Any:
    """Without the titles that are made from the names of members."""
    if isinstance(schema, dict):
        return {key: _untitled(value) for key, value in schema.items() if key != "title" or not isinstance(value, str)}
    return [_untitled(item) for item in schema] if isinstance(schema, list) else schema


def described(rulebook: Rulebook, settings: Settings, version: str, base: str, open_calls: bool) -> dict[str, Any]:
    """The document of a service with these settings. `base`: its URL, "" where it is not known."""
    served = services_served(rulebook.library.services, settings.split_services)
    services = {id_: name for id_, (name, _) in served.items()}
    return document(Service(rulebook, services, models(), version, base, settings.today_windows, open_calls))


def openapi_text(library: Library, settings: Settings, version: str) -> str:
    """The document as a file: for a service that asks for tokens, of the rules as they ship, whatever the day is."""
    told = described(
        make_rulebook(library, NO_SITE, date.max), settings, version, settings.public_url or "", open_calls=False
    )
    return orjson.dumps(told, option=orjson.OPT_INDENT_2).decode() + "\n"
