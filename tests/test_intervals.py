"""What timing rules say of their hours: in whole, in both directions, and from where."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import yaml

from cds_service.advice.loaded_content import Content
from cds_service.content.rule import Rule, Separate
from tests.conftest import NOW
from tests.support.some import some
from tests.test_coverage import dossier

# Words by which a summary says that its hours are not the drug's own.
NOT_ITS_OWN = ("general rule", "rule of its class", "by analogy", "a patient leaflet asks")
# Hours that stand in no cited source of the row are not taken over; each with the reason.
OTHER_HOURS = {
    "digoxin_timing": "labels give no hours; a regulator's list asks for more than two, a compendium for one",
    "ferrous_fumarate_timing": "as for the sulfate",
    "ferrous_gluconate_timing": "as for the sulfate",
    "ferrous_sulfate_timing": "two hours stand in no source of the row; the cited product text has three to four",
    "ibandronic_acid_timing": "an EU leaflet, read after the dossier, asks for six hours after magnesium",
    "ofloxacin_timing": "a Spanish magnesium text and a trial, read after the dossier, give two hours on both sides",
    "phenytoin_timing": "its label asks for another time of day, so the upper end of the general rule is used",
    "risedronic_acid_timing": "its labels ask for another time of day, a magnesium text for three to four hours",
}


def timing_rules(content: Content) -> Iterator[tuple[str, Rule, Separate]]:
    """Every rule that keeps two doses apart, with its block."""
    for name, loaded in content.library.rules.items():
        if loaded.rule.separate is not None:
            yield name, loaded.rule, loaded.rule.separate


def test_a_summary_with_one_number_of_hours_names_the_longer_wait(content: Content) -> None:
    for name, rule, _ in timing_rules(content):
        summary = rule.card.summary or ""
        assert ("{hours_before}" in summary) == ("{hours_after}" in summary), f"{name}: say hours_apart"
    general = content.library.wording.separate["general_rule"]
    assert "{hours_before}" not in general.summary + general.summary_same


def test_hours_that_are_not_the_drugs_own_are_named_so_in_the_summary(content: Content) -> None:
    for name, rule, separate in some(timing_rules(content)):
        text = content.library.wording.separate[separate.interval]
        summaries = [rule.card.summary] if rule.card.summary else [text.summary, text.summary_same]
        for summary in summaries:
            said = any(words in summary for words in NOT_ITS_OWN)
            assert said == (separate.interval == "general_rule"), name


def test_a_direction_that_was_not_read_for_the_drug_is_named_so_on_the_card(content: Content) -> None:
    seen = 0
    for name, rule, separate in timing_rules(content):
        if separate.interval == "drug_specific":
            labelled = any("(general rule)" in limit.label for limit in rule.thresholds.values())
            said = any("(general rule)" in option for option in rule.card.options())
            assert labelled == said, name
            seen += labelled
    assert seen, "no rule has a direction of its own and one by the general rule, so this test says nothing"


def test_the_source_of_every_hour_is_among_the_sources_of_its_rule(content: Content) -> None:
    for name, rule, _ in some(timing_rules(content)):
        assert {limit.reference for limit in rule.thresholds.values()} <= set(rule.evidence.references), name


def rows_with_rules(content: Content) -> Iterator[tuple[dict[str, Any], str, Rule, Separate]]:
    """Every row of the dossier that asks for separate doses, with each timing rule made from it."""
    rules = {name: (rule, separate) for name, rule, separate in timing_rules(content)}
    for row in yaml.load(dossier("interactions.yaml").read_text("utf-8"), yaml.CSafeLoader):
        for name in content.library.coverage[row["id"]].rules if row["kind"] == "separate_doses" else []:
            yield row, name, *rules[name]


def test_hours_and_directions_are_those_of_the_dossier(content: Content) -> None:
    for row, name, rule, separate in some(rows_with_rules(content)):
        careful = row.get("conservative_hours", {})
        for way in ("drug_then_magnesium", "magnesium_then_drug"):
            hours = rule.thresholds[getattr(separate, way)].at(NOW.date())
            known = {Decimal(str(row[f"min_hours_{way}"])), Decimal(str(careful.get(way, row[f"min_hours_{way}"])))}
            assert hours in known or name in OTHER_HOURS, f"{name}: {way}"


def test_a_direction_without_a_source_in_the_dossier_is_labelled_as_the_general_rule(content: Content) -> None:
    one_way = [one for one in rows_with_rules(content) if one[0]["interval_basis"] == "drug_specific_one_direction"]
    for _, name, rule, separate in some(one_way):
        labels = [limit.label for limit in rule.thresholds.values()]
        # Where both directions are the general rule, the summary says so, and not a label.
        one = separate.interval == "drug_specific"
        assert sum("(general rule)" in label for label in labels) == one, name


def test_rules_about_stomach_acid_name_the_salts_and_the_others_hold_for_all(content: Content) -> None:
    for row, name, _, separate in some(rows_with_rules(content)):
        assert ("all oral" in row["magnesium_forms"]) == (not separate.magnesium), name


def test_limits_say_that_an_unnamed_salt_counts_where_the_rule_holds_for_some_salts_only(content: Content) -> None:
    for name, rule, separate in some(timing_rules(content)):
        said = "whose salt is not named" in " ".join(rule.known_limits.split())
        assert said == bool(separate.magnesium), name


def test_a_rule_whose_primary_text_nobody_read_is_information_of_low_certainty(content: Content) -> None:
    rules = [loaded.rule for loaded in content.library.rules.values()]
    unread = [rule for rule in rules if "Primary text not read." in " ".join(rule.known_limits.split())]
    for rule in some(unread):
        assert rule.card.indicator == "info", rule.title
        assert rule.evidence.certainty in ("low", "very_low"), rule.title
