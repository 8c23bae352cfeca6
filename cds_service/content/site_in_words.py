"""Site values line by line: every threshold that a site may set, what differs between two sets of values, and which
urgent rules are not shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from cds_service.content.library import SHARED, Library
from cds_service.content.over_time import differences
from cds_service.content.rulebook import Rulebook, limits_of
from cds_service.content.site import OwnRules, SiteValues
from cds_service.content.site_document import SiteException, Visibility
from cds_service.content.site_limits import threshold_of

SEVERE = ("critical", "warning")


def threshold_rows(library: Library, values: SiteValues, today: date) -> list[dict[str, Any]]:
    """Every threshold that a site may set, with its default and the value in force. Where the site set it: how it wrote
    it, where that is in another unit, why, and by which exception."""
    rows: list[dict[str, Any]] = []
    names = library.wording.regions
    owners = [(SHARED, library.shared_thresholds, frozenset[str]())]
    owners += [(name, item.rule.thresholds, item.rule.waits) for name, item in sorted(library.rules.items())]
    for owner, thresholds, waits in owners:
        for name, limit in limits_of(owner, thresholds, values, today, waits).items():
            allowed, own = thresholds[name].site_may_set, limit.own
            rows.append({
                "rule": owner, "threshold": name, "label": limit.label, "unit": limit.unit,
                "default": str(limit.default), "value": str(limit.value), "site": own is not None,
                "written": own.written if own else "", "reason": own.reason if own else "",
                "exception": own.exception if own else "", "reference": limit.reference,
                "allowed": [str(number) for number in allowed] if allowed else None,
                **({"regions": {names[each]: str(value) for each, value in limit.regions.items()}}
                   if limit.regions else {}),
            })  # fmt: skip
    return rows


def codes_in_words(values: SiteValues) -> dict[str, str]:
    """The site's own codes by concept, and its classes of encounters by kind, as a search writes them."""
    listed = [(f"codes.{name}", items) for name, items in sorted(values.codes.items())]
    listed += [(f"encounters.{kind}", items) for kind, items in sorted(values.encounters.items())]
    return {key: ", ".join(item.token for item in items) for key, items in listed}


def calls_in_words(one: SiteException) -> str:
    """For which calls an exception holds."""
    parts = [f"client {one.client}"] if one.client else []
    return " and ".join([*parts, *([f"{one.encounter} encounters"] if one.encounter else [])])


def _own_in_lines(library: Library, own: OwnRules) -> dict[str, str]:
    found: dict[str, str] = {f"{rule}.show": item.show for rule, item in own.shows.items()}
    for (rule, name), value in own.values.items():
        written = f" ({value.written})" if value.written else ""
        found[f"{rule}.{name}"] = f"{value.value} {threshold_of(library, (rule, name)).unit}{written}"
    return found


def in_lines(library: Library, values: SiteValues, today: date) -> dict[str, str]:
    """Every value in force, by a key that names it."""
    rows = threshold_rows(library, values, today)
    flat = {f"{row['rule']}.{row['threshold']}": f"{row['value']} {row['unit']}" for row in rows}
    flat |= {f"{rule}.show": values.visibility(rule) for rule in library.rules}
    flat |= _own_in_lines(library, values.own)
    for one, own in values.exceptions:
        flat[f"exceptions.{one.name}"] = calls_in_words(one)
        flat |= {f"exceptions.{one.name}.{key}": value for key, value in _own_in_lines(library, own).items()}
    flat |= {"region": values.region} if values.region else {}
    flat |= {f"schedule.{key}": str(value) for key, value in values.schedule.items()}
    if values.repetition:
        flat |= {f"repetition.{key}": str(value) for key, value in values.repetition.model_dump().items()}
    flat |= {f"units.{lab}": item.unit for lab, item in values.document.units.items()}
    flat |= {f"inputs.{key}.available": "false" for key in values.document.inputs}
    flat |= {f"protocols.{problem}": item.url for problem, item in values.document.protocols.items()}
    for suggestion, clients in values.document.orderables.items():
        flat |= {f"orderables.{suggestion}.{client}": item.code for client, item in clients.items()}
    return flat | codes_in_words(values)


def changes(library: Library, before: SiteValues, after: SiteValues, today: date) -> list[dict[str, str | None]]:
    """What differs: `key`, `old` and `new`, None where there was or will be nothing."""
    return changes_over_time(library, [(before, None)], after, None, today)


def changes_over_time(
    library: Library, held: Sequence[tuple[SiteValues, datetime | None]], after: SiteValues, ends: datetime | None,
    today: date,
) -> list[dict[str, str | None]]:  # fmt: skip
    """As `changes`, from values that hold until a time and those that follow them. What `after` takes over from values
    with an end, and which holds longer by that, is a difference too: "old" and "new" say until when."""
    lines = [(in_lines(library, values, today), until) for values, until in held]
    found: list[dict[str, str | None]] = []
    for one in sorted(differences(lines, in_lines(library, after, today), ends), key=lambda one: one.key):
        if one.until is None:
            found.append({"key": one.key, "old": one.old, "new": one.new})
        else:
            old, new = one.told((value or "not set" for value in (one.old, one.new, one.then)), ends)
            found.append({"key": one.key, "old": old, "new": new})
    return found


def in_words(found: Iterable[Mapping[str, str | None]]) -> list[str]:
    """A line for each difference."""
    return [f"{item['key']}: {item['old'] or 'not set'} -> {item['new'] or 'not set'}" for item in found]


@dataclass(frozen=True, slots=True)
class Muted:
    """A rule whose cards would be critical or warnings, and which the site does not show. `where`: for which calls, ""
    for all."""

    rule: str
    title: str
    indicator: str
    show: Visibility
    reason: str
    where: str = ""


def muted_severe(rulebook: Rulebook) -> list[Muted]:
    """The urgent rules that the site made silent or hidden, for all calls or by an exception; the most urgent first."""
    site = rulebook.site
    told = [("", site.own), *((calls_in_words(one), own) for one, own in site.exceptions)]
    found = [
        Muted(rule, written.title, written.card.indicator, item.show, item.reason, where)
        for where, own in told
        for rule, item in own.shows.items()
        if rule in rulebook.rules and (written := rulebook.rules[rule].loaded.rule).card.indicator in SEVERE
        if item.show != "shown"
    ]
    return sorted(found, key=lambda item: (SEVERE.index(item.indicator), item.rule, item.where))
