"""The OpenAPI 3.1 document: the models of the code, what each prefetch key is for, and every refusal by its code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, TypeAdapter

from cds_service.advice.needs import inputs_read, needs_of
from cds_service.content.rulebook import Rulebook
from cds_service.content.yamlfile import parse
from cds_service.fhir import Need
from cds_service.publish.example_requests import Example, examples
from cds_service.publish.refusals import example, refusals
from cds_service.store.statements import EXPORTED

Json = dict[str, Any]
REF: Final = "#/components/schemas/"
MODELS: Final = REF + "{model}"  # pydantic's ref_template
HOOK: Final = "hook"  # the body of the call of a service
SERVICE_ROUTE: Final = "/cds-services/<service_id>"
ORDER_HOOKS: Final = ("order-select", "order-sign")
_ARGUMENT: Final = re.compile(r"<(?:\w+:)?(\w+)>")
_RETRY: Final = {"description": "Seconds after which to try again.", "schema": {"type": "integer"}}
_HEADERS: Final[Mapping[int, Json]] = {
    401: {"WWW-Authenticate": {"schema": {"const": "Bearer"}}},
    429: {"Retry-After": _RETRY},
    503: {"Retry-After": _RETRY},
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Param(_Strict):
    """A parameter. `in_` says where it stands; one of the path unless said."""

    schema_: Json
    about: str
    in_: str = "path"
    example: str = ""


class Operation(_Strict):
    """One method of one route, as `openapi.yaml` says it."""

    tag: str
    summary: str
    about: str = ""
    params: Mapping[str, Param] = {}
    body: str = ""
    examples: tuple[str, ...] = ()
    answers: Mapping[str, str]
    refusals: tuple[str, ...] = ()
    token: bool = False


class Written(_Strict):
    """`openapi.yaml` as a whole."""

    about: str
    tags: Mapping[str, str]
    groups: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, str]
    operations: Mapping[str, Mapping[str, Operation]]


@dataclass(frozen=True)
class Service:
    """What the document is made from. `services`: hook service by every id that is served. `models`: JSON Schemas of
    the code's own models, by name. `base`: our URL, "" for that of the document. `open_calls`: no token is needed."""

    rulebook: Rulebook
    services: Mapping[str, str]
    models: Mapping[str, Json]
    version: str
    base: str = ""
    windows: bool = False
    open_calls: bool = False


@cache
def written() -> Written:
    """What is written by hand: the addresses, their words, the codes that each can refuse with."""
    data = _read("openapi.yaml")
    for operation in (each for methods in data["operations"].values() for each in methods.values()):
        for param in operation.get("params", {}).values():
            param["schema_"] = param.pop("schema")
            param["in_"] = param.pop("in", "path")
    return Written.model_validate(data)


@cache
def answer_schemas() -> Mapping[str, Json]:
    """JSON Schemas of what is answered, by name."""
    return TypeAdapter(dict[str, Json]).validate_python(_read("answers.yaml"))


def _read(file: str) -> Any:
    return parse((files("cds_service.publish") / file).read_text(encoding="utf-8"), file).data


def document(service: Service) -> Json:
    """The whole document."""
    told = written()
    paths: Json = {}
    for route, methods in told.operations.items():
        for path, id_ in _paths(route, service):
            paths[path] = {method: _operation(service, route, method, each, id_) for method, each in methods.items()}
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Magnesium CDS",
            "version": service.version,
            "summary": "CDS Hooks: advisory cards on magnesium, each with its evidence strength",
            "description": told.about,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": service.base or "/"}],
        "tags": [{"name": name, "description": text} for name, text in told.tags.items()],
        "paths": paths,
        "components": {
            "schemas": _schemas(service),
            "examples": {
                code: {"summary": refusal.title, "value": example(code, refusal, service.base)}
                for code, refusal in refusals().items()
            },
            "securitySchemes": {"cdsHooks": _token()},
        },
    }


def path_of(route: str) -> str:
    """A route of Flask as OpenAPI writes it."""
    return _ARGUMENT.sub(r"{\1}", route)


def _paths(route: str, service: Service) -> Iterator[tuple[str, str]]:
    """The paths of a route, with the id of the service where there is one for each."""
    if route == SERVICE_ROUTE:
        yield from ((f"/cds-services/{id_}", id_) for id_ in service.services)
    else:
        yield path_of(route), ""


def _token() -> Json:
    about = (
        "The JWT of CDS Hooks: signed by the client (ES384 or RS384), made for the address called (aud), new for each"
        " call (jti). Which clients may call is declared on the server."
    )
    return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": about}


def _operation(service: Service, route: str, method: str, told: Operation, id_: str) -> Json:
    of_hook = service.rulebook.library.services[service.services[id_]] if id_ else None
    made: Json = {
        "operationId": _operation_id(method, route, id_),
        "tags": [told.tag],
        "summary": f"{told.summary}: {of_hook.hook}" if of_hook else told.summary,
    }
    about = " ".join([of_hook.description.strip(), of_hook.usage_requirements.strip()]) if of_hook else told.about
    if route == "/feedback":
        about += f" Columns: {', '.join(EXPORTED)}."
    if about:
        made["description"] = about
    names = told.params if not of_hook else {}
    if names:
        made["parameters"] = [_parameter(name, param) for name, param in names.items()]
    if told.body:
        schema = _request_name(of_hook.hook) if of_hook else told.body
        chosen = [name for name, each in examples().items() if of_hook and each.call == "hook"
                  and each.hook == of_hook.hook] or told.examples  # fmt: skip
        content = {"schema": {"$ref": REF + schema}, "examples": {name: _example(service, name) for name in chosen}}
        made["requestBody"] = {"required": True, "content": {"application/json": content}}
    made["responses"] = {"200": _answered(told.answers)} | dict(refused(told))
    if told.token:
        made["security"] = [{"cdsHooks": []}, *([{}] if service.open_calls else [])]
    return made


def _operation_id(method: str, route: str, id_: str) -> str:
    """`post_plan`, `get_evidence_rule_id_json`, `post_magnesium_patient_view`."""
    words = re.findall(r"[A-Za-z]+", id_ or _ARGUMENT.sub(r"\1", route)) or ["home"]
    return "_".join([method, *words])


def _parameter(name: str, param: Param) -> Json:
    made: Json = {"name": name, "in": param.in_, "required": param.in_ == "path", "description": param.about}
    made["schema"] = dict(param.schema_)
    return made | ({"example": param.example} if param.example else {})


def _example(service: Service, name: str) -> Json:
    """Where the body is: it is made for the moment, so that no result in it is old."""
    told: Example = examples()[name]
    return {"summary": told.title, "description": told.about, "externalValue": f"{service.base}/examples/{name}.json"}


def _answered(answers: Mapping[str, str]) -> Json:
    content = {media: {"schema": {"$ref": REF + name} if name else {"type": "string"}}
               for media, name in answers.items() if media}  # fmt: skip
    return {"description": "As asked." if content else "Stored. There is no body."} | (
        {"content": content} if content else {}
    )


def codes_of(told: Operation) -> list[str]:
    """Every code that an operation can refuse with, in the order of the catalogue; a fault of ours always can be."""
    groups = written().groups
    named = {code for name in told.refusals for code in groups.get(name, (name,))} | {"fault-of-ours"}
    return [code for code in refusals() if code in named]


def refused(told: Operation) -> Iterator[tuple[str, Json]]:
    """The answers that are refusals, by status, with an example of each code."""
    by_status: dict[int, list[str]] = {}
    for code in codes_of(told):
        by_status.setdefault(refusals()[code].status[0], []).append(code)
    for status, codes in sorted(by_status.items()):
        shown = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
        content = {"schema": {"$ref": REF + "OperationOutcome"}, "examples": shown}
        made: Json = {"description": "; ".join(f"{refusals()[code].title} (`{code}`)" for code in codes) + "."}
        made["content"] = {"application/fhir+json": content}
        yield str(status), made | ({"headers": dict(_HEADERS[status])} if status in _HEADERS else {})


def _schemas(service: Service) -> Json:
    hooks = dict.fromkeys(service.services.values())
    envelope = service.models["Envelope"]
    made: Json = {name: schema for name, schema in service.models.items() if name not in ("Envelope", "Context")}
    made |= answer_schemas()
    made["ErrorCode"] = {"enum": list(refusals()), "description": "Code of a refusal."}
    made["ExampleName"] = {"enum": list(examples()), "description": "Name of an example."}
    made["ServiceId"] = {"enum": list(service.services), "description": "Id of a service, as discovery lists it."}
    for name in hooks:
        hook = service.rulebook.library.services[name].hook
        needs = needs_of(service.rulebook, name, service.windows)
        made[_request_name(hook)] = _request(hook, envelope, service.models["Context"], _prefetch(service, name, needs))
    return dict(sorted(made.items()))


def _request_name(hook: str) -> str:
    return "".join(word.capitalize() for word in hook.split("-")) + "Request"


def _request(hook: str, envelope: Json, context: Json, prefetch: Json) -> Json:
    """The body of a hook: the envelope of the code, with what is read apart from it."""
    inside = dict(context["properties"])
    needed = list(context["required"])
    if hook in ORDER_HOOKS:
        words = "The orders that are not signed yet."
        inside["draftOrders"] = {"$ref": REF + "Bundle", "description": words}
        needed.append("draftOrders")
    if hook == "order-select":
        words = "Which of the drafts were selected, such as MedicationRequest/abc."
        inside["selections"] = {k: v for k, v in inside["selections"].items() if k != "default"} | {
            "description": words
        }
        needed.append("selections")
    else:
        inside.pop("selections", None)
    body = {name: value for name, value in envelope["properties"].items() if name != "context"}
    body["hook"] = {"const": hook}
    body["context"] = {"type": "object", "required": needed, "properties": inside}
    body["prefetch"] = prefetch
    return {"title": f"Call of {hook}", "type": "object", "required": list(envelope["required"]), "properties": body}


def _prefetch(service: Service, name: str, needs: Mapping[str, Need]) -> Json:
    about = (
        "What the service asks for, by key. A key that is left out is read from fhirServer where that is allowed, else"
        " reported as not checked; null says that there is none. Other keys are named in the answer's diagnostics."
    )
    listed: Json = {}
    for key, words in needs_in_words(service.rulebook, name, needs).items():
        schemas = [{"$ref": REF + ("Bundle" if "?" in needs[key].template else "Resource")}, {"type": "null"}]
        listed[key] = {"anyOf": schemas, "description": words}
    return {"type": ["object", "null"], "description": about, "properties": listed}


def needs_in_words(rulebook: Rulebook, service: str, needs: Mapping[str, Need]) -> dict[str, str]:
    """What each prefetch key of a service holds, and on which topics the rules are that read it."""
    library = rulebook.library
    topics: dict[str, list[str]] = {key: [] for key in needs}
    for rule in sorted(rulebook.ever_tried(service), key=lambda rule: rule.loaded.folder):
        for key in inputs_read(rule.loaded.rule, library) & needs.keys():
            topics[key].append(library.wording.topics[rule.loaded.folder].lower())
    tests: dict[str, list[str]] = {}
    for entry in sorted(library.terminology.values(), key=lambda entry: entry.title):
        if entry.input and entry.codes:
            tests.setdefault(entry.input, []).append(entry.title)
    told = {}
    for key, need in needs.items():
        words, named = library.wording.inputs.get(key, key), tests.get(key, [])
        shown = [title for title in named if len(named) > 1 or title.lower() not in words.lower()]
        form = f"Bundle of {need.resource_type}" if "?" in need.template else need.resource_type
        lines = [f"{words[0].upper()}{words[1:]} ({form}){': ' if shown else ''}{', '.join(shown)}."]
        lines += [f"Read by rules on {', '.join(dict.fromkeys(topics[key]))}."] if topics[key] else []
        told[key] = " ".join(lines)
    return told
