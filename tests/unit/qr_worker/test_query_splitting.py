"""Cutting queries: parts together hold everything, each is narrower, and it ends."""

from hypothesis import given
from hypothesis import strategies as st

from draw_qr_worker.services.query_splitting import (
    MODALITIES,
    KeySpan,
    day_of,
    second_of,
    split_part,
    whole_part,
)


def match(day="20260102", moment="120000", **more):
    return {"StudyDate": day, "StudyTime": moment, **more}


@given(
    st.integers(0, 500).flatmap(
        lambda first: st.tuples(st.just(first), st.integers(first + 1, 1000))
    ),
    st.data(),
)
def test_a_cut_span_is_two_smaller_ones_without_a_gap(bounds, data):
    span = KeySpan(*bounds)
    values = data.draw(st.lists(st.integers(*bounds), min_size=1, max_size=20))
    left, right = span.cut(values)
    assert (left.first, right.last) == bounds
    assert left.last + 1 == right.first
    assert left.first <= left.last < span.last
    assert span.first < right.first <= right.last


def test_days_are_cut_at_the_middle_of_what_was_seen():
    part = whole_part("STUDY", {"PatientID": "P*"})
    assert "StudyDate" not in part.narrowed()
    parts, certain = split_part(part, [match(f"2026010{n}") for n in range(1, 6)])
    assert [p.narrowed()["StudyDate"] for p in parts] == ["-20260103", "20260104-"]
    assert certain
    assert all(p.narrowed()["PatientID"] == "P*" for p in parts)


def test_a_range_that_was_asked_for_is_not_left():
    part = whole_part("STUDY", {"StudyDate": "20260101-20260110"})
    parts, _ = split_part(part, [match("20260110")] * 3)
    assert [p.narrowed()["StudyDate"] for p in parts] == ["20260101-20260109", "20260110"]


def test_a_single_day_is_cut_by_time_and_a_single_second_by_modality():
    day = whole_part("STUDY", {"StudyDate": "20260102"})
    parts, _ = split_part(day, [match(moment="080000"), match(moment="100000.25")])
    times = [p.narrowed()["StudyTime"] for p in parts]
    assert times == ["000000-080000.999999", "080001-235959.999999"]
    second = whole_part("STUDY", {"StudyDate": "20260102", "StudyTime": "080000-080000"})
    parts, certain = split_part(second, [match(moment="080000")] * 3)
    assert [p.narrowed()["ModalitiesInStudy"] for p in parts] == list(MODALITIES)
    assert certain
    assert split_part(parts[0], [match(moment="080000")]) == ([], False)


def test_series_are_cut_by_modality_and_images_not_at_all():
    parts, _ = split_part(whole_part("SERIES", {"StudyInstanceUID": "1"}), [{}])
    assert parts[0].narrowed()["Modality"] == MODALITIES[0]
    assert split_part(whole_part("IMAGE", {}), [{}]) == ([], False)
    assert split_part(whole_part("SERIES", {"Modality": "CT"}), [{}]) == ([], False)


def test_a_node_that_ignores_the_range_is_not_asked_again():
    part = whole_part("STUDY", {"StudyDate": "20260101-20260103"})
    assert split_part(part, [match("20200101")]) == ([], False)


def test_a_match_without_a_date_leaves_doubt():
    parts, certain = split_part(whole_part("STUDY", {}), [match(), match("")])
    assert len(parts) == 2
    assert not certain


def test_keys_that_are_no_ranges_are_left_alone():
    part = whole_part("STUDY", {"StudyDate": "2026*"})
    assert part.days is None
    parts, _ = split_part(part, [match()])
    assert [p.modality for p in parts] == list(MODALITIES)


def test_values_that_do_not_parse_are_no_days_and_seconds():
    assert [day_of(v) for v in ("20260230", "", None, "2026.01.02")] == [None] * 4
    assert [second_of(v) for v in ("250000", "", None, "12")] == [None] * 4
    assert (second_of("0001"), second_of("000102.5")) == (60, 62)
