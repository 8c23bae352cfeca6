"""Values are drafted, approved and published by two persons; who meets another's edit is shown both, and the start."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cds_service.advice.needs import all_needs
from cds_service.content.publishing import NotDone, Proposal, Publishing
from cds_service.content.site_editing import brought_together, pieces_of, three_ways, written
from cds_service.content.yamlfile import ContentError
from cds_service.store import Draft, DraftText, Store
from tests.conformance.calls import invoke
from tests.conftest import NOW, shipped
from tests.store.conftest import Opener, database, postgres, shared_postgres  # noqa: F401 - fixtures
from tests.test_site_values import LIMIT, site_of, write

Cli = Callable[..., Any]


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def publishing(database: Opener, clock: Clock) -> Publishing:  # noqa: F811
    library = shipped().library
    return Publishing(database(), library, frozenset(all_needs(library)), now=clock)


def limit(value: str) -> str:
    return LIMIT.format(value=value)


def in_force(publishing: Publishing) -> str:
    found = publishing.revision()
    values = publishing.values(found.number) if found else publishing.values(0)
    return str(values.threshold("shared", "lower_limit"))


def edited(publishing: Publishing, draft: Draft, by: str, **more: Any) -> Draft:
    fields = {name: getattr(draft, name) for name in DraftText.__dataclass_fields__}
    return publishing.save(draft.id, draft.version, replace(DraftText(**fields), **more), by)


def drafted(publishing: Publishing, value: str, by: str = "Anna") -> Draft:
    return publishing.begin("A lower limit", by, limit(value), "Our laboratory's own interval")


def refused(trouble: str) -> Any:
    return pytest.raises(NotDone, check=lambda error: error.trouble == trouble)


# Drafts.


def test_a_draft_starts_from_what_is_in_force_and_says_what_it_changes(publishing: Publishing) -> None:
    publishing.publish(Proposal(limit("0.66"), "Anna", "Our own interval"))
    draft = publishing.begin("Another limit", "Ben")
    assert draft.document == limit("0.66") and publishing.draft_changes(draft) == []
    draft = edited(publishing, draft, "Ben", document=limit("0.62"), reason="Too many cards")
    change = {"key": "shared.lower_limit", "old": "0.66 mmol/L", "new": "0.62 mmol/L"}
    assert publishing.draft_changes(draft) == [change]
    assert in_force(publishing) == "0.66", "a draft changes nothing"
    revision = publishing.publish_draft(draft.id, draft.version, "Ben")
    assert (revision.number, revision.author, revision.changes) == (2, "Ben", (change,))
    assert in_force(publishing) == "0.62"


def test_a_document_with_faults_is_no_draft_and_never_in_force(publishing: Publishing) -> None:
    with pytest.raises(ContentError, match=r"0\.60 to 0\.85"):
        drafted(publishing, "0.20")
    draft = drafted(publishing, "0.66")
    with pytest.raises(ContentError, match="not YAML"):
        edited(publishing, draft, "Anna", document="site: [")
    assert publishing.draft(draft.id) == draft and in_force(publishing) == "None"


def test_a_draft_is_published_with_a_reason(publishing: Publishing) -> None:
    draft = publishing.begin("A lower limit", "Anna", limit("0.66"))
    with refused("approval"):
        publishing.publish_draft(draft.id, draft.version, "Ben")
    draft = edited(publishing, draft, "Anna", reason="Our own interval")
    assert publishing.publish_draft(draft.id, draft.version, "Ben").reason == "Our own interval"


def test_where_a_second_person_is_asked_for_every_author_needs_another(publishing: Publishing) -> None:
    publishing.second_person = True
    draft = edited(publishing, drafted(publishing, "0.66"), "Ben", document=limit("0.64"))
    with refused("approval"):
        publishing.publish_draft(draft.id, draft.version, "Ben")
    for author in ("Anna", "Ben"):
        with refused("author"):
            publishing.approve(draft.id, draft.version, author)
    approved = publishing.approve(draft.id, draft.version, "Cleo")
    later = edited(publishing, approved, "Ben", document=limit("0.62"))
    with refused("approval"):
        publishing.publish_draft(later.id, later.version, "Ben")
    publishing.approve(later.id, later.version, "Cleo")
    revision = publishing.publish_draft(later.id, later.version, "Ben")
    assert (revision.author, revision.approved_by, in_force(publishing)) == ("Anna, Ben", "Cleo", "0.62")


def test_two_editors_of_one_draft_the_second_is_shown_all_three(publishing: Publishing) -> None:
    draft = drafted(publishing, "0.66")
    edited(publishing, draft, "Ben", document=limit("0.64"))
    with refused("stale") as met:
        edited(publishing, draft, "Anna", document=limit("0.62"))
    assert met.value.theirs == [{"key": "shared.lower_limit", "old": "0.66 mmol/L", "new": "0.64 mmol/L"}]
    started, theirs = publishing.earlier(draft.id, draft.version), publishing.draft(draft.id)
    (way,) = three_ways(started, theirs.document, limit("0.62"))
    assert [str(side["value"]) for side in (way.started, way.theirs, way.yours)] == ["0.66", "0.64", "0.62"]
    assert way.clash and brought_together(started, theirs.document, limit("0.62"), {}) is None
    text = brought_together(started, theirs.document, limit("0.62"), {way.key: "yours"})
    assert text is not None
    assert edited(publishing, theirs, "Anna", document=text).authors == ("Anna", "Ben")


def test_a_draft_of_an_old_revision_is_brought_together_with_the_new_one(publishing: Publishing) -> None:
    publishing.publish(Proposal(limit("0.66"), "Anna", "Our own interval"))
    mine = publishing.begin("Milligrams", "Ben")
    units = {"serum_magnesium": {"unit": "mg/dL", "reason": "As printed"}}
    text = written(pieces_of(mine.document) | {("units", "serum_magnesium"): units["serum_magnesium"]})
    mine = edited(publishing, mine, "Ben", document=text, reason="As printed")
    publishing.publish(Proposal(limit("0.64"), "Anna", "Too many cards"))
    with refused("conflict") as met:
        publishing.publish_draft(mine.id, mine.version, "Ben")
    assert met.value.number == 2 and met.value.theirs[0]["new"] == "0.64 mmol/L"
    both = brought_together(publishing.document(1), publishing.document(2), mine.document, {})
    assert both is not None, "they changed other things"
    mine = edited(publishing, mine, "Ben", document=both, based_on=2)
    publishing.publish_draft(mine.id, mine.version, "Ben")
    assert in_force(publishing) == "0.64" and publishing.values(3).unit("serum_magnesium") == "mg/dL"


def test_of_a_threshold_value_and_unit_are_never_taken_from_two_editors() -> None:
    def of(value: float, **more: str) -> str:
        return site_of(rules={"shared": {"thresholds": {"lower_limit": {"value": value, **more, "reason": "Own one"}}}})

    (way,) = three_ways(of(0.7), of(0.66), of(1.6, unit="mg/dL"))
    assert way.clash and way.key == "rules.shared.thresholds.lower_limit"
    taken = brought_together(of(0.7), of(0.66), of(1.6, unit="mg/dL"), {way.key: "theirs"})
    assert taken is not None and "mg/dL" not in taken


# Times.


def test_values_for_later_wait_and_those_with_an_end_give_way(publishing: Publishing, clock: Clock) -> None:
    publishing.publish(Proposal(limit("0.66"), "Anna", "Our own interval"))
    draft = drafted(publishing, "0.62")
    hour = timedelta(hours=1)
    draft = edited(publishing, draft, "Anna", in_force_from=clock.now + hour, in_force_until=clock.now + 3 * hour)
    revision = publishing.publish_draft(draft.id, draft.version, "Ben")
    assert in_force(publishing) == "0.66"
    with refused("waiting"):
        publishing.publish(Proposal(limit("0.64"), "Ben", "Another"))
    clock.now += hour
    assert in_force(publishing) == "0.62"
    clock.now += 2 * hour
    assert in_force(publishing) == "0.66"
    begun = publishing.begin("After it", "Ben")
    assert begun.document == limit("0.66") and begun.based_on == revision.number, "from what is in force"
    publishing.publish_draft(edited(publishing, begun, "Ben", reason="As it was").id, 2, "Ben")


def test_values_with_an_end_that_another_draft_would_keep_are_named_wherever_it_is_told(
    publishing: Publishing, clock: Clock
) -> None:
    """Anna's limit holds for a day. Ben's draft, begun meanwhile, has it in it and no end."""
    end = clock.now + timedelta(days=1)
    publishing.publish(Proposal(limit("0.80"), "Anna", "While the analyser is repaired", ends=end))
    document = publishing.document(1) + "region: eu\n"
    draft = publishing.begin("Region", "Ben", document, "European products")
    kept = {"key": "shared.lower_limit", "old": "0.80 mmol/L until 2026-11-22 09:30 UTC, then 0.70 mmol/L",
            "new": "0.80 mmol/L for ever"}  # fmt: skip
    region = {"key": "region", "old": None, "new": "eu"}
    assert [one for one in publishing.draft_changes(draft) if one["key"] in ("region", kept["key"])] == [region, kept]
    earlier = edited(publishing, draft, "Ben", in_force_until=end)
    assert kept["key"] not in [one["key"] for one in publishing.draft_changes(earlier)], "it ends with it"
    later = edited(publishing, earlier, "Ben", in_force_until=end + timedelta(hours=1))
    assert kept | {"new": "0.80 mmol/L until 2026-11-22 10:30 UTC"} in publishing.draft_changes(later)
    endless = edited(publishing, later, "Ben", in_force_until=None)
    made = publishing.publish_draft(endless.id, endless.version, "Ben")
    assert kept in made.changes
    (line, *_) = publishing.store.audit_lines()
    assert "shared.lower_limit: 0.80 mmol/L until 2026-11-22 09:30 UTC" in str(line.details["changes"])


def test_values_with_an_end_keep_it_where_they_are_put_in_force_again(publishing: Publishing, clock: Clock) -> None:
    end = clock.now + timedelta(days=1)
    publishing.publish(Proposal(limit("0.80"), "Anna", "While the analyser is repaired", ends=end))
    publishing.publish(Proposal(limit("0.66"), "Ben", "Our own interval"))
    again = publishing.rollback(1, "Anna", "It is not repaired yet")
    assert in_force(publishing) == "0.80" and again.in_force_until == end
    clock.now = end
    assert in_force(publishing) == "0.66"
    assert publishing.rollback(1, "Anna", "Nor is it now").in_force_until is None


def test_a_revision_that_an_upgrade_made_faulty_keeps_nobody_from_publishing(publishing: Publishing) -> None:
    publishing.publish(Proposal(limit("0.66"), "Anna", "Our own interval"))
    publishing.library = replace(publishing.library, threshold_table=narrowed(publishing.library.threshold_table))
    with pytest.raises(ContentError):
        publishing.values(1)
    draft = drafted(publishing, "0.70", "Ben")
    made = publishing.publish_draft(draft.id, draft.version, "Ben")
    assert made.number == 2 and in_force(publishing) == "0.70"


def narrowed(table: Any) -> Any:
    """Of a later version, which lets a site set less."""
    thresholds = dict(table.thresholds)
    less = {"site_may_set": (Decimal("0.69"), Decimal("0.85"))}
    thresholds["lower_limit"] = thresholds["lower_limit"].model_copy(update=less)
    return table.model_copy(update={"thresholds": thresholds})


def test_values_whose_end_came_while_they_were_in_a_draft_are_changes_of_it(
    publishing: Publishing, clock: Clock
) -> None:
    publishing.publish(Proposal(limit("0.66"), "Anna", "Own interval"))
    publishing.publish(Proposal(limit("0.80"), "Anna", "For an hour", ends=clock.now + timedelta(hours=1)))
    publishing.publish(Proposal(limit("0.80"), "Anna", "For another", ends=clock.now + timedelta(hours=2)))
    draft = publishing.begin("As it is", "Ben")
    (kept,) = publishing.draft_changes(draft)
    assert kept["old"] == "0.80 mmol/L until 2026-11-21 11:30 UTC, then 0.66 mmol/L", "the end of both"
    ended = edited(publishing, draft, "Ben", document=limit("0.66"))
    (early,) = publishing.draft_changes(ended)
    assert early["old"] == kept["old"] and early["new"] == "0.66 mmol/L", "an earlier end is told too"
    clock.now += timedelta(hours=3)
    (late,) = publishing.draft_changes(draft)
    assert (late["old"], late["new"]) == ("0.66 mmol/L", "0.80 mmol/L")


@pytest.mark.parametrize(("begins", "ends"), [(2, 1), (None, 0), (-3, -1)])
def test_an_end_before_the_beginning_or_before_now_is_refused(
    begins: int | None, ends: int, publishing: Publishing
) -> None:
    at = {"begins": NOW + timedelta(hours=begins) if begins else None, "ends": NOW + timedelta(hours=ends)}
    with refused("times"):
        publishing.publish(Proposal(limit("0.66"), "Anna", "Our own interval", **at))  # type: ignore[arg-type]
    assert publishing.newest() == 0


def test_what_waits_is_withdrawn_and_what_held_is_rolled_back(publishing: Publishing, clock: Clock) -> None:
    for value in ("0.66", "0.62"):
        publishing.publish(Proposal(limit(value), "Anna", "Our own interval"))
    assert publishing.rollback(1, "Ben", "Too few cards").number == 3
    assert in_force(publishing) == "0.66"
    waiting = publishing.publish(Proposal(limit("0.64"), "Anna", "Later", begins=clock.now + timedelta(days=1)))
    publishing.withdraw(waiting.number, "Ben")
    with refused("not waiting"):
        publishing.withdraw(1, "Ben")
    assert [state for _, state in publishing.states()] == ["withdrawn", "in force", "past", "past"]
    with refused("unknown revision"):
        publishing.rollback(77, "Ben", "None such")


def test_a_rollback_needs_a_second_person_too(publishing: Publishing) -> None:
    publishing.publish(Proposal(limit("0.66"), "Anna", "Our own interval"))
    publishing.second_person = True
    for approver in (None, "Ben", " BEN"):
        with refused("approval"):
            publishing.rollback(1, "Ben", "Too few cards", approver)
    assert publishing.rollback(1, "Ben", "Too few cards", "Cleo").approved_by == "Cleo"


def test_revisions_of_an_older_content_are_checked_again_before_they_hold(publishing: Publishing) -> None:
    store: Store = publishing.store
    looked = publishing.look(Proposal(limit("0.66"), "Anna", "Our own interval"))
    new = publishing._new(Proposal(limit("0.66"), "Anna", "Our own interval"), looked)
    store.publish(replace(new, document=limit("0.20")))
    with pytest.raises(ContentError, match=r"0\.60 to 0\.85"):
        publishing.rollback(1, "Ben", "Back")
    assert publishing.newest() == 1


def test_a_document_is_written_as_it_is_read() -> None:
    text = (Path(__file__).parent.parent / "docker/site.example.yaml").read_text()
    again = written(pieces_of(text))
    assert pieces_of(again) == pieces_of(text) and written(pieces_of(again)) == again
    library = shipped().library
    Publishing(None, library, frozenset(all_needs(library))).read(again)  # type: ignore[arg-type]
    assert "value: 0.66" in again and "code: '12345'" in again


# The same from the command line.


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """`magnesium-cds site ... --json` on one database, of which the last line is read."""

    def call(*arguments: str | Path, code: int = 0) -> Any:
        done = invoke("site", *arguments, "--data-dir", tmp_path / "data", "--json")
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout) if done.stdout else None

    yield call


def test_a_draft_from_the_command_line_is_approved_and_published(cli: Cli, tmp_path: Path) -> None:
    first, second = (write(tmp_path / f"{value}.yaml", limit(value)) for value in ("0.66", "0.64"))
    begun = cli("draft", "new", first, "--title", "A lower limit", "--by", "Anna", "--reason", "Own interval")
    number = str(begun["id"])
    saved = cli("draft", "save", number, second, "--version", "1", "--by", "Ben")
    assert (saved["version"], saved["authors"], saved["approved"]) == (2, ["Anna", "Ben"], False)
    assert cli("draft", "show", number)["changes"][0]["new"] == "0.64 mmol/L"
    met = cli("draft", "save", number, first, "--version", "1", "--by", "Anna", code=1)
    assert met["trouble"] == "stale" and met["theirs"][0]["new"] == "0.64 mmol/L"
    assert cli("draft", "approve", number, "--version", "2", "--by", "Ben", code=1)["trouble"] == "author"
    assert cli("draft", "approve", number, "--version", "2", "--by", "Cleo")["approved"] is True
    assert [item["id"] for item in [cli("draft", "list")]] == [begun["id"]]
    made = cli("draft", "publish", number, "--version", "2", "--by", "Ben")
    assert (made["number"], made["state"], made["approved_by"]) == (1, "in force", "Cleo")
    assert cli("draft", "discard", number, "--version", "2", "--by", "Anna", code=1)["trouble"] == "closed"
    assert cli("export")["document"] == limit("0.64")
    assert cli("history")["number"] == 1
    with Store.open(data_dir=tmp_path / "data") as store:
        lines = [(line.person, line.action, line.target) for line in reversed(store.audit_lines())]
    assert lines == [
        ("Anna", "draft begun", "draft 1"),
        ("Ben", "draft saved", "draft 1"),
        ("Cleo", "draft approved", "draft 1"),
        ("Ben", "revision published", "revision 1"),
    ]


def test_what_apply_and_rollback_do_is_told_as_json(cli: Cli, tmp_path: Path) -> None:
    files = [write(tmp_path / f"{value}.yaml", limit(value)) for value in ("0.66", "0.64", "0.20")]
    who = ("--author", "Anna", "--reason", "Own interval")
    dry = cli("apply", files[0], *who, "--dry-run")
    assert (dry["revision"], dry["changes"][0]["new"]) == (None, "0.66 mmol/L")
    assert cli("apply", files[0], *who)["number"] == 1
    assert cli("apply", files[1], *who)["number"] == 2
    assert cli("rollback", "1", *who, "--dry-run")["changes"][0]["new"] == "0.66 mmol/L"
    assert cli("apply", files[1], *who, "--based-on", "1", code=1)["trouble"] == "conflict"
    assert "0.60 to 0.85" in cli("apply", files[2], *who, code=78)["faults"][0]["message"]
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M%z")
    assert cli("apply", files[0], *who, "--from", tomorrow)["state"] == "waiting"
    assert cli("withdraw", "3", "--author", "Ben") == {"revision": 3, "state": "withdrawn"}
