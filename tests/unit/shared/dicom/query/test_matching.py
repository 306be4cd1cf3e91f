"""What each kind of key asks for, rule by rule of PS3.4 C.2.2.2.

Not covered: what the catalogue makes of a condition (tests/property/test_matching.py).
"""

import time as clock
from datetime import date, datetime, time
from decimal import Decimal

import pytest

from draw_shared.dicom.encoding.intervals import Dates, Times, combine
from draw_shared.dicom.query.matching import (
    InvalidKey,
    Names,
    Nothing,
    Numbers,
    Patterns,
    Texts,
    Wild,
    name_fits,
    parse,
    pattern,
    value_fits,
)

SEVERAL_VALUED = ["AE", "CS", "LO", "SH", "PN", "UI", "DS", "IS"]


@pytest.mark.parametrize("text", ["", " ", "*", "**", "\0", " * "])
@pytest.mark.parametrize("vr", [*SEVERAL_VALUED, "LT", "DA", "TM", "US"])
def test_universal_matching(vr, text):
    assert parse(vr, text) is None


@pytest.mark.parametrize("vr", ["CS", "LO", "PN"])
def test_a_list_with_a_universal_value_asks_for_nothing(vr):
    assert parse(vr, "A\\*") is None


def test_single_values_keep_their_case_and_lose_their_padding():
    assert parse("LO", " Ab c ") == Texts(("Ab c",))
    assert parse("UI", "1.2.3\0") == Texts(("1.2.3",))


def test_lists_of_uids_leave_out_empty_values():
    assert parse("UI", "1.2\\1.3\\") == Texts(("1.2", "1.3"))


def test_wildcards_are_wildcards():
    assert parse("LO", "A*?b") == Patterns((pattern("A*?b"),))
    assert pattern("A*?b").tokens == ("A", Wild.MANY, Wild.ONE, "b")


@pytest.mark.parametrize("vr", ["UI", "AS"])
def test_wildcards_are_characters_where_none_are_allowed(vr):
    assert parse(vr, "1.2*") == Texts(("1.2*",))


def test_what_sql_takes_for_wildcards_is_text():
    assert parse("LO", "50%_[a]") == Texts(("50%_[a]",))


def test_a_backslash_is_a_character_in_text_of_one_value():
    assert parse("LT", "a\\b") == Texts(("a\\b",))
    assert parse("LO", "a\\b") == Texts(("a", "b"))


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("20240131", date(2024, 1, 31), date(2024, 1, 31)),
        ("2024.01.31", date(2024, 1, 31), date(2024, 1, 31)),
        ("20240101-20240131", date(2024, 1, 1), date(2024, 1, 31)),
        ("20240101-", date(2024, 1, 1), None),
        ("-20240131", None, date(2024, 1, 31)),
        ("20240101 - 20240131", date(2024, 1, 1), date(2024, 1, 31)),
        ("20230201-20230231", date(2023, 2, 1), date(2023, 2, 28)),
        ("20240201-20240231", date(2024, 2, 1), date(2024, 2, 29)),
    ],
)
def test_dates(text, low, high):
    assert parse("DA", text) == Dates(low, high)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("10", time(10), time(10, 59, 59, 999_999)),
        ("1015", time(10, 15), time(10, 15, 59, 999_999)),
        ("10:15", time(10, 15), time(10, 15, 59, 999_999)),
        ("101530", time(10, 15, 30), time(10, 15, 30, 999_999)),
        ("101530.5", time(10, 15, 30, 500_000), time(10, 15, 30, 599_999)),
        ("101530.123456", time(10, 15, 30, 123_456), time(10, 15, 30, 123_456)),
        ("10-12", time(10), time(12, 59, 59, 999_999)),
        ("10-", time(10), None),
        ("-1015", None, time(10, 15, 59, 999_999)),
        ("235960", time(23, 59, 59), time(23, 59, 59, 999_999)),
    ],
)
def test_times(text, low, high):
    assert parse("TM", text) == Times(low, high)


@pytest.mark.parametrize(
    ("vr", "text"),
    [
        ("DA", "-"),
        ("DA", "2024"),
        ("DA", "20241301"),
        ("DA", "20240100"),
        ("DA", "00000101"),
        ("DA", "2024010*"),
        ("DA", "20240101-20240102-20240103"),
        ("DA", "2024010120240102"),
        ("DA", "٢٠٢٤٠١٠١"),
        ("TM", "-"),
        ("TM", "1"),
        ("TM", "24"),
        ("TM", "1060"),
        ("TM", "noon"),
        ("TM", "101530.1234567"),
        ("TM", "101561"),
        ("IS", "one"),
        ("IS", "1_0"),
        ("IS", "one\\two"),
        ("DS", "NaN"),
        ("DS", "Infinity"),
        ("DS", "1E9999"),
        ("DS", "1" * 40),
        ("LO", "a\0b"),
    ],
)
def test_keys_that_are_no_value_of_their_vr_match_nothing(vr, text):
    condition = parse(vr, text)
    assert condition == Nothing()
    assert not value_fits(condition, text)


def test_of_several_keys_those_that_are_values_are_asked_for():
    assert parse("IS", "one\\2") == Numbers((Decimal(2),))


def test_keys_that_are_too_long_are_refused_without_naming_them():
    with pytest.raises(InvalidKey) as refused:
        parse("LO", "a" * 5000)
    assert "aa" not in str(refused.value)


def test_numbers_are_numbers_however_written():
    assert parse("DS", "70\\7E1\\ 70.0") == Numbers((Decimal(70),) * 3)
    assert parse("IS", "+2") == Numbers((Decimal(2),))


def test_date_and_time_as_one_moment():
    days, times = parse("DA", "20240101-20240102"), parse("TM", "2200-0200")
    found = combine(days, times)
    assert found.low == datetime(2024, 1, 1, 22)  # noqa: DTZ001 - DICOM's local time
    assert found.high == datetime(2024, 1, 2, 2, 0, 59, 999_999)  # noqa: DTZ001
    assert combine(Dates(None, days.high), times).low is None


@pytest.mark.parametrize(
    ("key", "name", "fits"),
    [
        ("SMITH^JOHN", "Smith^John", True),
        ("müller", "Müller", True),
        ("MULLER", "Müller", True),
        ("Müller", "Muller^^^", True),
        ("SMITH", "Smith^John", False),
        ("SMITH*", "Smith^John", True),
        ("SM?TH*", "Smith^John", True),
        ("SMITH^*", "Smith", True),
        ("SMITH^*^*", "Smith", True),
        ("SMITH^J*", "Smith", False),
        ("SMITH^^", "Smith", True),
        ("Иванов*", "ИВАНОВ^Пётр", True),
        ("山田*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("やまだ^たろう", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("=山田*", "Yamada^Tarou=山田^太郎", True),
        ("=yamada*", "Yamada^Tarou=山田^太郎", False),
        ("yamada*=山田*", "Yamada^Tarou=山田^太郎", True),
        ("yamada*=佐藤*", "Yamada^Tarou=山田^太郎", False),
        ("yamada*==や*", "Yamada^Tarou=山田^太郎", False),
        ("a*z", "Adam=Zoe", False),
        ("a?z", "A=Z", False),
        ("a%", "Abel", False),
        ("a_el", "Abel", False),
        ("smith", "", False),
        ("smith\\jones", "Jones", True),
        ("*", "", True),
    ],
)
def test_person_names(key, name, fits):
    condition = parse("PN", key)
    assert condition is None or isinstance(condition, Names)
    assert (condition is None or name_fits(condition, name)) is fits


@pytest.mark.parametrize("key", ["*^*", "*=*", "=", "^^", "*^*=*", "=*^*"])
def test_a_name_key_without_any_text_asks_for_nothing(key):
    assert parse("PN", key) is None


def test_no_pattern_takes_long():
    condition = parse("PN", "*a" * 1000 + "b")
    begun = clock.perf_counter()
    assert not name_fits(condition, "a" * 3000)
    assert clock.perf_counter() - begun < 5
