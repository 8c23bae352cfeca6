"""Every known interaction and every claim is on record: as rules, or with the reason why not."""

from __future__ import annotations

from pathlib import Path

import yaml

from cds_service.advice.loaded_content import Content
from cds_service.content.library import Library, default_root
from cds_service.content.rule import Rule
from cds_service.publish.catalogue import catalogue_text
from tests.conftest import SHARED
from tests.support.requires import missing
from tests.support.some import some


def dossier(name: str) -> Path:
    """A file of the clinical dossier; it lies beside the project, and a user's clone has none."""
    path = SHARED / "clinical" / name
    if not path.exists():
        missing(f"the clinical dossier is not here ({name})")
    return path


def in_its_product_text(library: Library, rule: Rule) -> bool:
    """Whether every hour of a rule stands in a product text of which at least the passage was read. The dossier is
    older than such a reading."""
    sources = [library.references[limit.reference] for limit in rule.thresholds.values()]
    return all(
        source.kind in ("us_label", "smpc", "leaflet") and source.read in ("whole", "section", "passage")
        for source in sources
    )


def test_the_catalogue_is_current(content: Content) -> None:
    written = default_root() / "README.md"
    assert written.read_text("utf-8") == catalogue_text(content.library), "run `magnesium-cds catalogue`"


def test_every_interaction_of_the_dossier_is_a_rule_or_has_a_reason(content: Content) -> None:
    rows = yaml.load(dossier("interactions.yaml").read_text("utf-8"), yaml.CSafeLoader)
    assert {row["id"] for row in rows} <= set(content.library.coverage)
    assert len(rows) == 86


def test_no_interval_is_shown_as_drug_specific_that_was_not_read_for_the_drug(content: Content) -> None:
    rows = yaml.load(dossier("interactions.yaml").read_text("utf-8"), yaml.CSafeLoader)
    checked = 0
    for row in rows:
        for name in content.library.coverage[row["id"]].rules:
            separate = content.library.rules[name].rule.separate
            if row["kind"] != "separate_doses" or separate is None or separate.interval != "drug_specific":
                continue
            checked += 1
            if in_its_product_text(content.library, content.library.rules[name].rule):
                continue
            assert row["interval_verified"] is True, name
            titles = {item["inn"]: item["verified_for_this_drug"] for item in row["interacting_drugs"]}
            concept = content.library.terminology[separate.drug]
            known = [
                flag for inn, flag in titles.items() if inn.replace(" ", "_") == separate.drug or inn in concept.names
            ]
            assert known and all(known), name
    assert checked > 20


# Texts that the dossier had not read say otherwise: a trial in neuropathy, and two meta-analyses of blood magnesium.
# Judged again: a cohort of intake does not contradict a claim about low magnesium, nor does what is not proven.
JUDGED_SINCE = {
    "SC-018": "partly_supported",
    "SC-067": "unsupported",
    "SC-069": "contradicted",
    "SC-070": "unsupported",
    "SC-105": "unsupported",
    "SC-114": "unsupported",
}


def test_every_claim_of_the_dossier_is_answered(content: Content) -> None:
    claims = yaml.load(dossier("evidence.yaml").read_text("utf-8"), yaml.CSafeLoader)["seed_claims"]
    assert {item["id"] for item in claims} == set(content.library.claims)
    assert len(claims) == 128
    for item in claims:
        verdict = JUDGED_SINCE.get(item["id"], item["verdict"].replace(" ", "_"))
        assert content.library.claims[item["id"]].verdict == verdict, item["id"]


def test_every_number_has_a_reference_that_may_be_shown(content: Content) -> None:
    library = content.library
    for threshold in some(limit for loaded in library.rules.values() for limit in loaded.rule.thresholds.values()):
        assert library.references[threshold.reference].citable
