"""Build the RxNorm product table and the list of other ingredients.

`python -m cds_service.terminology.build SOURCE_FOLDER [CONTENT_FOLDER]`. Without the second, the content that ships is
read and written to. The source folder holds an extract of RxNorm
Prescribable Content (`rxnorm_prescribable_*.json.gz`: `ing` {rxcui: [name, tty, unii]} and `prod` {rxcui: {name, tty,
ings}}) and `rxnorm_products.csv` (rxcui, name, ingredient_rxcui, ingredient, tty, source) with products from other
public sources. The result depends on these files and the concepts of `cards/terminology/` only.

Which product holds which ingredient is taken from the codes of the source. Names decide only for ingredients that
the extract lacks (those that begin with A).
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Literal

from cds_service.content.concept import Concept
from cds_service.content.library import default_root
from cds_service.content.products import Form, Product
from cds_service.content.reading import Reader
from cds_service.content.tables import NameWords
from cds_service.content.yamlfile import ContentError
from cds_service.patient import Route
from cds_service.spelling import tokens
from cds_service.terminology.names import OTHER, NameReader, Phrase, pack

PRODUCTS = "rxnorm_products.csv"
OTHERS = "other_ingredients.csv"
FORMS = "dose_forms.csv"
_EXTRACT = "rxnorm_prescribable_*.json.gz"
_SHORTEST = 6
"""A name without a word this long (water, iron, talc) is too common to say that a text names another drug."""


@dataclass(slots=True)
class Source:
    """The RxNorm extract. `ingredients`: rxcui -> (name, tty). `products`: rxcui -> (name, tty, ingredient rxcuis)."""

    label: str
    ingredients: dict[str, tuple[str, str]] = field(default_factory=dict)
    products: dict[str, tuple[str, str, tuple[str, ...]]] = field(default_factory=dict)
    more: dict[str, tuple[str, str, tuple[str, ...]]] = field(default_factory=dict)


def read_source(folder: Path) -> Source:
    """Raises FileNotFoundError where the extract or the product list is missing."""
    found = sorted(folder.glob(_EXTRACT))
    if not found:
        raise FileNotFoundError(f"no {_EXTRACT} in {folder}")
    extract = json.loads(gzip.decompress(found[-1].read_bytes()))
    source = Source(found[-1].name.removesuffix(".json.gz"))
    for code, (name, tty, _) in extract["ing"].items():
        source.ingredients[code] = (name, tty)
    for code, row in extract["prod"].items():
        source.products[code] = (row["name"], row["tty"], tuple(row["ings"]))
    with (folder / "rxnorm_products.csv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            code = row["rxcui"]
            held = source.more.get(code, ("", "", ()))
            tty = row["tty"].rstrip("?") if row["tty"].rstrip("?").isalpha() else ""
            source.more[code] = (row["name"], tty, (*held[2], row["ingredient_rxcui"]))
    return source


Pages = Mapping[str, Concept]
"""The concepts of drugs and their classes, by id."""


def other_ingredients(source: Source, entries: Pages) -> list[str]:
    """Names of ingredients that no concept describes, sorted."""
    ours = {tokens(name) for entry in entries.values() for name in (*entry.names, *entry.brands, *entry.not_)}
    found = set()
    for name, tty in source.ingredients.values():
        words = tokens(name)
        if tty == "IN" and words not in ours and any(len(w) >= _SHORTEST for w in words) and len(words) <= 4:
            found.add(name.lower())
    return sorted(found)


def other_brands(source: Source, entries: Pages, rows: Sequence[Product]) -> list[str]:
    """Brand names that hold a name of ours but nothing of it ("Maalox Max Quick Dissolve" is calcium), sorted.

    `entries` are those whose ingredient the extract has: of the others it cannot tell.
    """
    ours: dict[str, list[tuple[str, ...]]] = {}
    names = [name for entry in entries.values() for name in (*entry.names, *entry.brands)]
    for words in map(tokens, [*names, *(row.brand for row in rows if row.brand)]):
        ours.setdefault(words[0], []).append(words)
    held = {row.rxcui for row in rows}
    found = set()
    for code, (name, tty, _) in source.products.items():
        if tty != "BN" or code in held:
            continue
        words = tokens(name.partition(" Reformulated ")[0])
        inside = (w for i, first in enumerate(words) for w in ours.get(first, ()) if words[i : i + len(w)] == w)
        if any(w != words for w in inside):
            found.add(name.partition(" Reformulated ")[0].lower())
    return sorted(found)


class Builder:
    """Makes rows of the product table from one source and the concepts."""

    def __init__(self, source: Source, entries: Pages, forms: Iterable[Form], joining: NameWords) -> None:
        self.source = source
        self.code_of: dict[str, str] = {}
        broader = {name: frozenset(entry.member_of) for name, entry in entries.items()}
        phrases: list[Phrase] = []
        missing: set[str] = set()
        for name, entry in entries.items():
            codes = entry.rxnorm_ingredients
            for code in codes:
                self.code_of[code] = name
            if not any(code in source.ingredients for code in codes):
                missing.add(name)
            phrases += [Phrase(n, frozenset({name})) for n in entry.names]
            phrases += [Phrase(n, frozenset()) for n in entry.not_]
        phrases += [Phrase(n, frozenset({OTHER})) for n in other_ingredients(source, entries)]
        self.missing = frozenset(missing)
        self.reader = NameReader(phrases, forms, broader, joining)
        self.by_name = {n.lower(): c for c, (n, tty) in source.ingredients.items() if tty in ("IN", "PIN")}

    def rows(self) -> Iterator[Product]:
        """Every product that holds an ingredient of a concept, once, in the order of the codes."""
        made: dict[str, Product] = {}
        for code, (name, tty) in self.source.ingredients.items():
            if tty == "MIN":
                parts = [self.by_name.get(part.strip().lower(), "") for part in name.split(" / ")]
                self._add(made, code, name, tty, parts)
            elif tty == "PIN" and code not in self.code_of:
                self._precise(made, code, name)
        for code, (name, tty, held) in self.source.products.items():
            self._add(made, code, name, tty, [i for i in held if self.source.ingredients[i][1] == "IN"])
        for code, (name, tty, held) in self.source.more.items():
            if code not in made and code not in self.code_of:
                self._add(made, code, name, tty, held, by_name=True)
        for code in sorted(made, key=int):
            yield made[code]

    def _precise(self, made: dict[str, Product], code: str, name: str) -> None:
        """A salt or hydrate belongs to the ingredient whose name it begins with."""
        read = self.reader.read(name)
        if len(read.drugs) == 1 and not read.others:
            made[code] = Product(code, "PIN", min(read.drugs), False, "", "", "", "")

    def _add(
        self, made: dict[str, Product], code: str, name: str, tty: str, held: Iterable[str], *, by_name: bool = False
    ) -> None:
        held = list(held)
        drugs = {self.code_of[i] for i in held if i in self.code_of}
        other = any(i not in self.code_of for i in held)
        read = self.reader.read(name)
        drugs |= read.drugs if by_name else read.drugs & self.missing
        other = other or (by_name and read.others)
        if not drugs:
            return
        cell, form, brand = "", "", ""
        route: Route | Literal[""] = ""
        if tty == "BN":
            brand = name.partition(" Reformulated ")[0]
        elif tty != "MIN":
            cell = pack(c for c in read.components if c.drug in drugs)
            route, form = ("" if read.route == "unknown" else read.route), read.form or ""
        made[code] = Product(code, tty, " ".join(sorted(drugs)), other, route, form, cell, brand)


def product_table(source: Source, rows: Sequence[Product]) -> str:
    """The text of the product table."""
    out = StringIO()
    out.write(f"# RxNorm products that hold an ingredient of a concept here. Source: {source.label}, U.S. National\n")
    out.write("# Library of Medicine, and products listed in public value sets.\n")
    out.write(f"# Written by cds_service.terminology.build. Do not edit.\n# {len(rows)} rows.\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(Product._fields)
    for row in rows:
        writer.writerow([*row[:3], "1" if row.other else "", *row[4:]])
    return out.getvalue()


def other_table(source: Source, names: Sequence[str]) -> str:
    """The text of the list of other ingredients and brands."""
    out = StringIO()
    out.write(
        "# Ingredients that no concept describes, and brands that only sound like one that a concept does: they show\n"
    )
    out.write(f"# that a text names another drug. Source: {source.label}.\n")
    out.write(f"# Written by cds_service.terminology.build. Do not edit.\n# {len(names)} rows.\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["name"])
    writer.writerows([name] for name in names)
    return out.getvalue()


def build(folder: Path, root: Path) -> dict[str, str]:
    """File name -> text, from a source folder and a folder of content. Raises ContentError, FileNotFoundError."""
    source = read_source(folder)
    reader = Reader(root)
    concepts = {**reader.folder("terminology", Concept), **reader.drug_list()}
    forms = reader.read(f"terminology/{FORMS}", list[Form])
    joining = reader.read("tables/name_words.yaml", NameWords)
    if reader.faults:
        raise ContentError(reader.faults)
    entries = {name: entry for name, entry in concepts.items() if entry.kind in ("drug", "drug_class")}
    builder = Builder(source, entries, forms, joining)
    rows = list(builder.rows())
    seen = {name: entry for name, entry in entries.items() if name not in builder.missing}
    others = sorted({*other_ingredients(source, entries), *other_brands(source, seen, rows)})
    return {PRODUCTS: product_table(source, rows), OTHERS: other_table(source, others)}


def main(arguments: list[str]) -> int:
    """Exit code 64 on wrong use, 66 where the source folder cannot be read, 78 where the content cannot be used."""
    match arguments:
        case [folder]:
            root = default_root()
        case [folder, content]:
            root = Path(content)
        case _:
            sys.stderr.write("usage: python -m cds_service.terminology.build SOURCE_FOLDER [CONTENT_FOLDER]\n")
            return 64
    try:
        tables = build(Path(folder), root)
    except FileNotFoundError as missing:
        sys.stderr.write(f"{missing}\n")
        return 66
    except ContentError as error:
        sys.stderr.write(f"{error}\n")
        return 78
    for name, text in tables.items():
        (root / "terminology" / name).write_text(text, encoding="utf-8")
        sys.stderr.write(f"{name}: {text.count(chr(10))} lines, {len(text.encode())} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
