"""What `magnesium-cds check` asks of sources, each fault planted once; and which sources cards show."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cds_service import create_app
from cds_service.advice.loaded_content import Content
from cds_service.content.library import Library, LoadedRule, default_root
from cds_service.content.loading import read_content
from cds_service.content.shared import PRIMARY, WEAK, Reference
from cds_service.content.sources import EXCEPTIONS, NOT_READ, SOURCES, source_faults, thresholds_of, without_primary
from cds_service.content.yamlfile import Document, Fault
from cds_service.settings import Settings
from tests.conformance.calls import invoke
from tests.conftest import NOW

GOOD = {"kind": "us_label", "title": "A label", "read": "section", "checked": "Read.", "checked_on": "2026-11-28"}
A_SET = "set id 1e11ad30-1041-4520-10b0-8f9d30d30fcc"
Held = tuple[Library, dict[str, Document]]


@pytest.fixture(scope="module")
def held() -> Held:
    """The shipped content, and the files that it was read from."""
    library, documents = read_content()
    return library, dict(documents)


def of(held: Held, library: Library) -> list[Fault]:
    """The faults of `library` that the shipped content has not got."""
    before = set(source_faults(held[0], held[1]))
    return [fault for fault in source_faults(library, held[1]) if fault not in before]


def source(**members: Any) -> Reference:
    return Reference.model_validate({**GOOD, **members}, strict=False)


def with_source(library: Library, key: str, **members: Any) -> Library:
    """The content with one source as these members say."""
    changed = library.references[key].model_copy(update=members)
    return replace(library, references={**library.references, key: changed})


def led(library: Library, kind: str = "us_label") -> LoadedRule:
    """Some rule whose first source is of this kind, with a threshold that rests on a source of the same kind."""
    return next(
        loaded
        for loaded in library.rules.values()
        if library.references[loaded.rule.evidence.references[0]].kind == kind and loaded.rule.thresholds
    )


def with_rule(library: Library, loaded: LoadedRule, **members: Any) -> Library:
    changed = replace(loaded, rule=loaded.rule.model_copy(update=members))
    return replace(library, rules={**library.rules, loaded.id: changed})


@pytest.mark.parametrize("kind", WEAK)
def test_a_shared_threshold_that_rests_on_a_weak_source_is_a_fault(held: Held, kind: str) -> None:
    key = held[0].shared_thresholds["upper_limit"].reference
    found = of(held, with_source(held[0], key, kind=kind, read="excerpt"))
    place = [(fault.file, fault.key) for fault in found if "a number rests on a primary text" in fault.message]
    assert ("tables/thresholds.yaml", "thresholds.upper_limit.reference") in place
    assert all(fault.line for fault in found)


def test_a_threshold_of_a_rule_and_the_hours_of_a_timing_rule_are_looked_at_too(held: Held) -> None:
    for folder, at in (("safety", "thresholds."), ("timing", "hours")):
        loaded, key = next(
            (item, each.reference)
            for item in held[0].rules.values()
            for each in item.rule.thresholds.values()
            if item.folder == folder and not held[0].references[each.reference].weak
        )
        found = of(held, with_source(held[0], key, kind="web"))
        here = [fault for fault in found if fault.file == loaded.file and "a number rests" in fault.message]
        assert here and here[0].key.startswith(at) and here[0].line, loaded.id


def test_a_rule_led_by_a_weak_source_is_a_fault_unless_it_says_that_the_primary_text_was_not_read(held: Held) -> None:
    loaded = led(held[0])
    first = loaded.rule.evidence.references[0]
    weak = with_source(held[0], first, kind="compendium")
    found = [fault for fault in of(held, weak) if fault.file == loaded.file and "a card shows" in fault.message]
    assert [fault.key for fault in found] == ["evidence.references.0"] and found[0].line
    said = with_rule(weak, loaded, known_limits=f"{NOT_READ}: a compendium was.")
    assert not [fault for fault in of(held, said) if fault.file == loaded.file and "a card shows" in fault.message]


def test_a_card_text_that_names_a_weak_source_is_a_fault(held: Held) -> None:
    loaded = led(held[0])
    weak = next(item.name for item in held[0].references.values() if item.kind == "compendium")
    card = loaded.rule.card.model_copy(update={"consider": [f"Consider what {weak} says."]})
    found = [fault for fault in of(held, with_rule(held[0], loaded, card=card)) if "weak kind" in fault.message]
    assert [(fault.file, fault.key) for fault in found] == [(loaded.file, "card.consider.0")]


def test_a_name_too_long_for_a_card_needs_a_short_one(held: Held) -> None:
    first = led(held[0]).rule.evidence.references[0]
    found = of(held, with_source(held[0], first, short=None, issuer="A very long name of an issuer " * 3))
    assert any(fault.key == first and "needs short" in fault.message for fault in found)


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("trial", "trial of phenytoin with antacids", "small letter"),
        ("trial", "Miyaue et al., 35 people", "Trial of ..."),
        ("smpc", "UK text of Hiprex", "UK SmPC of ..."),
        ("us_label", "FDA label of Synthroid", "US label of ..."),
        ("leaflet", "Leaflet of Iressa", "EU leaflet of ..."),
        ("systematic_review", "Review of magnesium", "Systematic review of ..."),
        ("guideline", "NICE guideline on magnesium.", "ends with a mark"),
        ("guideline", "NHS Highland guideline on low magnesium " + "in adults " * 3, "longer than 60 characters"),
    ],
)
def test_a_short_name_out_of_form_is_a_fault(held: Held, kind: str, name: str, said: str) -> None:
    """A card shows the name at the start of a line, after "Source:" and in brackets: one form serves all three."""
    first = led(held[0]).rule.evidence.references[0]
    found = of(held, with_source(held[0], first, kind=kind, short=name.strip(), identifier=None))
    assert [fault.key for fault in found if said in fault.message] == [f"{first}.short"]
    assert all(fault.line for fault in found)


def test_a_short_name_in_form_is_none_and_a_label_without_one_is_a_fault(held: Held) -> None:
    first = led(held[0]).rule.evidence.references[0]
    for kind, name in (
        ("us_label", "US labels and EU leaflets of the drugs named"),
        ("smpc", "Spanish SmPC of Magnesioboi"),
        ("leaflet", "UK leaflet of lymecycline"),
        ("trial", "Study of diet in MS"),
        ("systematic_review", "Cochrane review of magnesium for cramps"),
        ("guideline", "Royal Cornwall Hospitals guideline on low magnesium"),
    ):
        found = of(held, with_source(held[0], first, kind=kind, short=name, year=None))
        assert not [fault for fault in found if fault.key == f"{first}.short"], name
    missing = of(held, with_source(held[0], first, short=None))
    assert [fault.key for fault in missing if "needs short, its name on a card" in fault.message] == [first]


def test_a_short_name_that_holds_the_year_is_a_fault_and_a_card_says_the_year_once(held: Held) -> None:
    first = led(held[0]).rule.evidence.references[0]
    found = of(held, with_source(held[0], first, short="US label of 2022", year=2022))
    assert [fault.key for fault in found if "holds the year" in fault.message] == [f"{first}.short"]
    without = of(held, with_source(held[0], first, short="Meta-analysis of 2022", year=None))
    other = of(held, with_source(held[0], first, short="Plasma-Lyte 148", year=2022))
    assert not [fault for fault in (*without, *other) if "holds the year" in fault.message]
    assert source(short="US label of 2022", year=2022).dated == "US label of 2022"
    assert source(short="US label of Synthroid", year=2022).dated == "US label of Synthroid, 2022"
    assert source(issuer="AbbVie").dated == "AbbVie"


@pytest.mark.parametrize(
    ("kind", "identifier"),
    [
        ("us_label", f"{A_SET}; NDA021402"), ("us_label", "ANDA208004"), ("us_label", "BLA125084"),
        ("smpc", "EU/1/00/129"), ("smpc", "EU/1/13/892/001"), ("smpc", "PL 00289/0123"), ("smpc", "emc 2678"),
        ("leaflet", "PLGB 12345/0001"), ("trial", "NCT01234567; PMID 6292443"), ("cohort", "PMC5013481"),
        ("systematic_review", "CD009402.pub3"), ("systematic_review", "doi:10.1213/ANE.0000000000004673"),
        ("guideline", "NICE NG203"), ("regulator", "21 CFR 331.11"), ("review", "PMID 17389673"),
        ("standard", "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes"),
        ("laboratory", "doi:10.1515/cclm-2014-0572"), ("smpc", "AEMPS 54347"), ("leaflet", "PL 00142/6422R"),
        ("cohort", "CRID 1390282681165246464"), ("trial", "no number found"),
    ],
)  # fmt: skip
def test_an_identifier_of_a_known_form_is_taken(held: Held, kind: str, identifier: str) -> None:
    found = of(held, with_source(held[0], "nkf_ckd_epi_2021", kind=kind, identifier=identifier))
    assert not [fault for fault in found if fault.key == "nkf_ckd_epi_2021.identifier"]


@pytest.mark.parametrize(
    ("kind", "identifier"),
    [
        ("us_label", "NDA 21402"), ("us_label", "1e11ad30-1041-4520-10b0-8f9d30d30fcc"), ("us_label", "PL 00289/0123"),
        ("us_label", f"{A_SET}, NDA021402"), ("smpc", "NDA021402"), ("smpc", "EU/1/00"), ("trial", "10.1093/jtm"),
        ("trial", "PMID6292443"), ("cohort", "Neurology 98:31-43"), ("guideline", "NG203"), ("review", ""),
        ("regulator", "JSON copy in a package"), ("standard", "N Engl J Med 2021;385:1737"), ("laboratory", "Handbook"),
        ("smpc", "EU/1/18/1289/001-006"), ("smpc", "no number found"), ("us_label", "no number found"),
        ("cohort", "none"), ("cohort", "CRID 139"), ("smpc", "AEMPS"), ("leaflet", "PL 00142/6422X"),
    ],
)  # fmt: skip
def test_an_identifier_of_another_form_is_a_fault(held: Held, kind: str, identifier: str) -> None:
    found = of(held, with_source(held[0], "nkf_ckd_epi_2021", kind=kind, identifier=identifier))
    told = [(fault.file, fault.key) for fault in found if "known forms" in fault.message]
    assert told == [(SOURCES, "nkf_ckd_epi_2021.identifier")]
    assert all(fault.line for fault in found)


@pytest.mark.parametrize("kind", ["us_label", "smpc", "systematic_review", "trial", "cohort"])
def test_a_text_that_has_a_number_needs_it_unless_nobody_read_it(held: Held, kind: str) -> None:
    without = with_source(held[0], "nkf_ckd_epi_2021", kind=kind, identifier=None)
    assert [fault.key for fault in of(held, without) if "needs an identifier" in fault.message] == ["nkf_ckd_epi_2021"]
    unread = with_source(held[0], "nkf_ckd_epi_2021", kind=kind, identifier=None, read="none")
    assert not [fault for fault in of(held, unread) if "needs an identifier" in fault.message]


def test_a_source_that_nobody_uses_is_a_fault(held: Held) -> None:
    more = replace(
        held[0], references={**held[0].references, "nobody_2020": source(identifier=A_SET, short="US label of X")}
    )
    assert [fault.message for fault in of(held, more) if fault.key == "nobody_2020"] == ["is used by nothing"]


def test_an_exception_that_is_none_is_a_fault(held: Held) -> None:
    key = held[0].shared_thresholds["lower_limit"].reference
    weak = with_source(held[0], key, kind="review")
    assert "shared.lower_limit" in without_primary(weak)
    misspelt = replace(weak, other_sources={"shared.lower_limits": "No such threshold."})
    (fault,) = [fault for fault in of(held, misspelt) if fault.file == EXCEPTIONS]
    assert "did you mean shared.lower_limit" in fault.message
    needless = replace(held[0], other_sources={"shared.lower_limit": "It has a primary source."})
    assert [fault.key for fault in of(held, needless)] == ["shared.lower_limit"]


def test_check_tells_a_planted_fault_with_its_line(tmp_path: Path) -> None:
    folder = tmp_path / "cards"
    shutil.copytree(default_root(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / SOURCES
    text = path.read_text("utf-8")
    path.write_text(
        text + '\nzzz_nobody:\n  kind: policy\n  title: "Nobody"\n  checked: Ours.\n  checked_on: 2026-11-28\n'
    )
    done = invoke("check", "--content", folder, "--json")
    told = [fault for fault in json.loads(done.stdout)["faults"] if fault["key"] == "zzz_nobody"]
    assert done.returncode == 78
    assert told == [
        {"file": SOURCES, "line": text.count("\n") + 2, "key": "zzz_nobody", "message": "is used by nothing"}
    ]


def test_the_shipped_content_has_no_fault_of_sources(held: Held) -> None:
    assert [str(fault) for fault in source_faults(*held)] == []


def test_nineteen_of_twenty_rules_are_led_by_a_primary_source(held: Held) -> None:
    library = held[0]
    leading = {
        name: library.references[loaded.rule.evidence.references[0]].kind for name, loaded in library.rules.items()
    }
    others = {name: kind for name, kind in leading.items() if kind not in PRIMARY}
    share = 1 - len(others) / len(leading)
    print(f"{share:.1%} of {len(leading)} rules; the others: {others}")
    assert share >= 0.95, f"{share:.1%}"


def test_every_threshold_rests_on_a_primary_source_or_is_a_named_exception(held: Held) -> None:
    assert len(list(thresholds_of(held[0]))) > 200
    assert sorted(set(without_primary(held[0])) - set(held[0].other_sources)) == []


def test_the_name_of_a_weak_source_never_stands_behind_a_card(held: Held) -> None:
    key = led(held[0]).rule.evidence.references[0]
    weak = with_source(held[0], key, kind="compendium", short="A compendium")
    assert weak.source(key) == weak.source(key, year=False) == weak.wording.primary_not_read
    primary = with_source(held[0], key, short="US label of Synthroid", year=2022)
    assert primary.source(key) == "US label of Synthroid, 2022"
    assert primary.source(key, year=False) == "US label of Synthroid"


def test_an_evidence_page_says_of_each_source_what_it_is_where_it_stands_and_how_it_was_read(
    held: Held, content: Content, tmp_path: Path
) -> None:
    loaded = led(held[0])
    key = loaded.rule.evidence.references[0]
    members = {"version": "revised 2022-12-30", "section": "2.1, 7.1", "identifier": A_SET, "read": "section"}
    library = with_source(held[0], key, **members)
    app = create_app(Settings(data_dir=tmp_path), now=lambda: NOW, content=content._replace(library=library))
    page = app.test_client().get(f"/evidence/{loaded.id}").text
    body = app.test_client().get(f"/fhir/PlanDefinition/{loaded.id}").json
    app.extensions["advisor"].store.close()
    assert ", revised 2022-12-30, section 2.1, 7.1. set id 1e11ad30" in page
    assert "(US product label; the section was read, " in page
    assert ". revised 2022-12-30. Section 2.1, 7.1. set id 1e11ad30" in body["relatedArtifact"][0]["citation"]
