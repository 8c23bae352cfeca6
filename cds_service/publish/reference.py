"""`docs/reference/`: what the code and the content know of themselves, as pages that nobody writes by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, MaxLen
from pydantic.fields import FieldInfo

from cds_service.advice.needs import all_needs, inputs_read
from cds_service.content.library import RULE_FOLDERS, Library, LoadedRule
from cds_service.fhir import Need
from cds_service.logs import LOG_EVENTS, LOG_FIELDS, OURS
from cds_service.metrics.table import BUCKETS, METRICS
from cds_service.publish.refusals import refusals
from cds_service.settings import PREFIX, Settings

WRITTEN: Final = "Written by `magnesium-cds catalogue` from {source}; do not edit."
FEW: Final = 8  # so many rules are named one by one

SETTINGS = """
In `settings.toml` by its name, as a variable of the environment, or as an option of `magnesium-cds serve`; the last
wins. Options without a name here are set in the file or the environment only. Lists are `["one", "two"]` in the file,
and words with blanks between them in the environment. A path is relative to the folder in which the command runs. A
setting that does not exist, or cannot have its value, keeps the service from starting, and is named.
"""
PREFETCH = """
What the rules read, by the key of CDS Hooks under which it is sent. A service asks in discovery for the keys that its
rules read, with the templates below; send each under its own key. A key that is missing is read from the FHIR server
where one may be read, and else told as not checked: never taken for normal. [What is read](../what-is-read.md) of
each resource, and [how it is read from a FHIR server](../integration.md#fhir-servers), stand on pages of their own.

Codes of the hospital's own join the templates once the site values name them ([site values](../site-values.md)).
"""
RULES = """
One file is one rule; its name is the rule's id. A running service shows each at `/evidence/ID`, with thresholds,
sources and known limits; `magnesium-cds show ID` prints it whole. [The list for reviewers](../../cards/README.md)
says more of sources and reviews. [How to write a rule](../rules.md).
"""
ERRORS = """
Every refusal is a FHIR OperationOutcome; `issue.details.coding` holds its code, and `issue.diagnostics` the address of
its page in the running service, `/errors/CODE`. It says what is wrong and at which place, and never repeats a value.
**An EHR must not take a refusal for "nothing to say".** The same by status, with what else to look at:
[what each refusal means](../integration.md#what-each-refusal-means).
"""
LOG = """
One JSON object a line, on stderr. No field holds a path, query, id, name, address or header of a patient's call: what
is not on the list is dropped before it is written.
Lines of libraries have `event`, `level`, `logger` and `timestamp` alone. With `log_level = "INFO"` each answered
request is one line, `"event": "request"`. What to do with them: [Watching the service](../operate/observe.md).
"""
METRICS_SAY = """
What `/metrics` tells Prometheus, and what each label may hold. A counter stands at 0 or is missing until its first
event. Test patients (canaries, trials) are counted nowhere. Histograms have the buckets {buckets} seconds. How to
scrape, alerts and dashboard: [Watching the service](../operate/observe.md).
"""


def reference_pages(library: Library, flags: Mapping[str, str]) -> dict[str, str]:
    """Every page by file name. `flags`: setting -> option of `serve`."""
    return {
        "settings.md": settings_page(flags),
        "prefetch.md": prefetch_page(library),
        "rules.md": rules_page(library),
        "errors.md": errors_page(),
        "log.md": log_page(),
        "metrics.md": metrics_page(),
    }


def page(title: str, source: str, says: str, *parts: str) -> str:
    """One page: title, where it is from, what to know, the rest."""
    return "\n\n".join([f"# {title}", WRITTEN.format(source=source), says.strip(), *parts]) + "\n"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown; a bar in a cell is escaped."""
    columns = list(head)
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows)])


def _cell(value: object) -> str:
    text = " ".join(str(value).replace("|", "\\|").split())
    return text if "`" in text else text.replace("<", "\\<")  # which would be taken for HTML


def settings_page(flags: Mapping[str, str]) -> str:
    """Every setting: name, meaning, default, what may stand there, variable, option."""
    rows = [
        (f"`{name}`", field.description, plain(field.default), allowed(field), f"`{PREFIX}{name.upper()}`",
         f"`{flags[name]}`" if name in flags else "")
        for name, field in Settings.model_fields.items()
    ]  # fmt: skip
    head = ("setting", "what", "unless set", "may be", "in the environment", "option of `serve`")
    return page("Settings", "`cds_service/settings.py`", SETTINGS, table(head, rows))


def plain(value: Any) -> str:
    """A default as it is written in a settings file, without quotes."""
    return "" if value in (None, ()) else str(value).lower() if isinstance(value, bool) else str(value)


def allowed(field: FieldInfo) -> str:
    """What a setting may be, in words: its choices, its range or its kind."""
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)]
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in kinds)
    kind = kinds[0] if kinds and get_origin(field.annotation) is not tuple else field.annotation
    if get_origin(kind) is tuple:
        return "a list"
    low, high, above = (_bound(field, of) for of in ("ge", "le", "gt"))
    if low is not None and high is not None:
        return f"{low:,} to {high:,}"
    if above is not None:
        return f"above {above}" + (f", at most {high}" if high is not None else "")
    if low is not None:
        return f"{low:,} or more"
    names = {"bool": "`true`, `false`", "Path": "a path", "int": "a number", "float": "a number", "str": "text"}
    longest = next((item.max_length for item in field.metadata if isinstance(item, MaxLen)), None)
    return names.get(getattr(kind, "__name__", ""), "a list") + (f", at most {longest} characters" if longest else "")


def _bound(field: FieldInfo, of: str) -> Any:
    bounds = (getattr(item, of, None) for item in field.metadata if isinstance(item, (Ge, Gt, Le)))
    return next((bound for bound in bounds if bound is not None), None)


def prefetch_page(library: Library) -> str:
    """Every prefetch key: what it is, which service asks for it, which rules read it, and its template."""
    needs = all_needs(library)
    active = [loaded for loaded in library.rules.values() if loaded.rule.status == "active"]
    readers = {key: [item for item in active if key in inputs_read(item.rule, library)] for key in needs}
    needs = {key: need for key, need in needs.items() if readers[key]}  # what no rule reads is asked of nobody
    rows = [
        (f"[`{key}`](#{key})", _what(key, library), need.resource_type, _asking(readers[key], library),
         len(readers[key]))
        for key, need in needs.items()
    ]  # fmt: skip
    head = ("key", "what", "FHIR resource", "asked for by", "rules that read it")
    parts = [_one_key(key, need, readers[key], library) for key, need in needs.items()]
    return page("Prefetch keys", "the rules and `cds_service/advice/needs.py`", PREFETCH, table(head, rows), *parts)


def _what(key: str, library: Library, begin: bool = False) -> str:
    """What is sent under a key: its own name, or those of what is measured."""
    tests = [entry.title for entry in library.terminology.values() if entry.input == key]
    words = library.wording.inputs.get(key) or ", ".join(tests)
    return words[:1].upper() + words[1:] if begin else words


def _asking(readers: Iterable[LoadedRule], library: Library) -> str:
    services = {name for item in readers for name in item.rule.services}
    return ", ".join(service.hook for name, service in library.services.items() if name in services)


def _one_key(key: str, need: Need, readers: list[LoadedRule], library: Library) -> str:
    if len(readers) > FEW:
        topics: dict[str, int] = {}
        for item in readers:
            topics[item.folder] = topics.get(item.folder, 0) + 1
        told = ", ".join(f"{count} on {library.wording.topics[folder].lower()}" for folder, count in topics.items())
        what = f"Read by {len(readers)} rules: {told}."
    else:
        what = "Read by " + (", ".join(f"`{item.id}`" for item in readers)) + "."
    if need.in_encounter:
        what += " Asked for only in a call that names an encounter."
    return f"## {key}\n\n{_what(key, library, begin=True)}. {what}\n\n```text\n{need.template}\n```"


def rules_page(library: Library) -> str:
    """Every rule in a line, by folder, with a link to its file."""
    parts = []
    for folder in RULE_FOLDERS:
        rules = sorted((item for item in library.rules.values() if item.folder == folder), key=lambda item: item.id)
        if rules:
            head = ("rule", "what it says", "hooks", "urgency", "evidence", "a site may set")
            parts.append(f"## {library.wording.topics[folder]}\n\n{table(head, (_rule(r, library) for r in rules))}")
    return page("Rules", "`cards/`", RULES, *parts)


def _rule(loaded: LoadedRule, library: Library) -> tuple[str, ...]:
    rule = loaded.rule
    evidence = f"{library.evidence.certainty[rule.evidence.certainty].label}; {rule.evidence.strength}"
    ranges = [
        f"{item.label[:1].lower()}{item.label[1:]}: {item.site_may_set[0]} to {item.site_may_set[1]} {item.unit}"
        for item in rule.thresholds.values()
        if item.site_may_set
    ]
    state = "" if rule.status == "active" else f" ({rule.status})"
    hooks = ", ".join(library.services[name].hook for name in rule.services)
    link = f"[{loaded.id}](../../cards/{loaded.file}){state}"
    return link, rule.title, hooks, rule.card.indicator, evidence, "; ".join(ranges)


def errors_page() -> str:
    """Every refusal: its code, status, meaning, an example of its words, and what to change."""
    head = ("code", "status", "what happened", "says, for example", "what to change")
    rows = [
        (f"`{code}`", ", ".join(map(str, item.status)), f"{item.title}. {item.means}", item.says, item.change)
        for code, item in refusals().items()
    ]
    return page("Errors", "`cds_service/publish/refusals.yaml`", ERRORS, table(head, rows))


def log_page() -> str:
    """Every field and every event of the log."""
    fields = table(
        ("field", "type", "what"), ((f"`{name}`", field.type, field.meaning) for name, field in LOG_FIELDS.items())
    )
    events = table(
        ("event", "level", "logger", "fields beside those of every line", "what it means, what to do"),
        (
            (
                name,
                event.level,
                f"{OURS}.{event.logger}",
                ", ".join(f"`{each}`" for each in event.fields),
                event.meaning,
            )
            for name, event in LOG_EVENTS.items()
        ),
    )
    return page("Log", "`cds_service/logs.py`", LOG, "## Fields", fields, "## Events", events)


def metrics_page() -> str:
    """Every metric with its labels."""
    rows = (
        (f"`{metric.full_name}`", metric.kind, metric.help, "; ".join(f"`{n}`: {w}" for n, w in metric.labels.items()))
        for metric in METRICS.values()
    )
    says = METRICS_SAY.format(buckets=", ".join(f"{bucket:g}" for bucket in BUCKETS))
    return page("Metrics", "`cds_service/metrics/table.py`", says, table(("metric", "kind", "what", "labels"), rows))
