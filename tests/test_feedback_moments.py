"""The times that feedback carries (C48): RFC 3339, and nothing else."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.hooks.feedback import read_moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T21:05:25.873Z", datetime(2026, 11, 21, 21, 5, 25, 873000, UTC)),
        ("1985-04-12t23:20:50.52z", datetime(1985, 4, 12, 23, 20, 50, 520000, UTC)),
        ("1996-12-19T16:39:57-08:00", datetime(1996, 12, 20, 0, 39, 57, tzinfo=UTC)),
        ("1937-01-01T12:00:27.87+00:20", datetime(1937, 1, 1, 11, 40, 27, 870000, UTC)),
        ("1990-12-31T23:59:60Z", datetime(1991, 1, 1, tzinfo=UTC)),
        ("1990-12-31T15:59:60-08:00", datetime(1991, 1, 1, tzinfo=UTC)),
        ("2026-01-01T00:00:00.1234567890Z", datetime(2026, 1, 1, 0, 0, 0, 123456, UTC)),
        ("2026-01-01T00:00:00-00:00", datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_c48_moments_of_rfc_3339(text: str, moment: datetime) -> None:
    """The examples of its section 5.8, and more."""
    assert read_moment(text) == moment
    assert read_moment(text).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21 21:05:25Z",
        "2026-11-21T21:05Z",
        "2026-11-21T21:05:25,5Z",
        "2026-11-21T21:05:25.Z",
        "2026-11-21T21:05:25+0100",
        "2026-11-21T21:05:25+24:00",
        "2026-11-21T21:05:25+01:60",
        "2026-11-21T24:00:00Z",
        "2026-11-21T21:05:61Z",
        "2026-13-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:60Z",
        "2026-11-21T21:05:25Z\n",
        "\uff12\uff10\uff12\uff16-11-21T21:05:25Z",
        "",
        "Z" * 10_000,
        b"2026-11-21T21:05:25Z",
        True,
    ],
)
def test_c48_what_is_no_moment_is_refused_in_our_words(text: object) -> None:
    with pytest.raises(ValueError, match=r"^(must be|is not|has an)"):
        read_moment(text)


@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
def test_c48_every_moment_written_by_python_is_read(moment: datetime) -> None:
    text = moment.isoformat()
    try:
        expected = moment.astimezone(UTC)
    except OverflowError:
        expected = None
    if expected is None or not re.fullmatch(r".*[+-]\d\d:\d\d", text):  # old offsets have seconds
        with pytest.raises(ValueError, match=r"^(must be|is not)"):
            read_moment(text)
    else:
        assert read_moment(text) == expected
