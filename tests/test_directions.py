"""Written directions in the languages of charts: what they come to a day, and what must be left unread."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import SHARED, shipped

CORPUS = SHARED / "terminology" / "directions" / "sigs.yaml"
HOURS = {"h": 1, "d": 24, "wk": 168, "mo": 730}
MEALS = {"C", "AC", "PC"}

# language, text, amount of a dose (the higher one), doses a day, moments
READ = """
en | Take two tablets by mouth every morning | 2 | 1 | MORN
en | take 1 tablet po bid | 1 | 2 |
en | 1 cap PO TID with meals | 1 | 3 |
en | Take .5 tablet by mouth twice daily | 0.5 | 2 |
en | Take .25 tablet by mouth daily | 0.25 | 1 |
en | Take 1/2 tab by mouth every evening | 0.5 | 1 | EVE
en | Take 1½ tablets by mouth daily | 1.5 | 1 |
en | one and a half tablets at bedtime | 1.5 | 1 | HS
en | Take 2 (two) tablets by mouth 3 (three) times daily | 2 | 3 |
en | Take 1 to 2 tablets by mouth twice a day | 2 | 2 |
en | Take 1-2 caps by mouth at bedtime as needed | 2 | 1 | HS
en | Take 1 tablet by mouth every morning with breakfast | 1 | 1 | CM
en | 1 tablet nightly at bedtime | 1 | 1 | HS
en | 15 mL by mouth every 6 hours | 15 | 4 |
en | 400 mg, Oral, 2 times daily | 400 | 2 |
en | 400 mg, Oral, Nightly | 400 | 1 | HS
en | Take 1 tablet by mouth every 12 hours (2 times daily) | 1 | 2 |
en | Take 1 tablet by mouth daily for 10 days | 1 | 1 |
en | 1 tab po bd for 5/7 | 1 | 2 |
en | two tablets nocte | 2 | 1 | NIGHT
en | 1 TDS | 1 | 3 |
en | Take 1 tablet by mouth on Mondays and Fridays | 1 | 0.2857 |
en | Take one tablet every 8 hours as needed. Max 3 tablets per day | 1 | 3 |
en | Take 1 tablet daily. Do not take within 2 hours of an antibiotic | 1 | 1 |
en | 1 tab @8am and 1 tab @8pm | 1 | 2 |
en | 1-0-1-0 | 1 | 2 | MORN EVE
en | 0-0-0-1 | 1 | 1 | HS
de | 1 Tablette täglich | 1 | 1 |
de | 2 x tgl. 1 Tbl. | 1 | 2 |
de | dreimal täglich eine Kapsel | 1 | 3 |
de | 1 Beutel morgens und abends | 1 | 2 | MORN EVE
de | ½ Tablette zur Nacht | 0.5 | 1 | HS
de | 1,5 Tabletten täglich | 1.5 | 1 |
de | alle 12 Stunden 1 Tablette | 1 | 2 |
de | 3x1/Tag | 1 | 3 |
de | 1 Tbl. bei Bedarf 2x täglich | 1 | 2 |
fr | 2 comprimés par jour | 2 | 1 |
fr | 1 sachet matin et soir | 1 | 2 | MORN EVE
fr | 1 gélule 3 fois par jour | 1 | 3 |
fr | 1 cp le matin au petit-déjeuner | 1 | 1 | CM
fr | 1 cp toutes les 8 heures pendant 5 jours | 1 | 3 |
fr | 0,5 comprimé au coucher | 0.5 | 1 | HS
es | 1 comprimido cada 8 horas | 1 | 3 |
es | 2 comprimidos al día | 2 | 1 |
es | medio comprimido por la noche | 0.5 | 1 | EVE
es | 1 sobre 2 veces al día | 1 | 2 |
es | 1 cápsula con el desayuno y 1 cápsula con la cena | 1 | 2 | CM CV
it | 1 compressa al giorno | 1 | 1 |
it | 2 compresse la sera | 2 | 1 | EVE
it | 1 bustina 2 volte al giorno | 1 | 2 |
it | 1 cpr ogni 12 ore | 1 | 2 |
it | mezza compressa a colazione | 0.5 | 1 | CM
pt | 1 comprimido ao dia | 1 | 1 |
pt | 1 comprimido de 12/12 horas | 1 | 2 |
pt | 1 cápsula à noite | 1 | 1 | EVE
pt | 2 comprimidos 3 vezes ao dia | 2 | 3 |
nl | 1 tablet per dag | 1 | 1 |
nl | 2 maal daags 1 tablet | 1 | 2 |
nl | 2dd1 capsule | 1 | 2 |
nl | 1 zakje 's ochtends | 1 | 1 | MORN
nl | 3x per dag een halve tablet | 0.5 | 3 |
sv | 1 tablett 3 gånger dagligen | 1 | 3 |
sv | 2 tabletter till natten | 2 | 1 | HS
sv | 1 kapsel morgon och kväll | 1 | 2 | MORN EVE
no | 1 tablett daglig | 1 | 1 |
no | 2 tabletter 2 ganger daglig | 2 | 2 |
no | 1 kapsel x 2 | 1 | 2 |
da | 1 tablet morgen og aften | 1 | 2 | MORN EVE
da | 2 tabletter 1 gang daglig | 2 | 1 |
fi | 1 tabletti kerran päivässä | 1 | 1 |
fi | 2 tablettia aamulla | 2 | 1 | MORN
pl | 1 tabletka 2 razy dziennie | 1 | 2 |
pl | 1 kapsułka na noc | 1 | 1 | NIGHT
cs | 1 tableta denně | 1 | 1 |
cs | 2x denně 1 tbl. | 1 | 2 |
""".strip().split("\n")

LEFT = [
    "as directed",
    "Take 1 tablet",
    "Take 1 tablet with food",
    "Take 2 (three) tablets daily",
    "Take 1 tablet daily and as needed",
    "Take 1 tablet daily, then as needed",
    "Do not take",
    "Do not take daily",
    "STOP taking this medicine",
    "Hold until seen",
    "Patient not taking: 1 tablet daily",
    "Patient taking differently: 1 tablet daily",
    "Take 1 tablet daily, may increase to 2 tablets daily",
    "Take 1 tablet twice daily. Take 1 tablet once daily.",
    "Take 1 tablet every 12 hours three times a day",
    "Take 1 tablet once daily in the morning and at bedtime",
    "Take 3 tablets every 4 hours as needed. Max 6 tablets per day",
    "25 mg/kg every 8 hours",
    "MS 2 mg IV q4h",
    "1-1",
    "1 tablet 5/7 daily",
    "1 Tablette laut Arzt",
    "1 comprimé si besoin",
    "1 comprimido si dolor",
    "Absetzen",
    "niet innemen",
    "1 tablet by mouth daily xyzzy",
]


def a_day(dose: dict[str, Any]) -> Decimal:
    if "times" in dose:
        return Decimal(len(dose["times"]))
    hours = Decimal(str(dose["period"])) * HOURS[dose["period_unit"]]
    many = Decimal(dose.get("frequency_max") or dose["frequency"]) * 24 / hours
    return many * len(dose["days"]) / 7 if dose.get("days") else many


def read(text: str) -> list[dict[str, Any]] | None:
    return shipped().vocabulary.sigs.read_all(text)


@pytest.mark.parametrize("line", READ, ids=lambda line: line.split(" | ")[1])
def test_a_direction_comes_to_what_it_means(line: str) -> None:
    _, text, amount, doses, moments = (part.strip() for part in line.split("|"))
    found = read(text)
    assert found is not None and len(found) == 1, found
    dose = found[0]
    assert (dose.get("amount_high") or dose["amount"]).value == Decimal(amount)
    assert round(a_day(dose), 4) == Decimal(doses)
    assert [code for code, _ in dose.get("when", ())] == moments.split()


@pytest.mark.parametrize("text", LEFT)
def test_what_is_not_understood_whole_is_left_unread(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize("text", ["2-0-1-0", "2 Tabletten morgens, 1 Tablette abends", "1 cp le matin, 2 cp le soir"])
def test_doses_that_differ_are_read_each_on_its_own(text: str) -> None:
    found = read(text)
    assert found is not None
    assert sum(dose["amount"].value * a_day(dose) for dose in found) == 3
    assert len({dose["amount"].value for dose in found}) == 2


ENGLISH = [line.split(" | ")[1] for line in READ if line.startswith("en")]


@given(st.sampled_from(ENGLISH), st.sampled_from(["xyzzy", "maybe", "warfarin", "unless", "kg"]), st.data())
def test_a_word_that_is_not_known_leaves_the_whole_text_unread(text: str, word: str, data: st.DataObject) -> None:
    words = text.split()
    at = data.draw(st.integers(0, len(words)))
    changed = " ".join([*words[:at], word, *words[at:]])
    assert read(changed) is None or "within" in words[:at]


@given(
    st.sampled_from(ENGLISH), st.sampled_from([str.upper, str.lower, str.title, lambda text: text.replace(" ", "  ")])
)
def test_case_and_blanks_do_not_count(text: str, change: Any) -> None:
    assert read(change(text)) == read(text)


@given(st.integers(1, 20), st.sampled_from(["tablet", "capsule", "mL"]), st.integers(2, 6))
def test_what_is_written_is_what_is_read(many: int, unit: str, times: int) -> None:
    found = read(f"Take {many} {unit} by mouth {times} times daily")
    assert found is not None
    assert (found[0]["amount"].value, a_day(found[0])) == (many, times)
    assert read(f"Take .{many} {unit} by mouth {times} times daily")[0]["amount"].value == Decimal(f"0.{many}")  # type: ignore[index]


def _meant(row: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Each dose that differs: lowest and highest amount, doses a day, moments, as needed."""
    found = []
    for dose in row["means"]["doses"]:
        amount = dose.get("amount") or {}
        timing = {"frequency": 1, "period": 1, "period_unit": "d"} | dose
        rate = Decimal(1) if dose.get("once") else a_day(timing)
        rate = Decimal(len(dose["times_of_day"])) if dose.get("times_of_day") else rate
        when = tuple(sorted(set(dose.get("when", ())) - MEALS))
        low, high = amount.get("value", amount.get("low")), amount.get("value", amount.get("high"))
        needed = bool(row["means"].get("as_needed"))
        found.append((low and Decimal(str(low)), high and Decimal(str(high)), round(rate, 3), when, needed))
    return sorted(found, key=str)


def _said(doses: list[dict[str, Any]], implied: bool) -> list[tuple[Any, ...]]:
    found = []
    for dose in doses:
        low = dose["amount"].value if "amount" in dose else Decimal(1) if implied else None
        high = dose["amount_high"].value if "amount_high" in dose else low
        when = tuple(sorted(code for code, _ in dose.get("when", ())))
        found.append((low, high, round(a_day(dose), 3), when, bool(dose.get("as_needed"))))
    return sorted(found, key=str)


@pytest.mark.skipif(not CORPUS.exists(), reason="the reference material is not beside the project")
def test_most_directions_of_the_reference_corpus_are_read_and_none_is_read_wrongly() -> None:
    counts: dict[str, Counter[str]] = {"en": Counter(), "other": Counter()}
    wrong = []
    for row in yaml.safe_load(CORPUS.read_text("utf-8"))["rows"]:
        found = read(row["text"])
        group = counts["en" if row["language"] == "en" else "other"]
        if row["reading"] == "unreadable":
            # That a total does not fit the product is seen where the strength is known.
            if found is not None and "total" not in found[0]:
                wrong.append(row["text"])
            continue
        if found is None:
            group["not"] += row["reading"] == "read"
            continue
        right = _said(found, row["field"] == "timing.code.text") == _meant(row)
        group["right"] += right and row["reading"] == "read"
        if not right:
            wrong.append(row["text"])
    assert wrong == []
    shares = {name: group["right"] / (group["right"] + group["not"]) for name, group in counts.items()}
    assert shares["en"] >= 0.9 and shares["other"] >= 0.75, shares
