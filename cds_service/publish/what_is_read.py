"""`docs/what-is-read.md`: what of a chart is read, by kind and code system, made from the content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from cds_service.content.library import Library

INTRO = """# What is read

Written by `magnesium-cds catalogue` from the content; do not edit. What stands nowhere here is not read, and what could
matter of it is said as not identified ([integration](integration.md)).
"""


def what_is_read(library: Library) -> str:
    """The whole page."""
    parts = [INTRO, *_drugs(library), *_problems(library), *_tests(library), *_other(library)]
    return "\n".join(parts) + "\n"


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    columns = list(head)
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return [*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows), ""]


def _address(library: Library, system: str) -> str:
    return f"`{library.code_systems[system].uris[0]}`"


def _drugs(library: Library) -> list[str]:
    entries = [entry for entry in library.terminology.values() if entry.kind in ("drug", "drug_class")]
    codes: Mapping[str, int] = {
        "rxnorm": sum(len(entry.rxnorm_ingredients) for entry in entries) + len(library.products),
        "atc": sum(len(entry.atc) + len(entry.atc_prefixes) for entry in entries),
        "snomed": sum(len(entry.snomed) for entry in entries),
    }
    names, brands = sum(len(entry.names) for entry in entries), sum(len(entry.brands) for entry in entries)
    others = len(library.other_ingredients) + sum(row.kind in ("drug", "brand") for row in library.other_names)
    rows = [(system, _address(library, system), count) for system, count in codes.items()]
    return [
        f"## Drugs\n\n{len(entries)} drugs and classes; {names} names, {brands} brands.\n"
        f"{others} names of other medicines are known, so that they are told from what nobody knows.\n"
        "Names are compared by spelling and by sound. Ingredients of a Medication are read by code, in words and by\n"
        "reference.\n",
        *_table(("system", "address", "codes"), rows),
    ]


def _problems(library: Library) -> list[str]:
    entries = [entry for entry in library.terminology.values() if entry.kind == "condition"]
    fields = {
        "snomed": ("snomed",),
        "icd10cm": ("icd10cm", "icd10cm_prefixes"),
        "icd10": ("icd10",),
        "icd9cm": ("icd9cm",),
    }
    rows = [
        (system, _address(library, system), sum(len(getattr(entry, name)) for entry in entries for name in names))
        for system, names in fields.items()
    ]
    national = [(name, f"`{row.uris[0]}`", "as icd10") for name, row in library.code_systems.items() if row.who]
    texts = sum(len(entry.names) for entry in entries)
    return [
        f"## Problems\n\n{len(entries)} concepts; {texts} whole texts where no known code is given.\n",
        *_table(("system", "address", "codes"), [*rows, *national]),
    ]


def _tests(library: Library) -> list[str]:
    rows = []
    for name, entry in sorted(library.terminology.items()):
        if entry.kind in ("lab", "observation") and entry.input:
            systems = Counter(item.system for item in entry.codes)
            listed = ", ".join(f"{system} {count}" for system, count in sorted(systems.items()))
            units = ", ".join(dict.fromkeys([entry.unit or "", *entry.site_units, *entry.sent_in])).strip(", ")
            rows.append((entry.title, f"`{name}`", listed, units))
    return ["## Tests and observations\n", *_table(("test", "concept", "codes", "units"), rows)]


def _other(library: Library) -> list[str]:
    routes = [
        (name, ", ".join(f"{system} {len(codes)}" for system, codes in sorted(row.codes.items())), len(row.names))
        for name, row in sorted(library.routes.items())
    ]
    languages, codes = ", ".join(sorted(library.languages)), ", ".join(sorted(library.timing_codes.codes))
    return [
        "## Routes\n",
        *_table(("route", "codes", "names"), routes),
        f"## Written directions\n\nLanguages: {languages}. Timing codes: {codes}.\n",
        f"## Units\n\n{len(library.units)} units, "
        f"{sum(len(row.also) for row in library.units.values())} other spellings.",
    ]
