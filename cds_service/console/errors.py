"""What goes wrong in the console, as pages: what happened, and what to do now. Nothing that was sent is repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog
from flask import Blueprint, Response, abort
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from cds_service.console.access import needs
from cds_service.console.accounts import Role
from cds_service.console.asked import NotUnderstood
from cds_service.console.pages import page
from cds_service.console.parts import Parts
from cds_service.console.passwords import TooManyTries
from cds_service.console.session import current_session
from cds_service.hooks.problems import Problem
from cds_service.store import StoreUnavailable

log = structlog.get_logger("magnesium_cds.console")

WORDS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("This could not be read", "Go back, and send the form again."),
    401: (
        "You are signed out",
        "Sessions end after 30 minutes without use, after 12 hours, and when roles or passwords change. Nothing was"
        " changed. Sign in in another tab, then go back here: what you typed is still in the form.",
    ),
    403: ("Your role does not allow this", "Ask an admin of this console for the role that it needs."),
    404: ("There is no such page", "The address may be mistyped, or what stood here is gone."),
    409: (
        "Somebody else was faster",
        "This was changed since you opened it. Nothing was lost: look at it again.",
    ),
    413: ("This is too large", "Choose a smaller file."),
    429: ("Too many tries", "Wait for a little, then try again."),
    500: (
        "Something went wrong on our side",
        "Try again. If it goes on, the service's log says more.",
    ),
    503: ("The database does not answer", "Cards are still given. Wait for a minute, then try again."),
}
ROLE_WORDS: Final[Mapping[str, str]] = {
    "viewer": "look at the pages",
    "editor": "change values",
    "approver": "approve what others changed",
    "admin": "manage people and read the log",
}


class SignedOut(Exception):
    """A form came from somebody whose session has ended."""


class Elsewhere(Exception):
    """A form came from another website."""


class NotAllowed(Exception):
    """The person's roles do not hold the one that is needed."""

    def __init__(self, role: Role | str) -> None:
        super().__init__(role)
        self.role = role


class Conflict(Exception):
    """Something was changed meanwhile. `text`: what to do, in a sentence or two; `link`, `link_words`: where to go."""

    def __init__(self, text: str = "", link: str = "", link_words: str = "") -> None:
        super().__init__(text)
        self.text, self.link, self.link_words = text, link, link_words


def error_page(status: int, title: str = "", text: str = "", link: str = "", link_words: str = "") -> Response:
    """The page of a fault, in the words of its status where none are given."""
    head, told = WORDS.get(status, WORDS[400 if status < 500 else 500])
    return page(
        "error.html",
        status=status,
        code=status,
        title=title or head,
        text=text or told,
        link=link,
        link_words=link_words,
    )


def waiting_words(seconds: float) -> str:
    """How long, as a person says it."""
    if seconds <= 60:
        return "a minute"
    minutes = -(-int(seconds) // 60)
    return f"{minutes} minutes"


def add(blueprint: Blueprint, parts: Parts) -> None:
    """Every fault below the console's path becomes a page."""

    @blueprint.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        response = error_page(error.code or 500)
        for name, value in error.get_headers():
            if name.lower() in ("retry-after", "allow"):
                response.headers[name] = value
        return response

    @blueprint.errorhandler(Problem)
    def _problem(problem: Problem) -> Response:
        text = " ".join(issue.text for issue in problem.issues)
        if problem.status in (429, 503):
            text = "The console answers too many calls now. Wait for a moment, then load the page again."
        response = error_page(problem.status, WORDS[429][0] if problem.status == 503 else "", text)
        response.headers.extend(problem.headers)
        return response

    @blueprint.errorhandler(CSRFError)
    def _form(_: CSRFError) -> Response:
        if not current_session().sent:
            return error_page(
                403,
                "Your browser sent no cookie",
                "The console knows you from page to page by one cookie. Nothing was changed. Allow cookies for this"
                " address, then go back, and load the page again.",
            )
        return error_page(
            403,
            "This form is out of date",
            "You signed in or out, or got other roles, since it was opened. Nothing was changed. Go back, and send it"
            " again: what you typed is still in the form.",
        )

    @blueprint.errorhandler(Elsewhere)
    def _elsewhere(_: Elsewhere) -> Response:
        return error_page(
            403,
            "This form does not come from here",
            "Forms of the console are taken only from its own pages, at its own address"
            f"{' ' + parts.settings.console_base if parts.settings.console_base else ''}. Nothing was changed.",
        )

    @blueprint.errorhandler(SignedOut)
    def _signed_out(_: SignedOut) -> Response:
        return error_page(401)

    @blueprint.errorhandler(NotAllowed)
    def _not_allowed(error: NotAllowed) -> Response:
        text = f"This is for people with the role {error.role}: they may {ROLE_WORDS[error.role]}. Ask an admin for it."
        return error_page(403, text=text)

    @blueprint.errorhandler(NotUnderstood)
    def _not_understood(error: NotUnderstood) -> Response:
        return error_page(400, "This address could not be read", str(error))

    @blueprint.errorhandler(Conflict)
    def _conflict(error: Conflict) -> Response:
        return error_page(409, text=error.text, link=error.link, link_words=error.link_words)

    @blueprint.errorhandler(TooManyTries)
    def _too_many(error: TooManyTries) -> Response:
        response = error_page(429, text=f"Wait for {waiting_words(error.seconds)}, then try again.")
        response.headers["Retry-After"] = str(max(1, round(error.seconds)))
        return response

    @blueprint.errorhandler(StoreUnavailable)
    def _store(error: StoreUnavailable) -> Response:
        log.error("page not answered", cause=error.kind)
        if error.kind == "refused":  # what was sent is checked before: this is ours
            told = "The database refused what we asked of it. Nothing was changed. The service's log says more."
            return error_page(500, text=told)
        response = error_page(503, text=f"{error.text} Cards are still given. Wait for a minute, then try again.")
        response.headers["Retry-After"] = "30"
        return response


def add_not_found(blueprint: Blueprint) -> None:
    """Whatever else stands below the console's path: nothing, told to who is signed in."""
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

    @blueprint.route("/", methods=methods, defaults={"rest": ""})
    @blueprint.route("/<path:rest>", methods=methods)
    @needs("viewer")
    def not_found(rest: str) -> ResponseReturnValue:  # noqa: ARG001
        abort(404)
