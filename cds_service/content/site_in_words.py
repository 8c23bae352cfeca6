"""Site values line by line: every threshold that a site may set, and what differs between two sets of values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

from cds_service.content.library import Library
from cds_service.content.rulebook import limits_of
from cds_service.content.site import SiteValues


def threshold_rows(library: Library, values: SiteValues, today: date) -> list[dict[str, object]]:
    """Every threshold that a site may set, with its default and the value in force."""
    rows: list[dict[str, object]] = []
    names = library.wording.regions
    owners = [("shared", library.shared_thresholds, frozenset[str]())]
    owners += [(name, item.rule.thresholds, item.rule.waits) for name, item in sorted(library.rules.items())]
    for owner, thresholds, waits in owners:
        for name, limit in limits_of(owner, thresholds, values, today, waits).items():
            allowed = thresholds[name].site_may_set
            rows.append({
                "rule": owner, "threshold": name, "label": limit.label, "unit": limit.unit,
                "default": str(limit.default), "value": str(limit.value),
                "site": values.threshold(owner, name) is not None,
                "allowed": [str(number) for number in allowed] if allowed else None,
                **({"regions": {names[each]: str(value) for each, value in limit.regions.items()}}
                   if limit.regions else {}),
            })  # fmt: skip
    return rows


def codes_in_words(values: SiteValues) -> dict[str, str]:
    """The site's own codes by concept, as a search writes them."""
    return {f"codes.{name}": ", ".join(item.token for item in items) for name, items in sorted(values.codes.items())}


def in_lines(library: Library, values: SiteValues, today: date) -> dict[str, str]:
    """Every value in force, by a key that names it."""
    rows = threshold_rows(library, values, today)
    flat = {f"{row['rule']}.{row['threshold']}": f"{row['value']} {row['unit']}" for row in rows}
    flat |= {f"{rule}.show": values.visibility(rule) for rule in library.rules}
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
    old, new = in_lines(library, before, today), in_lines(library, after, today)
    differing = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return [{"key": key, "old": old.get(key), "new": new.get(key)} for key in differing]


def in_words(found: Iterable[Mapping[str, str | None]]) -> list[str]:
    """A line for each difference."""
    return [f"{item['key']}: {item['old'] or 'not set'} -> {item['new'] or 'not set'}" for item in found]
