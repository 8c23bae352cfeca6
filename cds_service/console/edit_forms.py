"""The form for each kind of piece of the site document: typed fields, with what may stand in them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

from flask_wtf import FlaskForm
from wtforms import (
    DecimalField,
    Field,
    HiddenField,
    IntegerField,
    RadioField,
    SelectChoice,
    SelectField,
    SelectMultipleField,
    StringField,
    SubmitField,
    TextAreaField,
)
from wtforms.validators import DataRequired, InputRequired, Length, NumberRange, Optional
from wtforms.widgets import CheckboxInput, ListWidget, TextInput

from cds_service.content.library import SHARED, Library
from cds_service.content.site_checks import against_magnesium, units_of
from cds_service.content.site_editing import Piece
from cds_service.content.site_limits import range_in, threshold_of, units_fitting
from cds_service.spelling import said

WHY = "Why this is set: who reads the history in a year should understand it."
NEW = "new"


def stripped(text: str | None) -> str:
    return said(text or "")


def reason_field(required: bool = True) -> TextAreaField:
    """Why."""
    needed = [DataRequired("Say why."), Length(3, 2000, "Say why, in three letters or more.")]
    return TextAreaField("Reason", needed if required else [Optional(), Length(max=2000)], filters=[stripped],
                         description=WHY)  # fmt: skip


class PieceForm(FlaskForm):
    """What every form of a piece has: into which draft, the version that was looked at, and both buttons."""

    draft = SelectField("Put the change into", description="A draft changes nothing until it is published.")
    submit = SubmitField("Put into the draft")
    default = SubmitField("Back to the default")

    def fill(self, piece: Piece, now: Any, library: Library) -> None:
        """Show the value of now, None where nothing is set."""

    def value(self) -> Any:
        """The piece as it stands in the document."""
        raise NotImplementedError

    def shown(self) -> Iterable[Field]:
        """The fields, in their order."""
        return [field for field in self if not isinstance(field, (HiddenField, SubmitField))
                and field.name not in ("draft", "csrf_token")]  # fmt: skip


class DecimalText(DecimalField):
    """A decimal as it was typed; a comma is a point.

    A field of text: of `type=number` a browser gives 02 for a typed 0,2 and nobody is told.
    """

    widget = TextInput()

    def process_formdata(self, valuelist: list[str]) -> None:
        """The exact number, with the digits that were typed."""
        self.data = None
        if valuelist and valuelist[0].strip():
            try:
                found = Decimal(valuelist[0].strip().replace(",", "."))
            except InvalidOperation:
                raise ValueError("Type a number, such as 0.66.") from None
            if not found.is_finite() or abs(found) >= 10**9:
                raise ValueError("Type a number, such as 0.66.")
            self.data = found


class ThresholdForm(PieceForm):
    """A threshold in one of the units that fit it."""

    number = DecimalText("Value", [InputRequired("Type a number.")], places=None,
                         render_kw={"inputmode": "decimal", "class": "short"})  # fmt: skip
    unit = SelectField("Unit")
    reason = reason_field()

    def fill(self, piece: Piece, now: Any, library: Library) -> None:
        """As PieceForm."""
        key = piece[1], piece[3]
        own = threshold_of(library, key).unit
        self.unit.choices = [
            SelectChoice(unit, f"{unit}: {found[0]} to {found[1]}")
            for unit in units_fitting(library, key)
            if (found := range_in(library, key, unit))
        ]
        self.unit.description = "With the range in which it may be set."
        if not self.is_submitted():
            self.number.data = now["value"] if now else None
            self.unit.data = (now or {}).get("unit") or own
            self.reason.data = (now or {}).get("reason", "")
        self._own = own

    def value(self) -> Any:
        """As PieceForm."""
        unit = {} if self.unit.data == self._own else {"unit": self.unit.data}
        number = self.number.data
        assert number is not None
        return {"value": int(number) if number == number.to_integral_value() else number, **unit,
                "reason": self.reason.data}  # fmt: skip


class ShowForm(PieceForm):
    """Whether the cards of a rule are shown."""

    show = RadioField(
        "Its cards are",
        choices=[
            SelectChoice("shown", "shown"),
            SelectChoice("silent", "silent: the rule is evaluated and counted, its card is not shown"),
            SelectChoice("hidden", "hidden: the rule is not evaluated at all"),
        ],
    )
    reason = reason_field()

    def fill(self, piece: Piece, now: Any, library: Library) -> None:
        """As PieceForm."""
        rule = library.rules[piece[1]].rule
        if piece[1] in against_magnesium(library):
            self.show.choices = [choice for choice in self.show.choices if choice.value != "hidden"]
            self.show.description = "It speaks against magnesium, so it can be silent, never hidden."
        if rule.card.indicator != "info":
            words = "critical" if rule.card.indicator == "critical" else "warnings"
            told = f"Its cards are {words}: where they are not shown, the first page says so."
            self.show.description = f"{self.show.description or ''} {told}".strip()
        if not self.is_submitted():
            self.show.data = (now or {}).get("show", "shown")
            self.reason.data = (now or {}).get("reason", "")

    def value(self) -> Any:
        """As PieceForm."""
        return {"show": self.show.data, "reason": self.reason.data}


class RegionForm(PieceForm):
    """Whose texts and dietary values."""

    region = RadioField(
        "Texts and dietary values of",
        choices=[SelectChoice("us", "the United States"), SelectChoice("eu", "the European Union")],
        validators=[InputRequired("Choose one.")],
        description="Whose allowance and upper level hold, and whose hours where product texts differ.",
    )

    def fill(self, piece: Piece, now: Any, library: Library) -> None:  # noqa: ARG002
        """As PieceForm."""
        if not self.is_submitted():
            self.region.data = now

    def value(self) -> Any:
        """As PieceForm."""
        return self.region.data


class UnitForm(PieceForm):
    """The unit in which a lab is shown."""

    unit = RadioField("Shown in", validators=[InputRequired("Choose one.")])
    reason = reason_field()

    def fill(self, piece: Piece, now: Any, library: Library) -> None:
        """As PieceForm."""
        self.unit.choices = [SelectChoice(unit) for unit in units_of(library)[piece[1]]]
        self.unit.description = "The laboratory's own unit stands beside it."
        if not self.is_submitted():
            self.unit.data = (now or {}).get("unit")
            self.reason.data = (now or {}).get("reason", "")

    def value(self) -> Any:
        """As PieceForm."""
        return {"unit": self.unit.data, "reason": self.reason.data}


class ScheduleForm(PieceForm):
    """A time of the usual day, several, or a number."""

    told = StringField("Value", [InputRequired("Type a value."), Length(max=100)], filters=[stripped])
    reason = reason_field()

    def fill(self, piece: Piece, now: Any, library: Library) -> None:
        """As PieceForm."""
        item = library.schedule.thresholds[piece[1]]
        low, high = item.site_may_set
        kinds = {"time of day": "A time such as 07:30", "times of day": "Times such as 08:00, 20:00"}
        self.told.description = f"{kinds.get(item.unit, f'A whole number ({item.unit})')}, {low} to {high}."
        if not self.is_submitted():
            value = (now or {}).get("value", "")
            self.told.data = ", ".join(value) if isinstance(value, list) else str(value)
            self.reason.data = (now or {}).get("reason", "")
        self._unit = item.unit

    def value(self) -> Any:
        """As PieceForm."""
        text = self.told.data or ""
        told: Any = text
        if self._unit == "times of day":
            told = [part.strip() for part in text.split(",") if part.strip()]
        elif self._unit in ("min", "d") and text.isascii() and text.isdecimal():
            told = int(text)
        return {"value": told, "reason": self.reason.data}


class RepetitionForm(PieceForm):
    """When a finding is not shown again."""

    quiet = SelectMultipleField(
        "Not again at signing, where the same person saw it while ordering",
        choices=[SelectChoice("info", "information"), SelectChoice("warning", "warnings")],
        widget=ListWidget(prefix_label=False),
        option_widget=CheckboxInput(),
    )
    days = IntegerField(
        "Days after an override that says it is taken care of",
        [InputRequired("Type a number of days, 0 for none."), NumberRange(0, 90, "0 to 90 days.")],
        widget=TextInput(),  # as DecimalText
        render_kw={"inputmode": "numeric", "class": "short"},
        description="0 to 90. New or worse data are another finding; a critical card comes back after 24 hours.",
    )
    reason = reason_field()

    def fill(self, piece: Piece, now: Any, library: Library) -> None:  # noqa: ARG002
        """As PieceForm."""
        if not self.is_submitted():
            now = now or {"not_again_at_signing": ["info"]}
            self.quiet.data = now.get("not_again_at_signing", ["info"])
            self.days.data = now.get("after_override_days", 0)
            self.reason.data = now.get("reason", "")

    def value(self) -> Any:
        """As PieceForm."""
        return {"not_again_at_signing": list(self.quiet.data or ()), "after_override_days": self.days.data,
                "reason": self.reason.data}  # fmt: skip


def form_of(piece: Piece, library: Library) -> type[PieceForm] | None:
    """The form of a piece; None where there is no such piece, or it is only changed in the text."""
    match piece:
        case ("rules", owner, "thresholds", name):
            thresholds = library.shared_thresholds if owner == SHARED else None
            if thresholds is None and owner in library.rules:
                thresholds = library.rules[owner].rule.thresholds
            return ThresholdForm if name in (thresholds or {}) and (thresholds or {})[name].site_may_set else None
        case ("rules", rule, "show"):
            return ShowForm if rule in library.rules else None
        case ("region",):
            return RegionForm
        case ("repetition",):
            return RepetitionForm
        case ("units", lab):
            return UnitForm if lab in units_of(library) else None
        case ("schedule", name):
            return ScheduleForm if name in library.schedule.thresholds else None
    return None
