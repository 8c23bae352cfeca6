"""The page on which an admin says who may use the console, and with which roles."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response, abort, flash, redirect, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import SelectMultipleField, SubmitField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import ValidationError
from wtforms.widgets import CheckboxInput, ListWidget

from cds_service.console import passwords
from cds_service.console.access import line, needs, who
from cds_service.console.accounts import ROLES, key_of_tries
from cds_service.console.errors import ROLE_WORDS, Conflict
from cds_service.console.pages import Column, Table, page, table
from cds_service.console.parts import Parts
from cds_service.console.sign_in import name_field
from cds_service.store import PersonOnRecord

COLUMNS: Final = (
    Column("name", "Name", "link"),
    Column("roles", "Roles"),
    Column("state", "Sign-in", "badge"),
    Column("signed_in_at", "Last signed in", "time"),
    Column("made_at", "Since", "time"),
)
REFUSED: Final = {
    "taken": "There is a person of this name already. Choose another name.",
    "unknown": "This person was removed meanwhile.",
    "last admin": "This is the only admin who can sign in. Make somebody else an admin first.",
}


class Boxes(SelectMultipleField):
    """Several choices, as boxes to tick."""

    widget = ListWidget(prefix_label=False)
    option_widget = CheckboxInput()


def roles_field() -> Boxes:
    """The roles, each with what it allows."""
    choices = [SelectChoice(role, f"{role}: may {ROLE_WORDS[role]}") for role in ROLES]
    return Boxes("Roles", [_one_at_least], choices=choices)


def _one_at_least(_: FlaskForm, field: Boxes) -> None:
    """Not a validator of the library, which would call each single box required."""
    if not field.data:
        raise ValidationError("Tick at least one.")


class NewPersonForm(FlaskForm):
    """A name and roles."""

    name = name_field("Name")
    roles = roles_field()
    submit = SubmitField("Add this person")


class RolesForm(FlaskForm):
    """Other roles."""

    roles = roles_field()
    submit = SubmitField("Save the roles")


def add(blueprint: Blueprint, parts: Parts) -> None:
    """/people, /people/NAME and what can be done there."""

    def known(name: str) -> PersonOnRecord:
        return parts.store.person(name) or abort(404)

    def with_code(name: str, *, new: bool) -> Response:
        code = passwords.new_code()
        until = parts.now() + passwords.CODE_HOLDS
        told = line("code given" if new else "password taken away", name)
        refused = parts.store.new_code(code, name, until, told, lock_out=not new, tries=key_of_tries(parts.store, name))
        if refused:
            raise Conflict(REFUSED[refused], url_for("console.people"), "To the people")
        return page("person_code.html", name=name, code=code, until=until, new=new, crumbs=_crumbs(name))

    @blueprint.get("/people")
    @blueprint.get("/people.<any(csv, json):kind>")
    @needs("admin")
    def people(kind: str = "") -> Response:
        rows = _people(parts)
        return rows.file(kind) if kind else page("people.html", people=rows, form=NewPersonForm())

    @blueprint.post("/people")
    @needs("admin")
    def add_person() -> Response:
        form = NewPersonForm()
        if form.validate():
            roles = sorted(form.roles.data)
            refused = parts.store.add_person(form.name.data, roles, line("person added", form.name.data, roles=roles))
            if refused is None:
                return with_code(form.name.data, new=True)
            form.name.errors = [REFUSED[refused]]
        return page("people.html", people=_people(parts), form=form, status=400)

    @blueprint.route("/people/<name>", methods=["GET", "POST"])
    @needs("admin")
    def one_person(name: str) -> ResponseReturnValue:
        found = known(name)
        form = RolesForm(roles=found.roles)
        if found.subject is None and form.validate_on_submit():
            before, after = sorted(found.roles), sorted(form.roles.data)
            refused = parts.store.set_roles(name, after, line("roles changed", name, **{"from": before, "to": after}))
            if refused is None:
                flash(f"The roles of {name} are changed. They hold from the next page on.", "good")
                return redirect(url_for("console.people"), 303)
            form.roles.errors = [REFUSED[refused]]
        status = 400 if form.errors else 200
        return page("person.html", one=found, form=form, mine=name == who().name, crumbs=_crumbs(name), status=status)

    @blueprint.post("/people/<name>/code")
    @needs("admin")
    def give_code(name: str) -> Response:
        return with_code(known(name).name, new=False)

    @blueprint.post("/people/<name>/remove")
    @needs("admin")
    def remove_person(name: str) -> ResponseReturnValue:
        refused = parts.store.remove_person(known(name).name, line("person removed", name))
        if refused:
            raise Conflict(REFUSED[refused], url_for("console.one_person", name=name), "Back")
        flash(f"{name} is removed, and signed out everywhere.", "good")
        return redirect(url_for("console.people"), 303)


def _crumbs(name: str) -> list[tuple[str, str]]:
    return [(url_for("console.people"), "People"), ("", name)]


def _people(parts: Parts) -> Table:
    rows = []
    for one in parts.store.people():
        state, kind = ("with password", "good") if one.password else ("no password yet", "warn")
        if one.subject:
            state, kind = "organisation's account", "good"
        rows.append({
            "name": one.name, "name_url": url_for("console.one_person", name=one.name), "roles": one.roles,
            "state": state, "state_kind": kind, "signed_in_at": one.signed_in_at, "made_at": one.made_at,
        })  # fmt: skip
    return table("people", COLUMNS, rows, "Who may use this console")
