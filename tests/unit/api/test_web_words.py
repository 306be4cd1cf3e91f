"""How values are written on the page, and how what people type is read.

Templates are covered by the e2e tests.
"""

from datetime import UTC, datetime

import pytest
from pydantic import BaseModel, Field

from draw_api.handlers.web import forms, quantities, words
from draw_api.handlers.web.navigation import place_of
from draw_api.handlers.web.nodes import window_line, window_of
from draw_api.handlers.web.pages import Frame, address
from draw_api.handlers.web.queries import name_pattern
from draw_api.handlers.web.transactions import moment_of, status_of
from draw_api.models.own_paths import own_path
from draw_shared.contracts.failures import FieldProblem, Invalid


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Smith^John^Q^Dr", "Smith, John Q Dr"),
        ("Smith", "Smith"),
        ("^John", "John"),
        ("", ""),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou (山田 太郎)"),
        ("=山田^太郎", "山田 太郎"),
        ("Hong^Gildong=洪^吉洞=홍^길동", "Hong, Gildong (洪 吉洞)"),
    ],
)
def test_person_names_are_read_as_people_write_them(name, shown):
    assert words.person(name) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (123456, "123 kB"),
        (5e9, "5.0 GB"),
        (None, words.NIL),
    ],
)
def test_sizes(number, shown):
    assert words.size(number).replace("\u00a0", " ") == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0123, "12 ms"),
        (4.25, "4.2 s"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (7260, "2 h 1 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations(seconds, shown):
    assert words.duration(seconds).replace("\u00a0", " ") == shown


def test_a_uid_is_shortened_and_copied_whole_and_escaped():
    made = words.uid("1.2.826.0.1.3680043.8.498.84457131720269080308959796167855662791")
    assert "1.2.826.0.1.36…167855662791" in made
    assert 'data-copy="1.2.826.0.1.3680043.8.498.84457131720269080308959796167855662791"' in made
    assert "<b>" not in words.uid('"><b>')


@pytest.mark.security
def test_text_is_escaped_and_cannot_turn_its_line_around():
    assert words.marked("<b>\u202e\x1b[0m") == "&lt;b&gt;\ufffd\ufffd[0m"
    assert words.marked("476\u00a0kB 1\u202f000") == "476\u00a0kB 1\u202f000"


def test_a_document_is_shown_in_words():
    shown = words.plain({"max_pdu_bytes": 16384, "trusted": False, "names": ["a<", "b"]})
    assert shown == "Max PDU bytes: 16384, Trusted: no, Names: a&lt;, b"
    assert words.plain([{"a": 1}, {"b": None}]) == f"A: 1, B: {words.NOTHING}"


def test_moments_say_utc():
    at = datetime(2026, 1, 2, 19, 30, tzinfo=UTC)
    assert (
        words.moment(at) == '<time datetime="2026-01-02T19:30:00Z">2026-01-02 19:30:00 UTC</time>'
    )


@pytest.mark.security
@pytest.mark.parametrize("text", ["//evil", "/\\evil", "https://evil", "evil", "/a\nb"])
def test_no_link_leads_to_another_site(text):
    assert own_path(text) == ""


@pytest.mark.parametrize(
    ("text", "status"),
    [("A700", 0xA700), ("0xff00", 0xFF00), ("", None), ("x", None), ("1FFFF", None)],
)
def test_statuses_are_read_as_people_write_them(text, status):
    assert status_of(text) == status


def test_how_long_ago_is_a_moment_for_those_without_a_script():
    at = datetime(2026, 1, 2, 19, 30, tzinfo=UTC)
    shown = words.ago(at)
    assert shown == words.moment(at).unescape().replace("<time ", "<time data-ago ")


@pytest.mark.parametrize(
    ("text", "unit", "value", "again"),
    [
        ("8 GiB", "bytes", 8 * 1024**3, "8 GiB"),
        ("8.6 GB", "bytes", 8_600_000_000, "8.6 GB"),
        ("8,6gb", "bytes", 8_600_000_000, "8.6 GB"),
        ("8589934592", "bytes", 8 * 1024**3, "8 GiB"),
        ("8589934593", "bytes", 8 * 1024**3 + 1, "8589934593 B"),
        ("16384 B", "bytes", 16384, "16 KiB"),
        ("2 TB", "gb", 2000, "2 TB"),
        ("100", "gb", 100, "100 GB"),
        ("0", "gb", 0, "0 GB"),
        ("2 min", "seconds", 120, "2 min"),
        ("90", "seconds", 90, "90 s"),
    ],
)
def test_quantities_are_read_and_written_with_their_unit(text, unit, value, again):
    assert quantities.read_quantity(text, unit) == value
    assert quantities.write_quantity(value, unit) == again
    assert quantities.read_quantity(again, unit) == value


@pytest.mark.parametrize(
    ("text", "unit"),
    [("", "bytes"), ("much", "bytes"), ("1.5 B", "bytes"), ("-1 GB", "bytes"), ("8 GX", "bytes"),
     ("1 MB", "gb"), ("5 kg", "seconds"), ("1.2.3", "seconds"), ("٣ GB", "bytes")],
)  # fmt: skip
def test_what_is_no_quantity_is_none(text, unit):
    assert quantities.read_quantity(text, unit) is None


def test_moments_without_zone_are_utc():
    assert moment_of("2026-01-02T19:30") == datetime(2026, 1, 2, 19, 30, tzinfo=UTC)
    assert moment_of("soon") is None


@pytest.mark.parametrize(
    ("line", "days"),
    [
        ("mon-fri 22:00-06:00", ["mon", "tue", "wed", "thu", "fri"]),
        ("sat, sun 00:00 - 23:59", ["sat", "sun"]),
        ("Fri-Mon 20:00 to 04:00", ["fri", "sat", "sun", "mon"]),
        ("whenever", []),
    ],
)
def test_windows_are_lines(line, days):
    window = window_of(line)
    assert window["days"] == days
    if days:
        assert window_of(window_line(window)) == window


class Example(BaseModel):
    name: str = Field(max_length=8, description="what it is called")
    size: int = Field(default=3, ge=1, le=9)
    active: bool = True
    titles: list[str] = []


def test_a_form_is_made_from_the_class_that_rest_reads():
    name, size, active, titles = forms.fields_of(
        Example, {"size": "12", "titles": ["A", "B"]}, [FieldProblem("size", "too large")]
    )
    assert (name.required, name.longest, name.help) == (True, 8, "What it is called")
    assert (size.kind, size.minimum, size.maximum, size.value) == ("number", 1, 9, "12")
    assert (size.error, size.help) == ("too large", "1 to 9")
    assert (active.kind, active.value) == ("switch", True)
    assert (titles.kind, titles.value) == ("lines", "A\nB")


def test_what_is_wrong_names_its_field():
    with pytest.raises(Invalid) as failure:
        forms.validate_form(Example, {"name": "far too long a name", "size": 0})
    assert [problem.field for problem in failure.value.problems] == ["name", "size"]


@pytest.mark.parametrize(
    ("path", "place"),
    [("/", "/"), ("/studies/1.2", "/studies"), ("/webhooks/3", "/changes"), ("/sign-in", "")],
)
def test_each_page_has_its_place(path, place):
    assert place_of(path) == place


def test_the_next_page_keeps_the_filter():
    frame = Frame(None, "/studies", "patient_id=A%26B&cursor=x", "1", "")
    assert frame.with_parameter("cursor", "z") == "/studies?patient_id=A%26B&cursor=z"
    assert address("/studies", patient_id="A&B", name="") == "/studies?patient_id=A%26B"


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("", ""),
        ("Müller", "Müller*"),
        ("Suzuki Hanako", "Suzuki Hanako"),
        ("Smith, J", "Smith, J"),
        ("SMITH^J", "SMITH^J"),
        ("*son", "*son"),
    ],
)
def test_a_name_is_asked_for_by_its_beginning(typed, sent):
    assert name_pattern(typed) == sent
