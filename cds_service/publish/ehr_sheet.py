"""What an EHR's analyst types in, for one client: a build sheet in Markdown or HTML; and `docs/ehrs/`, a page of each
preset with such a sheet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import Any, Final

from cds_service.advice.needs import needs_of
from cds_service.content.library import Library
from cds_service.content.rulebook import Rulebook, make_rulebook
from cds_service.content.site import NO_SITE, SiteValues
from cds_service.content.site_checks import orderable_suggestions
from cds_service.fhir import Need
from cds_service.settings import Settings
from cds_service.trust.clients import Client
from cds_service.trust.outbound import LABORATORY, WHOLE
from cds_service.trust.profile import PRESETS, Profile, preset, services_served, topic_code

REFUSALS: Final = (
    (400, "The call has not the form of CDS Hooks. The answer names the place. It will not pass unchanged."),
    (401, "The token is missing, wrong or used before. The log of the service has the cause in one word."),
    (404, "There is no service at this address: compare it with those above."),
    (412, "Something in the call belongs to another patient, so nothing was evaluated."),
    (413, "The call is too large. Send less of the past."),
    (429, "Too many calls. Wait as Retry-After says."),
    (503, "The service has too much to do, or its database does not answer. Wait as Retry-After says."),
)


PREFETCH: Final = {
    "discovery": "The EHR reads these queries from discovery.",
    "typed": "The EHR does not read discovery: each name and query is typed in.",
    "none": "The EHR sends none: all of this is read.",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A heading, sentences, and a table or none."""

    title: str
    says: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def sheet(client: Client, base: str, rulebook: Rulebook, settings: Settings | None = None) -> list[Part]:
    """The build sheet of a client of the service at `base`."""
    profile, settings, library, site = client.profile, settings or Settings(), rulebook.library, rulebook.site
    services = {name: item for name, item in library.services.items() if item.hook in profile.hooks}
    served = services_served(services, settings.split_services)
    addresses = tuple(
        (services[name].hook, f"{base}/cds-services/{called}", library.wording.parts.get(part, services[name].title))
        for called, (name, part) in served.items()
    )
    moments = tuple((f"`{code}`", library.wording.parts.get(part, part)) for code, part in profile.triggers.items())
    needs = {name: needs_of(rulebook, name, settings.today_windows) for name in services}
    every = {key: need for each in needs.values() for key, need in each.items()}
    queries = tuple(
        (key, f"`{need.template}`", ", ".join(services[name].hook for name, each in needs.items() if key in each))
        for key, need in every.items()
    )
    feedback = "Feedback goes to the same address and /feedback."
    late = f"Reading ends after {settings.fetch_seconds:g} seconds. What was not read by then is said on the card."
    read = "What is not sent is read from the FHIR server, with the access token of the call."
    return [
        Part("Addresses", (feedback,), ("hook", "address", "title"), addresses),
        *([Part("Moments", (), (profile.trigger_extension or "", "cards"), moments)] if moments else ()),
        Part("Prefetch", (PREFETCH[profile.prefetch], read), ("name", "query", "hooks"), queries),
        Part("Scopes of the access token", (), ("scope", "for"), tuple(_scopes(profile, every.values()))),
        Part("Claims of the token", (), ("claim", "value"), tuple(_claims(client, base))),
        Part("Links that cards carry", *_links(profile, base, rulebook)),
        Part("Reasons to dismiss a card", *_reasons(profile, library)),
        Part("Topics", *_topics(profile, library)),
        Part("Orders that cards create", *_orders(client, library, site)),
        Part("Times", (late,)),
        Part("Refusals", (), ("status", "means"), tuple((str(status), means) for status, means in REFUSALS)),
    ]


def _scopes(profile: Profile, needs: Iterable[Need]) -> Iterator[tuple[str, str]]:
    """In the names of Epic's APIs for Epic, else in the words of SMART: those that suffice for every read of ours."""
    kinds: dict[tuple[str, str], list[Need]] = {}
    for need in needs:
        way = "Search" if "?" in need.template else "Read"
        kinds.setdefault((need.resource_type, way), []).append(need)
    kinds.setdefault(("Medication", "Read"), [])
    for (kind, way), listed in kinds.items():
        keys = ", ".join(need.key for need in listed) or "medicines that orders refer to"
        if profile.preset != "epic":
            yield f"`patient/{kind}.read` or `patient/{kind}.{'rs' if way == 'Search' else 'r'}`", keys
        elif kind == "Observation":
            yield f"`{kind}.{way} ({LABORATORY}) (R4)`", ", ".join(need.key for need in listed if need.laboratory)
            yield "that of the Observations concerned", ", ".join(need.key for need in listed if not need.laboratory)
        else:
            names = " ".join(f"`{kind}.{way} ({name.title()}) (R4)`" for name in sorted(WHOLE.get(kind.lower(), ())))
            yield names or f"`{kind}.{way} (R4)`", keys


def _claims(client: Client, base: str) -> Iterator[tuple[str, str]]:
    yield "iss", f"`{client.issuer}`"
    if client.tenants:
        yield "tenant", ", ".join(f"`{tenant}`" for tenant in client.tenants)
    yield "aud", ", ".join(f"`{text}`" for text in client.audiences) or f"the address called, below `{base}`"
    yield "exp, iat", "whole seconds, an hour apart at most"
    yield "jti", "another one for each call"
    yield "alg, in the head", ", ".join(f"`{name}`" for name in client.algorithms)
    yield "kid, in the head", "the id of the key"
    if client.jku:
        yield "jku, in the head", ", ".join(f"`{url}`" for url in client.jku)


Told = tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, ...], ...]]


def _links(profile: Profile, base: str, rulebook: Rulebook) -> Told:
    library, document = rulebook.library, rulebook.site.document
    own = [item.url for item in document.protocols.values()]
    if profile.links == "none":
        return ("Cards carry no links.",), (), ()
    pages = [f"{base}/evidence", *(f"{base}/evidence/{rule}" for rule in library.rules)]
    pages += [f"{base}/claims/{name}" for name, claim in library.claims.items() if claim.shown]
    if profile.links == "static":
        return (
            ("Each of these, to the letter. There are no others.",),
            ("address",),
            tuple((url,) for url in [*pages, *own]),
        )
    prefixes = {"evidence": "the evidence of a rule", "claims/": "what is claimed", "plan/": "the picture of a day"}
    return (
        ("All that begin so. Nobody needs to log in, and no address holds a patient's name or id.",),
        ("begins with", "opens"),
        (
            *((f"`{base}/{path}`", what) for path, what in prefixes.items()),
            *((f"`{url}`", "a protocol") for url in own),
        ),
    )


def _reasons(profile: Profile, library: Library) -> Told:
    if not profile.override_reasons:
        return ("Cards offer none.",), (), ()
    rows = []
    for name, reason in library.override_reasons.items():
        own = profile.override_codes.get(name)
        rows.append(
            (
                f"`{own.code if own else reason.code}`",
                own.system if own else reason.system,
                reason.display,
                f"`{reason.hl7.code}`",
            )
        )
    says = "Each code is mapped to a reason of the EHR's own."
    return (
        (says, "`override_codes` in the profile puts the EHR's code on the card instead."),
        ("code", "system", "shown as", "nearest of HL7's"),
        tuple(rows),
    )


def _topics(profile: Profile, library: Library) -> Told:
    if profile.topics == "none":
        return ("Cards name none.",), (), ()
    if profile.topics == "group":
        return (), ("code", "about"), tuple((f"`{name}`", title) for name, title in library.wording.topics.items())
    rows = [(f"`{topic_code(rule)}`", loaded.rule.title) for rule, loaded in library.rules.items()]
    rows.append((f"`{topic_code('not_evaluated')}`", library.wording.topics["not_evaluated"]))
    says = "One for each rule. It never changes, and an override at one silences no other."
    return (says,), ("code", "rule"), tuple(rows)


def _orders(client: Client, library: Library, site: SiteValues) -> Told:
    profile = client.profile
    if not profile.may("create", "ServiceRequest"):
        return ("None: what could be ordered stands in words.",), (), ()
    rows = []
    for name in orderable_suggestions(library):
        own = site.orderable(name, client.name)
        missing = "to be told: `orderables` in the site values" if profile.order_codes == "site" else "LOINC"
        rows.append((f"`{name}`", library.suggestions[name].label, f"{own.code} ({own.system})" if own else missing))
    return (), ("suggestion", "button", "code at this EHR"), tuple(rows)


def as_markdown(parts: Iterable[Part], level: int = 2) -> str:
    """Parts as Markdown, their headings on this level."""
    lines: list[str] = []
    for part in parts:
        lines += [f"{'#' * level} {part.title}", ""]
        lines += ["\n".join(part.says), ""] if part.says else []
        if part.head:
            lines += [_row(part.head), "|" + "---|" * len(part.head), *map(_row, part.rows), ""]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def as_html(title: str, parts: Iterable[Part]) -> str:
    """Parts as one page that stands alone."""
    body: list[str] = []
    for part in parts:
        body.append(f"<h2>{escape(part.title)}</h2>")
        body += [f"<p>{_inline(text)}</p>" for text in part.says]
        if part.head:
            head = "".join(f"<th>{escape(cell)}</th>" for cell in part.head)
            rows = "".join(f"<tr>{''.join(f'<td>{_inline(c)}</td>' for c in row)}</tr>\n" for row in part.rows)
            body.append(f"<table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>")
    style = "body{font:16px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}td,th{text-align:left;"
    style += "vertical-align:top;padding:.2em .6em;border-bottom:1px solid #ccc;overflow-wrap:anywhere}"
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{style}</style>'
    lines = [f"<body><h1>{escape(title)}</h1>", *body, "</body></html>", ""]
    return "\n".join([f'<!doctype html>\n<html lang="en"><head>{head}</head>', *lines])


def _inline(text: str) -> str:
    """Escaped; what stands between backquotes is code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def ehr_page(name: str, library: Library) -> str:
    """One page of `docs/ehrs/`: what is known, by whom, what is done with it, what nobody knows, and a build sheet."""
    table = preset(name)
    example = Client.model_validate({
        "name": "our-ehr", "issuer": "https://ehr.example", "jku": ["https://ehr.example/jwks.json"],
        "fhir_servers": ["https://ehr.example/fhir"], "profile": {"preset": name},
    })  # fmt: skip
    written = f"Written by `magnesium-cds catalogue` from the preset `{name}`; do not edit."
    example_sheet = sheet(example, "https://cds.example", make_rulebook(library, NO_SITE, date(2026, 1, 1)))
    parts = [
        Part("What was read", (), ("", "what", "where", "read"), tuple(
            (key, item.title, item.where, item.read.isoformat()) for key, item in table.sources.items())),
        Part("What is known", (), ("fact", "says", "how", "by"), tuple(
            (key, item.says.strip(), item.known, ", ".join(item.by)) for key, item in table.facts.items())),
        Part("What the preset sets", ("A client's own profile wins, key by key.",) if table.profile else ("Nothing.",),
             ("key", "value", "facts") if table.profile else (), tuple(
            (f"`{key}`", f"`{_shown(item.value)}`", ", ".join(item.facts)) for key, item in table.profile.items())),
        Part("What is not verified", tuple(f"- {text}" for text in table.open) or ("Nothing is known to be open.",)),
        Part("How to try it without the EHR", (table.without_ehr.strip(),)),
        Part("Build sheet", (
            "An example: `magnesium-cds clients sheet NAME` writes that of a client, `--html` as a page.",)),
    ]  # fmt: skip
    page = [f"# {table.title}", written, table.about, as_markdown(parts), as_markdown(example_sheet, 3)]
    return "\n\n".join(text.strip() for text in page) + "\n"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_shown(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def ehr_pages(library: Library) -> dict[str, str]:
    """Every page of `docs/ehrs/`, by file name."""
    return {f"{name}.md": ehr_page(name, library) for name in PRESETS}
