"""Examples of calls, made for the moment at which they are asked for: results of sample patients never go stale."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final, Literal
from uuid import NAMESPACE_URL, uuid5

from pydantic import BaseModel, ConfigDict, TypeAdapter

from cds_service.content.yamlfile import parse
from cds_service.sandbox import patients
from cds_service.sandbox.asking import hook_request

FILE: Final = "examples.yaml"
JSON_HEADER: Final = "-H 'Content-Type: application/json'"
Json = dict[str, Any]


class Example(BaseModel):
    """One entry. `shows` is the rule of the first card, "" for no card, None where no cards are answered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    about: str
    call: Literal["hook", "feedback", "plan", "bundle"]
    hook: str = ""
    patient: str = ""
    drafts: tuple[str, ...] = ()
    prefetch: bool = True
    shows: str | None = None
    body: Json = {}

    def path(self, services: Mapping[str, str]) -> str:
        """Where it is POSTed; "" for a Bundle. `services`: id by hook."""
        match self.call:
            case "hook":
                return f"/cds-services/{services[self.hook]}"
            case "feedback":
                return f"/cds-services/{services[self.hook]}/feedback"
            case "plan":
                return "/plan"
            case "bundle":
                return ""


@cache
def examples() -> Mapping[str, Example]:
    """By name, in the order of the file."""
    text = (files("cds_service.publish") / FILE).read_text(encoding="utf-8")
    return MappingProxyType(TypeAdapter(dict[str, Example]).validate_python(parse(text, FILE).data))


def body_of(name: str, example: Example, templates: Mapping[str, str], now: datetime) -> Json:
    """What is sent, as at `now`. `templates`: the queries of the service's prefetch, by key."""
    if example.call == "plan":
        return deepcopy(example.body)
    if example.call == "feedback":
        body = deepcopy(example.body)
        for item in body["feedback"]:
            item["outcomeTimestamp"] = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return body
    sample = patients.load()[example.patient]
    if example.call == "bundle":
        bundle = sample.bundle(now)
        bundle["entry"] += [{"resource": sample.draft(draft, now)} for draft in example.drafts]
        return bundle
    body = hook_request(sample, example.hook, templates, now)
    if example.drafts:
        chosen = sample.draft_context(now, *example.drafts)
        body["context"] |= {member: chosen[member] for member in chosen if member in body["context"]}
    # The same for the same moment, so that whoever compares two copies finds no difference.
    body["hookInstance"] = str(uuid5(NAMESPACE_URL, f"{name} {now.isoformat()}"))
    if not example.prefetch:
        del body["prefetch"]
    return body


def curl(name: str, path: str, base: str) -> str:
    """One line that makes the call on a machine with curl. `path`: where it is POSTed; "" for a Bundle."""
    source = f"curl -s {base}/examples/{name}.json"
    if not path:
        return f"{source} | magnesium-cds evaluate --hook {examples()[name].hook} -"
    return f"{source} | curl -s {JSON_HEADER} --data-binary @- {base}{path}"


def as_json(name: str, example: Example, path: str, base: str) -> Json:
    """An entry of the list, for other machines."""
    said = {"name": name, "title": example.title, "about": example.about, "call": example.call}
    said |= {"body": f"{base}/examples/{name}.json", "curl": curl(name, path, base)}
    return said | ({"method": "POST", "url": f"{base}{path}"} if path else {})
