"""Numbers of rules: what was served and answered, with intervals; too few are not told."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from flask import Flask

from cds_service.cli import main
from cds_service.store.counts import Slot
from cds_service.store.outcomes import Answers, Comment
from cds_service.watch.statistics import TOO_FEW, RuleNumbers, Share, ranked, rule_numbers
from tests.conftest import NOW
from tests.store.helpers import accepted, card, overridden
from tests.trust.support import FEEDBACK, SERVICE, Json, body_for
from tests.watch.conftest import store_of

LOW = "low_magnesium_with_depleting_drug"
SPAN = (NOW - timedelta(days=28), NOW + timedelta(hours=1))


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_are_those_of_newcombe_1998_table_1(part: int, whole: int, low: float, high: float) -> None:
    assert Share(part, whole).interval == pytest.approx((low, high), abs=5e-5)


def test_fewer_than_twenty_are_too_few_to_say() -> None:
    assert Share(10, 19).words() == TOO_FEW
    assert Share(10, 20).words() == "50 % (30 to 70)"


def numbers(app: Flask, rule: str = LOW, client: str | None = None) -> RuleNumbers:
    advisor = app.extensions["advisor"]
    found = rule_numbers(store_of(app), advisor.current.on(NOW.date()), False, *SPAN, client)
    return next(each for each in found if each.rule == rule)


def answered(card_: Json, outcome: str, **more: object) -> Json:
    item: Json = {"card": card_["uuid"], "outcome": outcome, "outcomeTimestamp": f"{NOW:%Y-%m-%dT%H:%M:%SZ}"}
    if outcome == "accepted":
        item["acceptedSuggestions"] = [{"id": card_["suggestions"][0]["uuid"]}]
    else:
        reason = card_["overrideReasons"][0]
        item["overrideReason"] = {"reason": {"code": reason["code"], "system": reason["system"]}, **more}
    return {"feedback": [item]}


def test_a_rules_numbers_are_what_was_served_and_answered(workers: Callable[..., Flask]) -> None:
    app = workers()
    client = app.test_client()
    cards = [client.post(SERVICE, json=body_for(app)).json["cards"][0] for _ in range(5)]
    rule = cards[0]["source"]["url"].rpartition("/")[2]
    for one, what in zip(cards, ("accepted", "overridden", "overridden"), strict=False):
        assert client.post(FEEDBACK, json=answered(one, what)).status_code == 200
    assert client.post(FEEDBACK, json=answered(cards[2], "accepted")).status_code == 200, "thought better of it"
    for job in (store_of(app).write_counts(),):
        assert job is None or job.done.wait(20)
    found = numbers(app, rule)
    assert (found.fired, found.calls, found.per_100, found.state) == (5, 5, 100.0, "active")
    assert found.answers.shown == 5
    row = found.row()
    assert (row["accepted"] + row["overridden"], row["no_answer"], row["accepted_share"]) == (3, 2, TOO_FEW)
    assert row["reasons"] == [f"{cards[1]['overrideReasons'][0]['display']}: {row['overridden']}"]
    assert found.days[-1] == 5
    assert found.last_fired == NOW.replace(minute=0)
    assert numbers(app, rule, client="another").fired == 0


def test_quiet_is_the_rest_of_the_calls(workers: Callable[..., Flask]) -> None:
    app = workers()
    app.test_client().post(SERVICE, json=body_for(app))
    job = store_of(app).write_counts()
    assert job is not None and job.done.wait(20)
    advisor = app.extensions["advisor"]
    found = rule_numbers(store_of(app), advisor.current.on(NOW.date()), False, *SPAN)
    for each in found:
        if each.calls:
            row = each.row()
            assert row["quiet"] + row["fired"] + row["not_evaluated"] + row["not_applicable"] == 1, each.rule


def numbered(shown: int, accepted_: int, overridden_: int) -> RuleNumbers:
    return RuleNumbers("rule", "Rule", "active", answers=Answers(shown, accepted_, overridden_))


def test_s19_a_rule_is_to_be_reviewed_where_cards_are_overridden_or_never_accepted() -> None:
    assert numbered(50, 4, 46).review == "more than nine in ten are overridden"
    assert numbered(50, 5, 45).review == "", "nine in ten are not more than nine in ten"
    assert numbered(49, 0, 49).review == "", "fewer than fifty were shown"
    assert numbered(100, 4, 10).review == "fewer than one in twenty are accepted"
    assert numbered(100, 5, 10).review == ""
    assert numbered(100, 0, 0).review == "", "an EHR that sends no answers says nothing of the rule"


def test_new_comments_and_those_that_say_that_a_card_was_wrong_come_first() -> None:
    def comment(days: float, code: str) -> Comment:
        return Comment("rule", "ehr", NOW - timedelta(days=days), code, code, f"{days} {code}", False)

    given = [comment(1, "settled"), comment(2, "wrong"), comment(60, "wrong"), comment(1, "")]
    told = [one.text for _, one in ranked(given, {"settled"}, NOW)]
    assert told == ["2 wrong", "1 ", "1 settled", "60 wrong"]


def filled(folder: Path) -> None:
    from datetime import UTC, datetime

    from cds_service.store import Store

    now = datetime.now(UTC)
    with Store.open(data_dir=folder) as store:
        hour = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
        store.add_counts(
            Slot(hour, "ehr", "magnesium-patient-view"), [(LOW, 0)] * 3, [(("version", "content", ""), 40)]
        )
        shown = [card(rule=LOW, client="ehr", shown_at=now - timedelta(hours=2)) for _ in range(30)]
        store.record_shown(shown)
        late = {"outcome_at": now, "received_at": now}
        store.record_feedback([accepted(one, **late) for one in shown[:10]])
        store.record_feedback(
            [overridden(one, reason_code="x", reason_display="=Formula", **late) for one in shown[10:15]]
        )


def run(*arguments: str) -> str:
    done = CliRunner().invoke(main, ["stats", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_tells_the_same_as_text_json_and_csv(tmp_path: Path) -> None:
    filled(tmp_path)
    text = run("--data-dir", str(tmp_path))
    assert f"{LOW} (active): fired 3, 7.50 per 100 calls; shown 30" in text
    assert "accepted 10, 33 % (19 to 51); overridden 5, 17 % (7 to 34); no answer 15" in text
    assert "other rules did not fire" in text
    (row,) = json.loads(run("--data-dir", str(tmp_path), "--rule", LOW, "--json"))["rules"]
    assert (row["fired"], row["shown"], row["accepted"], row["per_100_calls"]) == (3, 30, 10, 7.5)
    table = list(csv.DictReader(io.StringIO(run("--data-dir", str(tmp_path), "--rule", LOW, "--csv"))))
    assert table[0]["overridden"] == "5"
    assert table[0]["reasons"].startswith("'="), "no spreadsheet computes it (A53)"
    (row,) = json.loads(run("--data-dir", str(tmp_path), "--client", "other", "--rule", LOW, "--json"))["rules"]
    assert (row["fired"], row["shown"], row["calls"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rule", "low_magnesum_with_depleting_drug"], "low_magnesium_with_depleting_drug"),
        (["--since", "yesterday"], "are days such as 2026-01-31"),
        (["--since", "2026-02-01", "--until", "2026-01-01"], "--since is not before --until"),
        (["--json", "--csv"], "choose one"),
    ],
)
def test_what_cannot_be_asked_is_told(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(main, ["stats", "--data-dir", str(tmp_path), *arguments])
    assert done.exit_code in (1, 2)
    assert words in done.output
    assert "Traceback" not in done.output
