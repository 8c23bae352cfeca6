"""What holds of every written direction, whatever it says."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.content.direction_words import LONGEST
from cds_service.terminology import directions as grammar
from tests.conftest import shipped
from tests.directions.test_corpus import rows

READ = [text for _, text, meaning in rows() if meaning != "-"]
AMOUNTS = {"0.5": "1/2", "1": "1", "1.5": "1 1/2", "2": "two", "3": "3 (three)", "4": "4"}
RATES = {(1, 1, "d"): "once daily", (2, 1, "d"): "twice a day", (3, 1, "d"): "3 times a day",
         (1, 8, "h"): "every 8 hours", (1, 2, "d"): "every other day", (1, 1, "wk"): "once a week"}  # fmt: skip

unhurried = settings(deadline=None)  # the first call loads the content


def read(text: str) -> tuple[Any, ...]:
    return tuple(shipped().vocabulary.sigs.read_all(text))


@unhurried
@given(st.sampled_from(sorted(AMOUNTS)), st.sampled_from(sorted(RATES)), st.sampled_from(["tablets", "capsules", "mL"]))
def test_an_amount_and_a_rate_that_are_written_are_read_back(
    number: str, rate: tuple[int, int, str], unit: str
) -> None:
    (dose,) = read(f"Take {AMOUNTS[number]} {unit} by mouth {RATES[rate]}.")
    assert dose["amount"].value == Decimal(number)
    assert (dose["frequency"], dose["period"], dose["period_unit"]) == rate


@unhurried
@given(st.sampled_from(READ), st.sampled_from(["xyzzy", "sometimes", "§", "?", "12345"]), st.data())
def test_a_word_that_nobody_knows_leaves_the_whole_unread_or_is_a_reason(text: str, word: str, data: Any) -> None:
    words = text.split(" ")
    at = data.draw(st.integers(0, len(words)))
    changed = read(" ".join([*words[:at], word, *words[at:]]))
    # Among the words of a reason ("for leg cramps") another word changes nothing that is read.
    assert changed in ((), read(text))


@unhurried
@given(st.sampled_from(READ), st.sampled_from([str.upper, str.title, str.lower]))
def test_case_does_not_matter(text: str, change: Any) -> None:
    assert read(change(text)) == read(text)


@unhurried
@given(st.sampled_from(READ), st.sampled_from(["  ", "\u00a0", "\t", "\u2009", " \u200b"]))
def test_blanks_do_not_matter(text: str, blank: str) -> None:
    assert read(text.replace(" ", blank)) == read(text)


@unhurried
@given(st.sampled_from([text for text in READ if text.isascii()]))
def test_full_width_letters_and_digits_do_not_matter(text: str) -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in text)
    assert read(wide) == read(text)


@unhurried
@given(st.integers(1, 99), st.sampled_from(["Take {} tablets daily", "{} Tabletten täglich", "{} comprimés par jour"]))
def test_a_number_never_grows_because_a_point_is_overlooked(hundredths: int, text: str) -> None:
    number = f".{hundredths:02d}"
    assert {dose["amount"].value for dose in read(text.format(number))} == {Decimal(f"0{number}")}


@pytest.mark.parametrize(
    "text", ["12345 1/2 tablet at night", "100 1/2 Tablette abends", "1234 and a half tablets daily"]
)
def test_a_large_number_before_a_half_is_not_one_number_with_it(text: str) -> None:
    assert read(text) == ()


@pytest.mark.parametrize(
    "text", ["Take.5 tablets daily", "Take 1..5 tablets daily", "Take 1. 5 tablets daily", "1 .5 tablets daily"]
)
def test_a_number_that_is_cut_in_two_is_not_read(text: str) -> None:
    assert read(text) == ()


def test_the_steps_of_reading_grow_with_the_length_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0
    match = grammar._Language._match

    def counted(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        return match(*arguments)

    monkeypatch.setattr(grammar._Language, "_match", counted)
    monkeypatch.setattr(grammar, "LONGEST", 20_000)
    counts = []
    for many in (100, 1000):
        steps = 0
        read("1 tablet daily " * many)
        counts.append(steps)
    assert 0 < counts[1] <= 11 * counts[0]


def test_a_text_longer_than_any_direction_is_not_read() -> None:
    assert read("1 tablet daily" + " " * LONGEST) == ()
