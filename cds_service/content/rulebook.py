"""A rulebook: the rules with this site's values for one day. Immutable; a call reads one from start to end."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import lru_cache

from cds_service.content.base import Region
from cds_service.content.library import SHARED, Library, LoadedRule
from cds_service.content.rule import HoldsFor, Instead, Threshold
from cds_service.content.site import OwnValue, SiteValues
from cds_service.content.site_document import Visibility


@dataclass(frozen=True, slots=True)
class Limit:
    """A threshold in force: its value in `unit`; `site` says that this hospital set it, `default` is the rule's own.
    `usual` is filled where it holds instead of another one for this patient: the value of that other one. `regions` has
    each region's value where product texts differ, and `region` is then the one in force. `own`: as the site wrote it;
    `span`: between what values any site may set it.
    """

    name: str
    label: str
    value: Decimal
    unit: str
    reference: str
    site: bool = False
    default: Decimal | None = None
    holds_for: HoldsFor | None = None
    usual: Decimal | None = None
    region: Region | None = None
    regions: Mapping[Region, Decimal] = field(default_factory=dict, hash=False)
    own: OwnValue | None = None
    span: tuple[Decimal, Decimal] | None = None


@dataclass(frozen=True, slots=True)
class ActiveRule:
    """A rule ready to be tried, its thresholds resolved. `silent` rules are evaluated and their cards withheld."""

    id: str
    loaded: LoadedRule
    limits: Mapping[str, Limit]
    visibility: Visibility


@dataclass(frozen=True, slots=True, eq=False)
class Rulebook:
    """All active rules of all services; `site_digest` names the site values behind it ("" for none). `shared` are the
    thresholds that every rule has. Each is equal to itself alone, so that what is worked out for it can be kept.

    `whole` is the one for all calls, of which this is one for those of an exception; None of that itself.
    """

    library: Library
    site: SiteValues
    day: date
    rules: Mapping[str, ActiveRule]
    shared: Mapping[str, Limit]
    site_digest: str = ""
    not_available: frozenset[str] = frozenset()
    whole: Rulebook | None = None
    _others: dict[tuple[str, ...], Rulebook] = field(default_factory=dict)

    def at(self, client: str, encounter_class: str | None) -> Rulebook:
        """The rulebook for the calls of one client in an encounter of this class, as the chart has it: the same site
        values, with the exceptions that hold there. Exceptions for a kind of encounter need a class that is known."""
        whole = self.whole or self
        site = whole.site.at(client, whole.library.encounter_kind(encounter_class))
        if not site.applied:
            return whole
        found = whole._others.get(site.applied)
        if found is None:
            made = make_rulebook(whole.library, site, whole.day, whole)
            found = whole._others.setdefault(site.applied, made)  # another call may have made it meanwhile
        return found

    def ever_tried(self, service: str) -> list[ActiveRule]:
        """The rules that the service tries for any call at all: what it needs is asked for before the encounter is
        known."""
        back = {name for _, own in self.site.exceptions for name, set_ in own.shows.items() if set_.show != "hidden"}
        whole = self.whole or self
        return [
            rule
            for rule in whole.rules.values()
            if service in rule.loaded.rule.services and (rule.visibility != "hidden" or rule.id in back)
        ]

    def limit(self, name: str) -> Decimal:
        """A shared threshold in force, for what is asked of every order and not of one rule."""
        return self.shared[name].value

    def of_service(self, service: str) -> Iterator[ActiveRule]:
        """The rules that the service tries, hidden ones left out."""
        for rule in self.rules.values():
            if service in rule.loaded.rule.services and rule.visibility != "hidden":
                yield rule


@lru_cache(maxsize=64)
def stand_ins(rulebook: Rulebook) -> tuple[tuple[str, list[Instead]], ...]:
    """The shared thresholds that others may stand in for, with the cases in which they do."""
    every = rulebook.library.shared_thresholds.items()
    return tuple((name, threshold.instead) for name, threshold in every if threshold.instead)


def make_rulebook(library: Library, site: SiteValues, day: date, whole: Rulebook | None = None) -> Rulebook:
    """Resolve every threshold of every active rule for `day` under the site values (already validated)."""
    rules: dict[str, ActiveRule] = {}
    shared = limits_of(SHARED, library.shared_thresholds, site, day)
    for loaded in library.rules.values():
        if loaded.rule.status == "active":
            limits = shared | limits_of(loaded.id, loaded.rule.thresholds, site, day, loaded.rule.waits)
            rules[loaded.id] = ActiveRule(loaded.id, loaded, limits, site.visibility(loaded.id))
    return Rulebook(library, site, day, rules, shared, site.digest, frozenset(site.not_available), whole)


def limits_of(
    owner: str, thresholds: Mapping[str, Threshold], site: SiteValues, day: date, waits: Collection[str] = ()
) -> dict[str, Limit]:
    """Thresholds in force. Where the texts of two regions differ: as the site's region has it; where it chose none, the
    longer of two waits, and of any other number the US one."""
    found = {}
    for name, threshold in thresholds.items():
        regions, region = threshold.by_region(day), None
        default, reference = threshold.at(day), threshold.reference
        if regions:
            longer = max(regions, key=lambda each: regions[each][0])
            region = site.region or (longer if name in waits else "us")
            default, reference = regions[region]
        own = site.threshold(owner, name)
        found[name] = Limit(
            name, threshold.label, default if own is None else own, threshold.unit, reference,
            site=own is not None and own != default, default=default, holds_for=threshold.holds_for,
            region=region, regions={each: value for each, (value, _) in regions.items()},
            own=site.own.values.get((owner, name)), span=threshold.site_may_set,
        )  # fmt: skip
    return found
