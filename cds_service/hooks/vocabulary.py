"""The terminology pages handed to the FHIR room as plain data."""

from __future__ import annotations

from cds_service.content.library import Library
from cds_service.fhir import Vocabulary
from cds_service.fhir.vocabulary import concept, dose_forms, other_names, product_rows


def make_vocabulary(library: Library) -> Vocabulary:
    """Codes and names of the library's terminology, indexed."""
    pages = {
        name: page.model_dump(by_alias=True, exclude_none=True, mode="python")
        for name, page in library.terminology.items()
    }
    folder = library.root / "terminology"
    with (
        (folder / "rxnorm_products.csv").open(encoding="utf-8", newline="") as products,
        (folder / "dose_forms.csv").open(encoding="utf-8", newline="") as forms,
        (folder / "other_ingredients.csv").open(encoding="utf-8", newline="") as others,
    ):
        return Vocabulary(
            [concept(name, page) for name, page in pages.items()],
            product_rows(products),
            dose_forms(forms),
            other_names(others),
            keep_apart_prefix=library.wording.keep_apart_phrase.partition("{")[0],
            times_prefix=library.wording.plan.times_phrase.partition("{")[0],
        )
