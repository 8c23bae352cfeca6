"""The rows of the tables of products, dose forms and other ingredients."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from cds_service.patient import Route

STRENGTH = r"[a-z][a-z0-9_]*=[0-9]+(\.[0-9]+)? [^;/ ]+(/([0-9]+(\.[0-9]+)? )?[^;/ ]+)?"


class Form(NamedTuple):
    """One row of the dose form table: a phrase, the form it names, its route, and how firmly it says so (0 to 3)."""

    phrase: Annotated[str, Field(min_length=1)]
    form: str
    route: Route
    rank: Annotated[int, Field(ge=0, le=3)]


def _yes(cell: Any) -> Any:
    return {"1": True, "": False}.get(cell, cell) if isinstance(cell, str) else cell


class Product(NamedTuple):
    """One row of the product table. `components` is the packed text `drug=value unit/per_value per;...`."""

    rxcui: Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
    tty: Annotated[str, Field(pattern=r"^[A-Z]*$")]
    drugs: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*( [a-z][a-z0-9_]*)*$")]
    other: Annotated[bool, BeforeValidator(_yes), Field(strict=True)]
    route: Route | Literal[""]
    form: str
    components: Annotated[str, Field(pattern=rf"^({STRENGTH}(;{STRENGTH})*)?$")]
    brand: str


class OtherName(NamedTuple):
    """One row of the table of other names: of a drug, a brand of other drugs, a vehicle that drugs are given in, a
    nutrient after which a supplement of many may be called ("Centrum Silver"), a word that says nothing of what a
    product holds, or a brand of ours that is another drug elsewhere."""

    name: Annotated[str, Field(min_length=1)]
    kind: Literal["drug", "brand", "vehicle", "nutrient", "filler", "elsewhere"]


class OtherIngredient(NamedTuple):
    """One row of the table of ingredients and brands that no rule describes."""

    name: Annotated[str, Field(min_length=1)]
