"""The page at / on which a patient can be tried: four ways in, and what comes of it as an EHR would show it.

Nothing that is typed, pasted or uploaded is kept, logged or put into an address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import orjson
from flask import Blueprint, Flask, Response, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import RequestEntityTooLarge

from cds_service.advice.needs import needs_of
from cds_service.advice.plan_of_findings import plan_content
from cds_service.content.site_in_words import muted_severe
from cds_service.hooks.one_patient import NotAsked, Question, document_of, is_patient, question_of
from cds_service.hooks.services import Advisor, base_url
from cds_service.sandbox import patients
from cds_service.sandbox.asking import hook_request as sample_request
from cds_service.trust.profile import PRESETS, preset
from cds_service.web import plan_form
from cds_service.web.pages import html_response
from cds_service.web.plan_routes import WEEK_SECONDS
from cds_service.web.try_call import Answered, call, caller_of, differences, send_feedback
from cds_service.web.try_form import (
    LABS,
    SEXES,
    Faults,
    Typed,
    bundle_of,
    drug_names,
    not_recognised,
    rows_of,
    units_of_form,
)
from cds_service.web.try_shown import (
    LONGEST_SHOWN,
    card_shown,
    curl,
    days,
    open_points,
    outcomes,
    pretty,
    read_reason,
    reason_value,
    without_secret,
)

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'"
)
# Not no-referrer: with that a browser tells no origin when it sends a form, and the origin is checked.
HEADERS: Final = {"Content-Security-Policy": CSP, "Referrer-Policy": "same-origin", "Vary": "Cookie"}
HOOKS: Final = {
    "patient-view": "a chart is opened",
    "order-select": "an order is chosen",
    "order-sign": "orders are signed",
}
MOST_COMMENT: Final = 2000
Way = Literal["", "sample", "text", "form"]


@dataclass(frozen=True, slots=True)
class Entered:
    """What somebody asked, as typed: which way, of which hook, as which client."""

    way: Way = ""
    hook: str = "patient-view"
    preset: str = "generic"
    sample: str = ""
    draft: str = ""
    text: str = ""
    typed: Typed = field(default_factory=Typed)


@dataclass(frozen=True, slots=True)
class TryPages:
    """The pages of one app. `allowed`: whether they are for who is there; `sign_in`: where to go if not."""

    advisor: Advisor
    allowed: Callable[[], bool]
    sign_in: str
    needs_token: bool

    def home(self) -> Response | None:
        """The first page; None where it is not for who is there."""
        if not self.allowed():
            return None
        return self.page(Entered(preset=self.advisor.settings.dev_preset))

    def kept_out(self) -> ResponseReturnValue | None:
        """An answer for who may not try, or whose form stands on another site; None for all others."""
        if not self.allowed():
            return redirect(self.sign_in, 303)
        if request.method == "POST" and from_elsewhere(self.advisor):
            return self.page(Entered(), {"": "This form was sent from another site. Fill it in here."}, status=403)
        return None

    def ask_sample(self) -> Response:
        asked = request.args
        name, hook, as_preset = asked.get("sample", ""), asked.get("hook", "patient-view"), self._preset(asked)
        draft = asked.get("draft", "")
        entered = Entered("sample", hook, as_preset, name, draft)
        faults = {}
        if name not in patients.load():
            faults["sample"] = "There is no sample patient of this name. Choose one of those below."
        elif draft and draft not in patients.load()[name].drafts:
            faults["sample"] = "This sample patient has no such draft. Choose one of those below."
        if hook not in HOOKS:
            faults["hook"] = f"Hook: choose {', '.join(HOOKS)}."
        if faults:
            return self.page(Entered(preset=as_preset), faults, status=400)
        rulebook = self.advisor.current.on(self.advisor.now().date())
        service = next(key for key, item in rulebook.library.services.items() if item.hook == hook)
        needs = needs_of(rulebook, service, self.advisor.settings.today_windows)
        templates = {key: need.template for key, need in needs.items()}
        made = sample_request(patients.load()[name], hook, templates, self.advisor.now(), *filter(None, [draft]))
        return self.answered(entered, Question(hook, service, orjson.dumps(made), made=True))

    def ask(self) -> Response:
        request.max_form_memory_size = self.advisor.settings.max_body
        try:
            fields = request.form
        except RequestEntityTooLarge:
            most = f"{self.advisor.settings.max_body // 1024} kB"
            told = {"text": f"What you sent is larger than the {most} that this service reads. Send less of the chart."}
            return self.page(Entered("text"), told, status=413)
        entered = self._entered(fields)
        rulebook = self.advisor.current.on(self.advisor.now().date())
        if entered.hook not in HOOKS:
            told = {"hook": f"Hook: choose {', '.join(HOOKS)}."}
            return self.page(replace(entered, hook="patient-view"), told, status=400)
        try:
            if entered.way == "form":
                ordering = entered.hook != "patient-view"
                document: Any = bundle_of(entered.typed, rulebook.library, self.advisor.now(), ordering)
                question = question_of(document, b"", rulebook, self.advisor.vocabulary, entered.hook)
            else:
                raw = entered.text.encode("utf-8", "replace")
                document = document_of(raw)
                own = document.get("hook") if is_patient(document) and "hook" in document else entered.hook
                question = question_of(document, raw, rulebook, self.advisor.vocabulary, str(own))
        except Faults as faults:
            return self.page(entered, faults.found, status=422)
        except NotAsked as fault:
            named = "File" if _file() else "Text"
            told = {"text": "; ".join(f"{named}: {line}" for line in fault.lines) + ". Send one patient as JSON."}
            return self.page(entered, told, status=fault.status)
        return self.answered(replace(entered, hook=question.hook), question)

    def _entered(self, fields: Mapping[str, str]) -> Entered:
        way: Way = "form" if fields.get("way") == "form" else "text"
        text = _file() or fields.get("text", "")
        names = ("age", "sex", *LABS, *(f"{lab}_unit" for lab in LABS))
        typed = Typed({name: fields.get(name, "").strip() for name in names}, rows_of("drug"), rows_of("order"))
        return Entered(way, fields.get("hook", "patient-view"), self._preset(fields), text=text, typed=typed)

    def _preset(self, fields: Mapping[str, str]) -> str:
        named = fields.get("preset", "")
        return named if named in PRESETS else self.advisor.settings.dev_preset

    def answered(self, entered: Entered, question: Question) -> Response:
        """The page with all that came of a call."""
        app, advisor = current_app, self.advisor
        answer = call(app, question.service, question.body, entered.preset)
        result = self._result(entered, question, answer)
        result["presets"] = differences(app, question.service, question.body, answer, entered.preset)
        if answer.made is not None:
            made, now = answer.made, advisor.now()
            content = plan_content(made.rulebook, advisor.vocabulary)
            result["outcomes"] = outcomes(made)
            result["open"] = open_points(made, question.body, advisor.current.input_keys)
            result["days"] = days(answer, advisor.plan_secret, content, now, WEEK_SECONDS)
            if entered.way == "form":
                result["unknown"] = not_recognised(entered.typed, advisor.vocabulary, drug_names(made.rulebook.library))
        shown = entered if len(entered.text) <= LONGEST_SHOWN else replace(entered, text="")
        return self.page(shown, result=result, status=answer.status)

    def _result(self, entered: Entered, question: Question, answer: Answered) -> dict[str, Any]:
        body, held_token = without_secret(question.body)
        profile = caller_of(entered.preset).profile
        address = f"{base_url(self.advisor.settings)}/cds-services/{question.service}"
        short = len(body) <= LONGEST_SHOWN
        text = pretty(orjson.loads(body)) if short else ""
        sample = patients.load()[entered.sample] if entered.sample else None
        return {
            "status": answer.status,
            "service": question.service,
            "hook": question.hook,
            "who": sample.title if sample else "Your patient",
            "story": sample.story if sample else "",
            "client": preset(entered.preset).title,
            "cards": [card_shown(card, profile) for card in answer.cards],
            "issues": answer.issues,
            "address": address,
            "request": text,
            "bytes": len(body),
            "held_token": held_token,
            "response": pretty(answer.body),
            "curl": curl(address, text, self.needs_token) if short else "",
            "needs_token": self.needs_token,
        }

    def feedback(self) -> Response:
        """What somebody did with a card, sent to the service as an EHR would send it."""
        fields, now = request.form, self.advisor.now()
        service, as_preset = fields.get("service", ""), self._preset(fields)
        item: dict[str, Any] = {"card": fields.get("card", ""), "outcome": fields.get("outcome", "")}
        item["outcomeTimestamp"] = now.isoformat()
        if item["outcome"] == "accepted":
            item["acceptedSuggestions"] = [{"id": fields.get("suggestion", "")}]
        else:
            try:
                reason = read_reason(fields.get("reason", ""))
            except (ValueError, TypeError):
                reason = {"code": ""}
            comment = fields.get("comment", "")[:MOST_COMMENT].strip()
            why = ({"reason": reason} if reason else {}) | ({"userComment": comment} if comment else {})
            item |= {"overrideReason": why} if why else {}
        known = self.advisor.current.library.services
        answer = send_feedback(current_app, service if service in known else "none", item, as_preset)
        done = {"status": answer.status, "issues": answer.issues, "sent": pretty({"feedback": [item]}),
                "address": f"/cds-services/{service if service in known else ''}/feedback"}  # fmt: skip
        if request.headers.get("Accept") == "application/json":
            return Response(orjson.dumps(done), answer.status, content_type="application/json", headers=HEADERS)
        back = patients.load().get(fields.get("sample", ""))
        hook, draft, again = fields.get("hook", ""), fields.get("draft", ""), ""
        if back is not None and hook in HOOKS and (not draft or draft in back.drafts):
            again = url_for("try_it.sample", sample=back.id, hook=hook, draft=draft or None, preset=as_preset)
        return self._html("try/feedback.html", answer.status, done=done, again=again)

    def page(
        self, entered: Entered, faults: Mapping[str, str] | None = None, result: Any = None, status: int = 200
    ) -> Response:
        """The page, with the form as it was filled in."""
        library, samples = self.advisor.current.library, patients.load()
        return self._html(
            "try/page.html", status,
            entered=entered, faults=faults or {}, result=result, sexes=SEXES, hooks=HOOKS, labs=LABS,
            featured=[(samples[name], hook, draft) for name, hook, draft in patients.FEATURED],
            samples=list(samples.values()), units=units_of_form(library), names=drug_names(library),
            presets=[(name, preset(name).title) for name in PRESETS],
            most=self.advisor.settings.max_body, reason_value=reason_value,
            muted=muted_severe(self.advisor.current.on(self.advisor.now().date())),
        )  # fmt: skip

    def _html(self, template: str, status: int, **values: Any) -> Response:
        settings = self.advisor.settings
        library = self.advisor.current.library
        text = render_template(template, dev=settings.dev, library=library, base=base_url(settings), **values)
        response = html_response(text, HEADERS)
        response.status_code = status
        return response


def from_elsewhere(advisor: Advisor) -> bool:
    """Whether the browser says that the form at hand stands on another site."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return True
    settings, origin = advisor.settings, request.headers.get("Origin")
    called = request.host_url if settings.dev else None
    ours = [urlsplit(url) for url in (settings.public_url, settings.console_base, called) if url]
    return origin is not None and origin not in [f"{url.scheme}://{url.netloc}" for url in ours]


def _file() -> str:
    """The text of the uploaded file; "" where none was chosen."""
    sent = request.files.get("file")
    return sent.read().decode("utf-8", "replace") if sent is not None and sent.filename else ""


def install_tries(app: Flask, allowed: Callable[[], bool], sign_in: str) -> None:
    """The page at /, what it sends to, and the planner's form, for whom `allowed` says; others go to `sign_in`."""
    advisor: Advisor = app.extensions["advisor"]
    needs_token = not advisor.settings.dev or bool(app.extensions["clients"])
    pages = TryPages(advisor, allowed, sign_in, needs_token)
    blueprint = Blueprint("try_it", __name__)
    blueprint.before_request(pages.kept_out)
    blueprint.get("/try", endpoint="sample")(pages.ask_sample)
    blueprint.post("/try", endpoint="ask")(pages.ask)
    blueprint.post("/try/feedback", endpoint="feedback")(pages.feedback)
    plan_form.add(blueprint, advisor, HEADERS)
    app.register_blueprint(blueprint)
    app.extensions["try_home"] = pages.home
