"""Signing in and out, the first admin, and choosing a password."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from flask import Blueprint, flash, redirect, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import HiddenField, PasswordField, StringField, SubmitField
from wtforms.validators import EqualTo, InputRequired, Length, Regexp

from cds_service.console import passwords
from cds_service.console.access import audit, line, local_path, needs, open_to_all, who
from cds_service.console.accounts import NAME, NAME_WORDS, ROLES, clean_name, key_of_tries
from cds_service.console.pages import page
from cds_service.console.parts import Parts
from cds_service.console.passwords import TooManyTries
from cds_service.console.session import current_session
from cds_service.hooks.app import address_of_call
from cds_service.store import NewLine, Store
from cds_service.store.people import FIRST

PASSWORD_WORDS: Final = f"At least {passwords.LEAST} characters. Several words in a row are good, and easy to type."


def name_field(label: str) -> StringField:
    """A field for the name of a person."""
    return StringField(label, [InputRequired("Type a name."), Regexp(f"^{NAME}$", message=NAME_WORDS)],
                       filters=[clean_name], description=NAME_WORDS)  # fmt: skip


def new_password_fields() -> tuple[PasswordField, PasswordField]:
    """A new password, twice."""
    length = Length(passwords.LEAST, passwords.MOST, f"Use {passwords.LEAST} to {passwords.MOST} characters.")
    return (
        PasswordField("New password", [InputRequired("Type a password."), length], description=PASSWORD_WORDS),
        PasswordField("The same again", [InputRequired("Type it once more."), EqualTo("password", "The two differ.")]),
    )


class SignInForm(FlaskForm):
    """Name and password."""

    name = StringField("Name", [InputRequired("Type your name."), Length(max=200)], filters=[clean_name])
    password = PasswordField("Password", [InputRequired("Type your password."), Length(max=passwords.MOST)])
    next = HiddenField()
    submit = SubmitField("Sign in")


class CodeForm(FlaskForm):
    """A code, a name and the password to set."""

    name = name_field("Name")
    code = StringField("Code", [InputRequired("Type the code."), Length(max=60)], filters=[lambda t: (t or "").strip()])
    password, again = new_password_fields()
    submit = SubmitField("Set the password and sign in")


class PasswordForm(FlaskForm):
    """The password of now, and another."""

    current = PasswordField("Password now", [InputRequired("Type your password."), Length(max=passwords.MOST)])
    password, again = new_password_fields()
    submit = SubmitField("Change the password")


def add(blueprint: Blueprint, parts: Parts) -> None:
    """/sign-in, /sign-out, /first-run, /welcome and /account."""

    @blueprint.route("/sign-in", methods=["GET", "POST"])
    @open_to_all
    def sign_in() -> ResponseReturnValue:
        form = SignInForm()
        wanted = local_path(form.next.data if form.is_submitted() else request.args.get("next"))
        if who().name and not form.is_submitted():
            return redirect(wanted or url_for("console.front"), 303)
        form.next.data = wanted or ""
        refused = ""
        if form.validate_on_submit():
            if _signed_in(parts, form.name.data, form.password.data):
                return redirect(wanted or url_for("console.front"), 303)
            refused = "Name or password are not right. Nothing tells which of the two."
        form.password.data = ""
        status = 401 if refused else 400 if form.errors else 200
        return page("sign_in.html", form=form, refused=refused, first=not parts.store.has_admin(), status=status)

    @blueprint.post("/sign-out")
    @open_to_all
    def sign_out() -> ResponseReturnValue:
        if who().name:
            current_session().end(parts, line("signed out"))
        return redirect(url_for("console.sign_in"), 303)

    @blueprint.route("/first-run", methods=["GET", "POST"])
    @open_to_all
    def first_run() -> ResponseReturnValue:
        if parts.store.has_admin():
            return redirect(url_for("console.sign_in"), 303)
        return _with_code(parts, first=True)

    @blueprint.route("/welcome", methods=["GET", "POST"])
    @open_to_all
    def welcome() -> ResponseReturnValue:
        return _with_code(parts, first=False)

    @blueprint.route("/account", methods=["GET", "POST"])
    @needs("viewer")
    def account() -> ResponseReturnValue:
        form = PasswordForm()
        known = parts.store.person(who().name)
        elsewhere = known is not None and known.subject is not None
        if known is not None and not elsewhere and form.validate_on_submit():
            tries = _may_try(parts, known.name)
            if passwords.fits(known.password, form.current.data):
                changed = line("password changed", known.name)
                parts.store.set_password(known.name, passwords.hashed(form.password.data), changed)
                current_session().begin(parts, known.name, line("signed in", after="password change"), tries)
                flash("Your password is changed. Your other sessions have ended.", "good")
                return redirect(url_for("console.account"), 303)
            form.current.errors = ["This is not your password."]
        return page("account.html", form=form, elsewhere=elsewhere, known=known, status=400 if form.errors else 200)


def _signed_in(parts: Parts, name: str, password: str) -> bool:
    """Whether name and password fit, and then who it is from now on. A name that nobody has takes as long."""
    tries = _may_try(parts, name)
    known = parts.store.person(name) if re.fullmatch(NAME, name) else None
    fit = passwords.fits(known.password if known else None, password)
    if not fit or known is None or known.password is None:
        # A name that nobody has may be a password in the wrong field: it is not written down.
        audit("sign-in failed", known.name if known else "", known=known is not None)
        return False
    done = current_session().begin(parts, known.name, NewLine(parts.now(), known.name, "signed in"), tries)
    if done and passwords.outdated(known.password):
        parts.store.set_password(known.name, passwords.hashed(password), None)
    return done


def _with_code(parts: Parts, *, first: bool) -> ResponseReturnValue:
    form = CodeForm()
    if not first:
        form.name.description = "As the admin wrote it."
    if form.validate_on_submit():
        name, code = form.name.data, passwords.typed_code(form.code.data)
        tries = _may_try(parts, "first-run" if first else name)
        told = NewLine(parts.now(), name, "first admin made" if first else "password set with a code", name)
        roles = ROLES if first else ()
        refused = parts.store.use_code(code, name, passwords.hashed(form.password.data), told, first_roles=roles)
        if refused is None:
            current_session().begin(parts, name, NewLine(parts.now(), name, "signed in", "", {"after": "code"}), tries)
            flash("Your password is set, and you are signed in.", "good")
            return redirect(url_for("console.front"), 303)
        form.code.errors = ["Name and code do not belong together, or the code has expired or was used."]
    return page("welcome.html", form=form, first=first, status=400 if form.errors else 200)


def _may_try(parts: Parts, name: str) -> tuple[str, str]:
    """The keys under which this try is counted. Raises TooManyTries where too many failed under one of late."""
    address = address_of_call(parts.settings.trusted_proxies)
    keys = (key_of_tries(parts.store, name), parts.store.finding_hash(["sign-in from", address]))
    free = (passwords.FREE_BY_NAME, passwords.FREE_BY_ADDRESS)
    seconds = parts.store.may_try(list(zip(keys, free, strict=True)), parts.now(), passwords.wait_after)
    if seconds > 0:
        raise TooManyTries(seconds)
    return keys


def first_code(store: Store, now: datetime) -> str | None:
    """A code with which the first admin is made; None where there is an admin."""
    if store.has_admin():
        return None
    code = passwords.new_code()
    store.new_code(code, FIRST, now + passwords.FIRST_CODE_HOLDS, NewLine(now, "", "code for the first admin printed"))
    return code
