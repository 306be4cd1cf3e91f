"""Dates and times as senders write them.

Not covered here: date-times (DT), which the index does not hold.
"""

from datetime import date, time

import pytest

from draw_shared.dicom.encoding.dates import beyond_microseconds, parse_date, parse_time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20040119", date(2004, 1, 19)),
        ("2004.01.19", date(2004, 1, 19)),
        ("2004-01-19", date(2004, 1, 19)),
        ("00010101", date(1, 1, 1)),
        ("20040230", None),
        ("00000101", None),
        ("2004.0119", None),
        ("200401", None),
        ("20040119-20040120", None),
        ("٢٠٠٤٠١١٩", None),
        ("", None),
    ],
)
def test_dates(text, expected):
    assert parse_date(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("102030", time(10, 20, 30)),
        ("10:20:30", time(10, 20, 30)),
        ("102030.5", time(10, 20, 30, 500_000)),
        ("102030.123456", time(10, 20, 30, 123_456)),
        ("102030.123456789", time(10, 20, 30, 123_456)),
        ("1020", time(10, 20)),
        ("10", time(10)),
        ("235960", None),
        ("240000", None),
        ("1", None),
        ("10:20:30 PM", None),
        ("", None),
    ],
)
def test_times(text, expected):
    assert parse_time(text) == expected


def test_only_digits_behind_microseconds_say_more():
    assert beyond_microseconds("102030.1234567")
    assert not beyond_microseconds("102030.1234560")
    assert not beyond_microseconds("102030")
    assert not beyond_microseconds("nonsense")
