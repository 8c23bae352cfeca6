"""Checks across the rows of the tables by which a chart is read, and between them and other files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

from cds_service.content.base import named
from cds_service.content.direction_words import PLACES, parts_of
from cds_service.content.directions import NEEDED_PLACES, Spoken
from cds_service.content.tables import DOSES_A_DAY, PeriodUnit
from cds_service.content.yamlfile import Document, Fault, KeyPath
from cds_service.patient import Route
from cds_service.spelling import fold, nearest, tokens

if TYPE_CHECKING:
    from cds_service.content.library import Library

# Of the usual day, what the planner cannot do without.
NEEDED = frozenset({
    "waking_starts", "waking_ends", "breakfast", "lunch", "dinner", "bedtime", "before_meal", "after_meal",
    "meal_length", "every_12_hours_from", "every_hours_from", "magnesium_spacing", "room", "grid", "longest_move",
    "short_course",
    *(f"doses_a_day_{count}" for count in DOSES_A_DAY),
})  # fmt: skip

# Concepts that are asked for by name, whatever the rules say.
READ_BY_NAME = (
    "chronic_kidney_disease", "creatinine", "dialysis", "dietary_magnesium_intake", "egfr", "lactation",
    "lactation_status", "magnesium", "pregnancy", "pregnancy_problem", "pregnancy_status", "recent_birth",
    "serum_magnesium",
)  # fmt: skip


def table_faults(library: Library, documents: Mapping[str, Document]) -> Iterator[Fault]:
    """Every fault across the rows of these tables, and between them and other files."""
    yield from _spellings(library, documents)
    yield from _units_used(library, documents)
    yield from _specimens(library, documents["tables/specimen_comments.yaml"])
    yield from _directions(library, documents)
    yield from _schedule(library, documents["tables/schedule.yaml"])
    yield from _drugs(library, documents)
    yield from _purposes(library, documents["tables/purposes.yaml"])
    for concept in READ_BY_NAME:
        if concept not in library.terminology:
            yield Fault(f"terminology/{concept}.yaml", 0, "", "is missing: it is read by its name")


def _twice(document: Document, placed: Iterable[tuple[KeyPath, Any]]) -> Iterator[Fault]:
    seen = set()
    for path, item in placed:
        if item in seen:
            yield document.fault(path, "stands twice")
        seen.add(item)


def _spellings(library: Library, documents: Mapping[str, Document]) -> Iterator[Fault]:
    """No spelling may mean two units, no code or name two routes; every route has a row."""
    units: list[tuple[KeyPath, Any]] = [(("units", code), code) for code in library.units]
    for code, unit in library.units.items():
        units += [(("units", code, "also", index), text) for index, text in enumerate(unit.also)]
    yield from _twice(documents["terminology/units.yaml"], units)
    routes: list[tuple[KeyPath, Any]] = []
    for name, route in library.routes.items():
        for system, codes in route.codes.items():
            routes += [(("routes", name, "codes", system, i), (system, code)) for i, code in enumerate(codes)]
        routes += [(("routes", name, "names", i), ("", fold(text))) for i, text in enumerate(route.names)]
    document = documents["terminology/routes.yaml"]
    yield from _twice(document, routes)
    placed = [
        (("routes", name, "codes", system), system) for name, row in library.routes.items() for system in row.codes
    ]
    yield from _systems(library, document, placed)
    for name in sorted({*get_args(Route)} - {"unknown"} - library.routes.keys()):
        yield document.fault(("routes",), f"no row for the route {name}")


def _units_used(library: Library, documents: Mapping[str, Document]) -> Iterator[Fault]:
    """Every unit that a rule of a test, or a period of time, is written in is one of the table."""
    for unit in sorted({*get_args(PeriodUnit)} - library.units.keys()):
        yield documents["terminology/units.yaml"].fault(("units",), f"no row for the unit {unit}")
    for concept, entry in library.terminology.items():
        named: list[tuple[KeyPath, str]] = [(("unit",), entry.unit)] if entry.unit else []
        for key, units in (("site_units", entry.site_units), ("sent_in", entry.sent_in)):
            named += [((key, index), unit) for index, unit in enumerate(units)]
        systems = [(("codes", index, "system"), item.system) for index, item in enumerate(entry.codes)]
        yield from _systems(library, documents[f"terminology/{concept}.yaml"], systems)
        for path, unit in named:
            document = documents[f"terminology/{concept}.yaml"]
            yield from document.unknown(path, unit, library.units, "unit in terminology/units.yaml named")


def _systems(library: Library, document: Document, placed: Iterable[tuple[KeyPath, str]]) -> Iterator[Fault]:
    """Every code system that is named is one of the table."""
    for path, system in placed:
        known = library.code_systems
        yield from document.unknown(path, system, known, "code system in terminology/code_systems.yaml named")


def _specimens(library: Library, document: Document) -> Iterator[Fault]:
    """Trouble with a specimen is coded in systems that are known, and what it does to a test is said of known kinds."""
    table = library.specimen_comments
    placed: list[tuple[KeyPath, str]] = [
        (("other_materials", "codes", system), system) for system in table.other_materials.codes
    ]
    placed += [(("codes", kind, system), system) for kind, systems in table.codes.items() for system in systems]
    yield from _systems(library, document, placed)
    for kind in table.codes.keys() - table.marks.keys():
        yield document.fault(("codes", kind), f"no kind {kind} in marks{nearest(kind, table.marks)}")


def _purposes(library: Library, document: Document) -> Iterator[Fault]:
    """What the purposes of an order name exists."""
    for name, purpose in library.purposes.items():
        for item in named(purpose, (name,)):
            kinds = item.mark.kinds
            known = {key for key, entry in library.terminology.items() if entry.kind in kinds}
            known = known if kinds else {*library.shared_thresholds}
            if item.name not in known:
                yield document.fault(item.at, f"no {item.mark.what} {item.name}{nearest(item.name, known)}")


def _directions(library: Library, documents: Mapping[str, Document]) -> Iterator[Fault]:
    """No phrase of one language may have two meanings; all of it is words and places that are known."""
    shared = [(path, parts_of(text)) for path, _, _, text in library.directions.phrases()]
    tables: dict[str, Spoken] = {"tables/directions.yaml": library.directions}
    tables |= {f"tables/directions/{name}.yaml": table for name, table in library.languages.items()}
    for file, table in tables.items():
        own = [(path, parts_of(text)) for path, _, _, text in table.phrases()]
        for path, kind, _, text in table.phrases():
            if (place := NEEDED_PLACES.get(kind, "")) not in text:
                yield documents[file].fault(path, f"needs the place {place}")
        again = {parts for _, parts in shared} if table is not library.directions else set()
        for path, parts in own:
            if not parts or not {part for part in parts if part[0] == "{"} <= PLACES:
                yield documents[file].fault(
                    path, "has no word" if not parts else f"places are {', '.join(sorted(PLACES))}"
                )
            elif parts in again:
                yield documents[file].fault(path, "stands in tables/directions.yaml")
        yield from _twice(documents[file], own)
        for unit in sorted(table.units.keys() - library.units.keys()):
            yield documents[file].fault(("units", unit), f"no unit {unit} in terminology/units.yaml")
        for code in sorted(table.moments.keys() - library.schedule.moments.keys()):
            yield documents[file].fault(("moments", code), f"no moment {code} in tables/schedule.yaml")


def _schedule(library: Library, document: Document) -> Iterator[Fault]:
    table = library.schedule
    missing = sorted(NEEDED - table.thresholds.keys())
    for name in missing:
        yield document.fault(("thresholds",), f"no value named {name}")
    for name, message in () if missing else table.misfits():
        yield document.fault(("thresholds", name), message)
    if "HS" not in table.moments:
        yield document.fault(("moments",), "no moment named HS")
    for code, moment in table.moments.items():
        for key in ("at", "usual"):
            name = getattr(moment, key)
            if name is not None and (name not in table.thresholds or table.thresholds[name].unit == "times of day"):
                yield document.fault(
                    ("moments", code, key), f"no time of the day {name}{nearest(name, table.thresholds)}"
                )
    for code, timing in table.codes.items():
        if timing.moment is not None:
            yield from document.unknown(("codes", code, "moment"), timing.moment, table.moments, "moment")


def _drugs(library: Library, documents: Mapping[str, Document]) -> Iterator[Fault]:
    """Products hold drugs that have a rule; every name has a word to match; no concept is a member of itself."""
    drugs = {name for name, entry in library.terminology.items() if entry.kind in ("drug", "drug_class")}
    products = documents["terminology/rxnorm_products.csv"]
    for index, product in enumerate(library.products):
        held = product.drugs.split()
        for name in held:
            if name not in drugs:
                yield _row(products, index, "drugs", f"no drug in terminology/ named {name}{nearest(name, drugs)}")
        for name in (part.partition("=")[0] for part in product.components.split(";") if part):
            if name not in held:
                yield _row(products, index, "components", f"{name} is not one of the drugs of this product")
    for file, key, texts in (
        ("rxnorm_products", "brand", (row.brand for row in library.products)),
        ("dose_forms", "phrase", (row.phrase for row in library.dose_forms)),
        ("other_ingredients", "name", (row.name for row in library.other_ingredients)),
        ("other_names", "name", (row.name for row in library.other_names)),
    ):
        for index, text in enumerate(texts):
            if text and not tokens(text):
                yield _row(documents[f"terminology/{file}.csv"], index, key, f"{text!r} has no word to match")
    for concept, entry in library.terminology.items():
        document = documents[f"terminology/{concept}.yaml"]
        for key, names in (("names", entry.names), ("brands", entry.brands), ("not", entry.not_)):
            for index, text in enumerate(names):
                if entry.kind in ("drug", "drug_class") and not tokens(text):
                    yield document.fault((key, index), f"{text!r} has no word to match")
    for concept, above in library.broader.items():
        if concept in above:
            yield documents[f"terminology/{concept}.yaml"].fault((), f"{concept} is a member of itself")


def _row(document: Document, index: int, column: str, message: str) -> Fault:
    return Fault(document.file, document.lines[index,], column, message)
