"""Values in force: every threshold with unit, default, range and source; what was set here, by whom, and why."""

from __future__ import annotations

from typing import Any, get_args

from flask import Blueprint, Response, abort, request, url_for

from cds_service.console.access import needs, who
from cds_service.console.asked import asked_choice
from cds_service.console.front import FrontCard
from cds_service.console.pages import Column, page, table
from cds_service.console.parts import Parts
from cds_service.console.site_parts import publishing_of, where_values_are
from cds_service.content.base import EncounterKind
from cds_service.content.library import SHARED, Library
from cds_service.content.rulebook import Rulebook
from cds_service.content.site import SiteValues, client_notes
from cds_service.content.site_in_words import calls_in_words, codes_in_words, muted_severe, threshold_rows
from cds_service.content.site_limits import range_in, units_fitting
from cds_service.store import Revision

COLUMNS = (
    Column("label", "Value", "link"),
    Column("rule_title", "Rule", "link"),
    Column("shown", "In force"),
    Column("default", "As it ships"),
    Column("range", "May be"),
    Column("source", "Source"),
    Column("why", "Why it is set here"),
    Column("by", "Set by"),
    Column("since", "Since", "time"),
)
ON_THE_PAGE = (*COLUMNS[:6], Column("set", "Set here by, since, why"))
CAPTIONS = {
    "": "Values that several rules read, and those set here",
    "own": "Values set here",
    "all": "All values",
}


def add(blueprint: Blueprint, parts: Parts) -> None:
    """/values, and a page for each threshold."""

    @blueprint.get("/values")
    @blueprint.get("/values.<any(csv, json):kind>")
    @needs("viewer")
    def values(kind: str = "") -> Response:
        rulebook, asked = parts.current.on(parts.now().date()), request.args.get("q", "").strip()
        kinds = get_args(EncounterKind)
        client, encounter = asked_choice("client", rulebook.site.clients), asked_choice("encounter", kinds)
        site = rulebook.site.at(client, encounter or None)
        chosen = asked_choice("show", CAPTIONS)
        rows = [row for row in _rows(parts, rulebook, site) if _fits(row, asked, chosen)]
        found = table(
            "values", COLUMNS if kind else ON_THE_PAGE, rows, CAPTIONS.get(chosen, CAPTIONS["all" if asked else ""])
        )
        if kind:
            return found.file(kind)
        return page(
            "values.html", found=found, asked=asked, chosen=chosen, muted=muted_severe(rulebook), site=site,
            library=rulebook.library, client=client, encounter=encounter, clients=sorted(rulebook.site.clients),
            kinds=kinds, others=_others(rulebook.library, site), exceptions=[
                (one, calls_in_words(one)) for one, _ in rulebook.site.exceptions
            ], where=where_values_are(parts), notes=client_notes(rulebook.site, parts.clients),
            faults=parts.current.faults, revision=_in_force(parts), may_edit=_may_edit(parts),
        )  # fmt: skip

    @blueprint.get("/values/<owner>/<name>")
    @needs("viewer")
    def value(owner: str, name: str) -> Response:
        rulebook = parts.current.on(parts.now().date())
        rows = [
            row for row in _rows(parts, rulebook, rulebook.site) if (row["rule"], row["threshold"]) == (owner, name)
        ]
        if not rows:
            abort(404)
        library, key = rulebook.library, (owner, name)
        ranges = [(unit, found) for unit in units_fitting(library, key) if (found := range_in(library, key, unit))]
        past = [(item, _change_in(item, f"{owner}.{name}")) for item in _revisions(parts)]
        return page(
            "value.html", row=rows[0], reference=library.references[rows[0]["reference"]], owner=owner, name=name,
            ranges=ranges[:4], used=_used_by(library, owner, name), past=[pair for pair in past if pair[1]],
            rule=library.rules[owner].rule if owner != SHARED else None, may_edit=_may_edit(parts),
            others=[(one.name, calls_in_words(one), own.values[key]) for one, own in rulebook.site.exceptions
                    if key in own.values],
            crumbs=[(url_for("console.values"), "Values in force"), ("", rows[0]["label"])],
        )  # fmt: skip


def on_front(parts: Parts) -> FrontCard:
    """Urgent rules that are not shown."""
    muted = muted_severe(parts.current.on(parts.now().date()))
    link, words = url_for("console.values"), "Values in force"
    if not muted:
        return FrontCard("Urgent rules", "All of them are shown.", "good", link=link, link_words=words)
    items = tuple(
        f"{item.title}: {item.show}{f' for {item.where}' if item.where else ''}, {item.reason}" for item in muted
    )
    return FrontCard(
        "Urgent rules", "not shown by this site's own values.", "warn", str(len(muted)), link, words, items
    )


def _may_edit(parts: Parts) -> bool:
    return parts.settings.managed_by == "console" and who().may("editor")


def _revisions(parts: Parts) -> list[Revision]:
    return parts.store.revisions() if parts.settings.managed_by == "console" else []


def _in_force(parts: Parts) -> Revision | None:
    return publishing_of(parts).revision() if parts.settings.managed_by == "console" else None


def _change_in(revision: Revision, key: str) -> dict[str, str | None] | None:
    return next((change for change in revision.changes if change["key"] == key), None)


def _rows(parts: Parts, rulebook: Rulebook, site: SiteValues) -> list[dict[str, Any]]:
    """The thresholds that a site may set, first those that many rules read."""
    library, current = rulebook.library, _in_force(parts)
    held = [one for one in _revisions(parts) if current and one.number <= current.number and not one.withdrawn_at]
    rows = []
    for row in threshold_rows(library, site, rulebook.day):
        if row["allowed"] is None:
            continue
        owner, reference = row["rule"], library.references[row["reference"]]
        key = f"exceptions.{row['exception']}.{owner}" if row["exception"] else owner
        since = (
            next((one for one in held if _change_in(one, f"{key}.{row['threshold']}")), None) if row["site"] else None
        )
        written = f" (set as {row['written']})" if row["written"] else ""
        rule = library.rules[owner].rule if owner != SHARED else None
        unit = library.wording.units.get(row["unit"], row["unit"])
        rows.append(row | {
            "label_url": url_for("console.value", owner=owner, name=row["threshold"]),
            "rule_title": rule.title if rule else "several rules",
            "rule_title_url": url_for("content.rule", rule_id=owner) if rule else "",
            "shown": f"{row['value']} {unit}{written}", "default": f"{row['default']} {unit}",
            "range": f"{row['allowed'][0]} to {row['allowed'][1]} {unit}", "source": reference.dated,
            "why": row["reason"] if row["site"] else "",
            "by": (since.author if since else "the site file") if row["site"] else "",
            "since": since.in_force_from if since else None, "set": _set_words(row, since),
        })  # fmt: skip
    return rows


def _set_words(row: dict[str, Any], since: Revision | None) -> str:
    """Who set a value, since when, and why, in a sentence; "" where nobody did."""
    if not row["site"]:
        return ""
    who = f"{since.author}, {since.in_force_from:%Y-%m-%d}" if since else "the site file"
    return f"{who}: {row['reason']}"


def _fits(row: dict[str, Any], asked: str, chosen: str) -> bool:
    text = " ".join(str(row[key]) for key in ("label", "rule_title", "rule", "threshold", "source", "why")).casefold()
    fits = {"own": row["site"], "all": True}.get(chosen, bool(asked) or row["site"] or row["rule"] == SHARED)
    return fits and all(word in text for word in asked.casefold().split())


def _used_by(library: Library, owner: str, name: str) -> list[tuple[str, str]]:
    """The rules whose tests name a shared threshold."""
    if owner != SHARED:
        return []
    using = (
        (rule_id, loaded.rule.title)
        for rule_id, loaded in sorted(library.rules.items())
        if any(item.mark.what == "threshold" and item.name == name for item in loaded.rule.named())
    )
    return list(using)


def _others(library: Library, site: SiteValues) -> list[dict[str, str]]:
    """What is set besides thresholds: each with its value, and the key of its form where it has one."""
    region = site.region.upper() if site.region else ""
    rows = [{"what": "Whose product texts and dietary values", "value": region, "key": "region"}]
    told = ""
    if repeats := site.repetition:
        quiet = ", ".join(repeats.not_again_at_signing) or "nothing"
        told = f"not again at signing: {quiet}; after an override: {repeats.after_override_days} d"
    rows.append({"what": "When a card is not repeated", "value": told, "key": "repetition"})
    rows += [{"what": f"Unit of {library.title(lab)}", "value": site.unit(lab) or "", "key": f"units.{lab}"}
             for lab, entry in sorted(library.terminology.items()) if entry.site_units]  # fmt: skip
    rows += [{"what": item.label, "value": _listed(site.schedule.get(name)), "key": f"schedule.{name}"}
             for name, item in library.schedule.thresholds.items() if item.site_may_set]  # fmt: skip
    rows += [{"what": f"Shown or not: {library.rules[rule].rule.title}", "value": f"{item.show}: {item.reason}",
              "key": f"rules.{rule}.show"} for rule, item in sorted(site.own.shows.items())]  # fmt: skip
    rows += [{"what": key, "value": value, "key": ""} for key, value in codes_in_words(site).items()]
    rows += [
        {"what": f"Not kept here: {key}", "value": item.reason, "key": ""} for key, item in site.document.inputs.items()
    ]
    rows += [{"what": f"Own protocol: {library.treatment[key].title}", "value": item.url, "key": ""}
             for key, item in site.document.protocols.items()]  # fmt: skip
    return rows


def _listed(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)
