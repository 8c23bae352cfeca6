"""A rule that changed without a word is a fault; the words are a feed: a web page, Atom and JSON."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from flask.testing import FlaskClient

from cds_service.content.library import Library
from cds_service.content.loading import load_library
from cds_service.content.shared import Change
from cds_service.content.sources import CHANGES, source_faults
from cds_service.publish.changes import feed
from tests.conformance.calls import invoke
from tests.test_add_a_rule import RULE, STEM, cards
from tests.test_sources import Held, held, of

ATOM = "{http://www.w3.org/2005/Atom}"
FILE = "deficiency/low_serum_magnesium.yaml"
RULE_ID = "low_serum_magnesium"
__all__ = ["cards", "held"]


def told(folder: Path) -> list[str]:
    """What `check` says of changes that were not written down."""
    done = invoke("check", "--content", folder, "--json")
    return [fault["message"] for fault in json.loads(done.stdout)["faults"] if fault["file"] == CHANGES]


def history(folder: Path, rule: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = yaml.safe_load((folder / CHANGES).read_text("utf-8"))[rule]
    return found


def test_every_shipped_rule_is_locked_as_it_stands(held: Held) -> None:
    library = held[0]
    assert [str(fault) for fault in source_faults(*held) if fault.file == CHANGES] == []
    assert all(library.changes[name][-1].version == loaded.version for name, loaded in library.rules.items())


def test_a_changed_rule_is_a_fault_until_its_change_is_written_down(cards: Path) -> None:
    path = cards / FILE
    path.write_text(
        path.read_text("utf-8").replace("known_limits: >\n", "known_limits: >\n  One more limit.\n"), "utf-8"
    )
    (message,) = told(cards)
    assert message.startswith(f"{FILE} changed: `magnesium-cds lock {RULE_ID} 'what changed'`")
    done = invoke("lock", RULE_ID, "A limit was added: one more", "--content", cards)
    assert (done.returncode, done.stdout) == (0, f"{RULE_ID}\n")
    assert told(cards) == []
    *_, before, newest = history(cards, RULE_ID)
    library = load_library(cards)
    assert before["version"] == load_library().rules[RULE_ID].version
    assert newest == {
        "date": datetime.now(UTC).date(),
        "version": library.rules[RULE_ID].version,
        "what": "A limit was added: one more",
    }


def test_all_changed_rules_are_written_down_at_once_and_no_other(cards: Path, held: Held) -> None:
    """As after a merge: a family that changed has changed all its rules."""
    path = cards / "families.yaml"
    path.write_text(
        path.read_text("utf-8").replace("Hours from {drug_name} to", "Hours after {drug_name} until"), "utf-8"
    )
    library = load_library(cards)
    family = {name for name, item in library.rules.items() if item.version != held[0].rules[name].version}
    before = (cards / CHANGES).read_text("utf-8")
    done = invoke("lock", "--all", "Another label", "--content", cards)
    assert set(done.stdout.split()) == family and len(family) > 50
    after = load_library(cards).changes
    assert {name for name, item in after.items() if item[-1].what == "Another label"} == family
    assert told(cards) == []
    again = invoke("lock", "--all", "Nothing", "--content", cards)
    assert (again.returncode, again.stdout) == (0, "nothing to write down\n")
    assert before != (cards / CHANGES).read_text("utf-8")


def test_a_new_rule_is_written_down_and_a_rule_that_is_gone_says_why(cards: Path) -> None:
    (cards / "safety" / f"{STEM}.yaml").write_text(RULE, "utf-8")
    assert told(cards) == [f"is new: `magnesium-cds lock {STEM} 'first version'` writes it down"]
    assert invoke("lock", "--new", "first version", "--content", cards).stdout == f"{STEM}\n"
    assert told(cards) == []
    refused = invoke("lock", STEM, "--retired", "An example", "--content", cards)
    assert refused.returncode == 2 and "take it away first" in refused.stderr
    (cards / "safety" / f"{STEM}.yaml").unlink()
    assert told(cards) == [f"there is no such rule: `magnesium-cds lock {STEM} --retired 'why'` writes it down"]
    assert invoke("lock", STEM, "--retired", "It was an example", "--content", cards).returncode == 0
    assert told(cards) == [] and history(cards, STEM)[-1]["retired"] == "It was an example"
    (cards / "safety" / f"{STEM}.yaml").write_text(RULE, "utf-8")
    (message,) = told(cards)
    assert message.startswith(f"safety/{STEM}.yaml changed")


@pytest.mark.parametrize("words", [(), (RULE_ID,), ("low_serum_magnesia", "words"), ("--retired", "why")])
def test_lock_that_does_not_say_which_rule_and_what_writes_nothing(cards: Path, words: tuple[str, ...]) -> None:
    before = (cards / CHANGES).read_bytes()
    done = invoke("lock", *words, "--content", cards)
    assert done.returncode == 2 and done.stderr and "Traceback" not in done.stderr
    assert (cards / CHANGES).read_bytes() == before


def of_days(library: Library) -> Library:
    """Two rules with the same change of one day, and one that is gone."""

    def more(name: str) -> list[Change]:
        before = library.changes[name]
        return [*before, before[-1].model_copy(update={"date": date(2027, 1, 5), "what": "Primary <texts> read"})]

    two = {name: more(name) for name in (RULE_ID, "high_serum_magnesium")}
    gone = [Change(date=date(2027, 2, 1), retired="Never used")]
    return replace(library, changes={**library.changes, **two, "old_rule": gone})


def test_the_newest_change_comes_first_and_the_same_change_of_many_rules_stands_once(held: Held) -> None:
    entries = feed(of_days(held[0]))
    assert [(entry.day.isoformat(), entry.rules) for entry in entries[:2]] == [
        ("2027-02-01", ("old_rule",)),
        ("2027-01-05", ("high_serum_magnesium", RULE_ID)),
    ]
    assert len({entry.id for entry in entries}) == len(entries)


def test_a_number_that_changed_on_a_day_is_in_the_feed(held: Held) -> None:
    library = held[0]
    table = library.threshold_table
    limit = table.thresholds["lower_limit"]
    dated = limit.model_copy(update={"values": {**limit.values, date(2027, 3, 1): limit.at(date(2027, 1, 1)) + 1}})
    changed = replace(
        library, threshold_table=table.model_copy(update={"thresholds": {**table.thresholds, "lower_limit": dated}})
    )
    first = feed(changed)[0]
    assert (first.day.isoformat(), first.rules) == ("2027-03-01", ())
    assert first.what == f"{limit.label}: 1.70 mmol/L, 0.70 mmol/L before"


def test_the_feed_is_a_page_atom_and_json(client: FlaskClient, held: Held) -> None:
    library = held[0]
    page = client.get("/evidence/changes")
    assert page.status_code == 200 and "script-src" not in page.headers["Content-Security-Policy"]
    atom = client.get("/evidence/changes.atom")
    assert atom.content_type == "application/atom+xml; charset=utf-8"
    root = ElementTree.fromstring(atom.data)
    assert root.tag == f"{ATOM}feed"
    for part in (root, *root.findall(f"{ATOM}entry")):
        for needed in ("id", "title", "updated"):
            assert (part.findtext(f"{ATOM}{needed}") or "").strip(), needed
        assert str(datetime.fromisoformat(str(part.findtext(f"{ATOM}updated"))).tzinfo) == "UTC"
    links = {link.get("rel"): link.get("href") for link in root.findall(f"{ATOM}link")}
    assert links["self"] == "http://localhost/evidence/changes.atom"
    entries = root.findall(f"{ATOM}entry")
    changes = client.get("/evidence/changes.json").json["changes"]
    assert len(entries) == len(changes) == len(feed(library)) > 0
    named = {rule["id"] for change in changes for rule in change["rules"]}
    assert named >= set(library.rules)
    for rule in changes[-1]["rules"][:3]:
        assert (
            rule["title"] in page.text and client.get(rule["url"].removeprefix("http://localhost")).status_code == 200
        )


def test_an_evidence_page_lists_the_changes_of_its_rule(client: FlaskClient, held: Held) -> None:
    newest = held[0].changes[RULE_ID][-1]
    assert f"<li>{newest.date}: {newest.what}</li>" in client.get(f"/evidence/{RULE_ID}").text
    assert {"date": newest.date.isoformat(), "what": newest.what} in client.get(f"/evidence/{RULE_ID}.json").json[
        "changes"
    ]
    assert '"/evidence/changes"' in client.get("/evidence").text


def test_of_changes_of_one_day_what_was_written_last_comes_first(client: FlaskClient, held: Held) -> None:
    """And so in every process: two workers show one page."""
    rule, lines = next((rule, lines) for rule, lines in held[0].changes.items()
                       if len(lines) > 2 and len({line.date for line in lines}) == 1)  # fmt: skip
    told = client.get(f"/evidence/{rule}.json").json["changes"]
    assert [change["what"] for change in told] == [line.words for line in reversed(lines)]


def test_a_version_that_was_mended_by_hand_is_a_fault_with_its_line(held: Held) -> None:
    *earlier, newest = held[0].changes[RULE_ID]
    wrong = [*earlier, newest.model_copy(update={"version": "2026-01-01.00000000"})]
    (fault,) = of(held, replace(held[0], changes={**held[0].changes, RULE_ID: wrong}))
    assert (fault.file, fault.key) == (CHANGES, f"{RULE_ID}.{len(earlier)}") and fault.line


def test_a_merge_keeps_the_words_of_both_sides_and_lock_writes_down_the_rest(cards: Path) -> None:
    """What git does to a file that it merges by union: of a rule that both sides changed, both lines stay."""
    path, rule = cards / CHANGES, cards / FILE
    text = rule.read_text("utf-8")
    base = path.read_text("utf-8")
    sides = []
    for side in ("ours", "theirs"):
        path.write_text(base, "utf-8")
        rule.write_text(text.replace("known_limits: >\n", f"known_limits: >\n  A limit of {side}.\n"), "utf-8")
        assert invoke("lock", "--all", f'A limit of {side}: "it\'s one"', "--content", cards).returncode == 0
        sides.append(cards.parent / side)
        sides[-1].write_text(path.read_text("utf-8"), "utf-8")
    (cards.parent / "base").write_text(base, "utf-8")
    words = ["git", "merge-file", "--union", "--stdout", str(sides[0]), str(cards.parent / "base"), str(sides[1])]
    merged = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    path.write_text(merged, "utf-8")
    both = text.replace("known_limits: >\n", "known_limits: >\n  A limit of ours.\n  A limit of theirs.\n")
    rule.write_text(both, "utf-8")
    assert len(told(cards)) == 1
    assert invoke("lock", "--all", "Both limits", "--content", cards).returncode == 0
    assert told(cards) == []
    written = [item["what"] for item in history(cards, RULE_ID)][-3:]
    assert written == ['A limit of ours: "it\'s one"', 'A limit of theirs: "it\'s one"', "Both limits"]
