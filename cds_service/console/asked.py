"""Numbers and choices in addresses and forms, read in one way: what is none is refused, and never taken for another."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from flask import request
from werkzeug.routing import BaseConverter, ValidationError
from wtforms import IntegerField

from cds_service.spelling import nearest

MOST: Final = 2**31 - 1
"""The largest number that every database counts to."""


class NotUnderstood(Exception):
    """What was asked for in an address cannot be. The text says what may stand there."""


def whole(text: str) -> int:
    """The number of some ASCII digits, 0 to MOST. Raises ValueError for anything else."""
    if text.isascii() and text.isdigit() and len(text) <= len(str(MOST)) and int(text) <= MOST:
        return int(text)
    raise ValueError("Type a whole number.")


class WholeNumber(BaseConverter):
    """A number in a path; what is none leads nowhere (404)."""

    regex = "[0-9]+"

    def to_python(self, value: str) -> int:
        """As `whole`."""
        try:
            return whole(value)
        except ValueError as error:
            raise ValidationError from error


class WholeField(IntegerField):
    """A field of a form that is a number as `whole` reads it."""

    def process_formdata(self, valuelist: list[str]) -> None:
        """The number, None where none is given."""
        self.data = whole(valuelist[0].strip()) if valuelist and valuelist[0].strip() else None


def asked_number(name: str, default: int | None) -> int | None:
    """A number in the query. Raises NotUnderstood."""
    text = request.args.get(name, "")
    try:
        return whole(text) if text else default
    except ValueError:
        raise NotUnderstood(f"In this address {name} is a whole number, such as {name}=1.") from None


def asked_choice(name: str, choices: Collection[Any], default: Any = "") -> Any:
    """One of the choices that a query may name, as it stands in them. Raises NotUnderstood."""
    text = request.args.get(name, "")
    if not text:
        return default
    known = {str(one): one for one in choices}
    if text in known:
        return known[text]
    few = f": it is {', '.join(known)}" if len(known) <= 8 else nearest(text, known)
    raise NotUnderstood(f"This address names a {name} that is not there{few}.")
