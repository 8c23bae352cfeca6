"""Written directions in the languages of charts: what they come to a day, and what must be left unread."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.conftest import shipped

HOURS = {"h": 1, "d": 24, "wk": 168, "mo": 730}

# language, text, amount of a dose (the higher one), doses a day, moments
READ = """
en | Take two tablets by mouth every morning | 2 | 1 | MORN
en | take 1 tablet po bid | 1 | 2 |
en | 1 cap PO TID with meals | 1 | 3 | C
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
pl | 1 kapsułka na noc | 1 | 1 | HS
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
    return shipped().vocabulary.sigs.read_all(text) or None


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
