"""How an administrator changes values in the console: the forms that tests send again and again."""

from __future__ import annotations

import html
import re
from typing import Any

from flask import Flask

from tests.console.support import Visitor

LOWER = "/change/rules.shared.thresholds.lower_limit"


def text_of(page: Any) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text)))


def led_to(answer: Any) -> str:
    assert answer.status_code == 303, answer.text
    return str(answer.headers["Location"])


def changed(who: Visitor, value: str, unit: str = "mmol/L", draft: str = "new", reason: str = "Own interval") -> str:
    """The address of the draft into which the lower limit was put."""
    sent = who.post(LOWER, number=value, unit=unit, draft=draft, reason=reason, submit="Put into the draft")
    return led_to(sent)


def version_in(page: str) -> str:
    return re.findall(r'name="version"[^>]*value="(\d+)"', page)[0]


def published(who: Visitor, draft: str) -> Any:
    version = version_in(who.get(draft).text)
    return who.post(f"{draft}/publish", version=version)


def rolled_back(who: Visitor, number: int, reason: str, based_on: str = "") -> Any:
    """Put back from the page as it is now, or as it was at the revision `based_on`."""
    page = who.get(f"/history/{number}/roll-back").text
    based_on = based_on or re.findall(r'name="based_on"[^>]*value="(\d+)"', page)[0]
    return who.post(f"/history/{number}/roll-back", reason=reason, based_on=based_on, submit="x")


def in_force(app: Flask) -> str:
    advisor = app.extensions["advisor"]
    advisor.current._looked = 0  # as a second later
    return str(advisor.current.on(advisor.now().date()).limit("lower_limit"))
