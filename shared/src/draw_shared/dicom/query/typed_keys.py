"""Converts query keys from the form people type into the form nodes compare (PS3.4 C.2.2.2).

A node compares a key literally: it does not recognize `01.11.2026` as a date, matches nothing, and
the user would believe "nothing found". So text with only one meaning is converted to the form of
DICOM (PS3.5 6.2); text with no meaning or two is refused with an explanation. Converting a result
again does not change it.

- Dates: `2026-11-01`, `1.11.2026` (with dots the day comes first), `20261101`. A year, a month
  such as `2026-11`, or `202611*` becomes the range of its days. `03/04/2026` is refused: it can
  be a day in April or in March.
- Times: what is left out is open, as in our own matching: `10:30` is the whole minute.
- Person names: `Smith, J` is a family and a given name, `Smith` the beginning of a name. Several
  words without comma and `^` are refused, because the family name is unclear. Text with a `^`,
  a `=` or a wildcard is in DICOM's form already and stays.
- Text in quotation marks is refused: a node would compare the marks too.
- Codes become upper case. UIDs, dates, times and numbers have no wildcards.
"""

import re
from calendar import month_name, monthrange
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final

from draw_shared.dicom.encoding import dictionary
from draw_shared.dicom.query.matching import WHOLE_TEXT_VRS
from draw_shared.errors import Permanent
from draw_shared.wording import message

BINARY_VRS: Final = frozenset({"AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})
MAX_UID_LENGTH: Final = 64
MAX_QUESTIONS: Final = 100
"""Largest number of queries that one query with keys of several values is split into."""
MONTHS: Final = 12
FIRST_YEAR: Final = 1800
"""No patient or study is older; an earlier year is a misplaced day or month."""
_OPENING_MARKS: Final = frozenset('"\u201c\u201d\u201e\u00ab')
SEXES: Final = frozenset({"M", "F", "O"})


class UnclearKey(Permanent):
    """The typed text cannot be sent; the message explains it to the user."""


def key_as_sent(keyword: str, typed: str) -> str:
    """Return the key to send for typed text; empty if it matches everything.

    Raises:
        UnclearKey: it has no meaning, or two.
        LookupError: the dictionary has no such keyword.
    """
    tag = dictionary.tag_of(keyword)
    if tag is None:
        raise LookupError(keyword)
    vr = dictionary.vr_of(tag)[:2]
    text = typed.strip()
    if not text or (vr in _WITHOUT_WILDCARDS and not text.strip("*")):
        return ""
    if vr not in WHOLE_TEXT_VRS and any(_is_quoted(value) for value in text.split("\\")):
        raise UnclearKey(
            message("leave out the quotation marks: a node compares them as it does letters")
        )
    if vr in BINARY_VRS:
        raise UnclearKey(
            message("no node compares values of this attribute; leave it empty to be told it")
        )
    if vr in WHOLE_TEXT_VRS:
        return text
    if vr in _RANGES:
        return _RANGES[vr](text)
    convert = _VALUES.get(vr, str)
    values = [convert(value.strip()) for value in text.split("\\") if value.strip()]
    if keyword == "PatientSex" and not all(v in SEXES or not v.strip("*?") for v in values):
        raise UnclearKey(message("a patient's sex is M, F or O"))
    return "\\".join(values)


def _is_quoted(value: str) -> bool:
    text = value.strip()
    return text[:1] in _OPENING_MARKS or (len(text) > 1 and text[0] == text[-1] == "'")


def one_value_each(keys: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Split keys of several values into queries that together ask for the same.

    Nodes must support lists only for UIDs (PS3.4 C.2.2.2.2); in other keys many nodes compare the
    backslash literally, and find nothing.

    Raises:
        UnclearKey: there would be unreasonably many queries.
    """
    asked = [dict(keys)]
    for keyword, value in keys.items():
        values = value if isinstance(value, list) else str(value).split("\\")
        if len(values) > 1 and _is_divided(keyword):
            asked = [each | {keyword: one} for each in asked for one in values if one]
        if len(asked) > MAX_QUESTIONS:
            raise UnclearKey(
                message(
                    "keys of several values are more than %(most)s questions",
                    most=MAX_QUESTIONS,
                )
            )
    return asked


def _is_divided(keyword: str) -> bool:
    tag = dictionary.tag_of(keyword)
    vr = dictionary.vr_of(tag)[:2] if tag is not None else ""
    return vr not in _UNDIVIDED


# --- dates -------------------------------------------------------------------------------

_HOW_DATES: Final = message(
    "a date is written as 2026-11-01, 01.11.2026 or 20261101, a range as 20261101-20261130"
)
_BETWEEN: Final = re.compile(r"\s*(?:-|\u2013|\bto\b|\.\.)\s*")
_DAY: Final = re.compile(
    r"(?P<y1>\d{4})(?P<m1>\d\d)(?P<d1>\d\d)"
    r"|(?P<y2>\d{4})(?P<s2>[./-])(?P<m2>\d\d?)(?P=s2)(?P<d2>\d\d?)"
    r"|(?P<a>\d\d?)(?P<s3>[./-])(?P<b>\d\d?)(?P=s3)(?P<y3>\d{4})"
    r"|(?P<y4>\d{4})(?:-(?P<m4>\d\d))?",
    re.ASCII,
)
_BEGINNING: Final = re.compile(r"(\d{4})(\d\d)?(\d\d)?\*+", re.ASCII)
_SHORT_YEAR: Final = re.compile(r"\d\d?([./-])\d\d?\1\d\d", re.ASCII)


def _dates(text: str) -> str:
    beginning = _BEGINNING.fullmatch(text)
    if beginning is not None:
        text = "-".join(part for part in beginning.groups() if part)
    if _DAY.fullmatch(text):
        return _span(*_days(text))
    ends = _halves(text, _DAY)
    if ends is None and _SHORT_YEAR.fullmatch(text):
        raise UnclearKey(message("write the year with four digits, as in 2026-11-01"))
    if ends is None:
        raise UnclearKey(_HOW_DATES)
    first, last = ends
    return _span(_days(first)[0] if first else "", _days(last)[1] if last else "")


def _halves(text: str, one: re.Pattern[str]) -> tuple[str, str] | None:
    """Return both ends of a range, one of which may be empty; None if it is no range."""

    def fits(part: str) -> bool:
        return not part or one.fullmatch(part) is not None

    for found in _BETWEEN.finditer(text):
        first, last = text[: found.start()], text[found.end() :]
        if (first or last) and fits(first) and fits(last):
            return first, last
    return None


def _span(first: str, last: str) -> str:
    if first and last and first > last:
        raise UnclearKey(message("the range ends before it begins"))
    return first if first == last else f"{first}-{last}"


def _days(text: str) -> tuple[str, str]:
    """Return the first and the last day covered by a match of `_DAY`."""
    found = _DAY.fullmatch(text)
    if found is None:
        raise UnclearKey(_HOW_DATES)
    if found["a"]:
        return _day_first(int(found["y3"]), int(found["a"]), int(found["b"]), found["s3"])
    year = int(found["y1"] or found["y2"] or found["y4"])
    month, day = found["m1"] or found["m2"] or found["m4"], found["d1"] or found["d2"]
    if day:
        exact = _day(year, int(month), int(day))
        return exact, exact
    first = _day(year, int(month or 1), 1)
    last_month = int(month or MONTHS)
    return first, _day(year, last_month, monthrange(year, last_month)[1])


def _day_first(year: int, day: int, month: int, separator: str) -> tuple[str, str]:
    """Return a date written before its year; with dots its month is in the middle."""
    if separator != ".":
        if day <= MONTHS and month <= MONTHS and day != month:
            one, other = f"{day} {month_name[month]}", f"{month} {month_name[day]}"
            first = f"{year:04}-{month:02}-{day:02}"
            second = f"{year:04}-{day:02}-{month:02}"
            raise UnclearKey(
                message(
                    "this is %(one)s or %(other)s; write %(first)s or %(second)s",
                    one=one,
                    other=other,
                    first=first,
                    second=second,
                )
            )
        if month > MONTHS:
            day, month = month, day
    found = _day(year, month, day)
    return found, found


def _day(year: int, month: int, day: int) -> str:
    if year < FIRST_YEAR:
        raise UnclearKey(_HOW_DATES)
    try:
        return f"{date(year, month, day):%Y%m%d}"
    except ValueError as error:
        raise UnclearKey(message("the calendar has no such day")) from error


# --- times -------------------------------------------------------------------------------

_HOW_TIMES: Final = message(
    "a time is written as 10:30, 10:30:15 or 103015, a range as 10:00-11:30"
)
_TIME: Final = re.compile(
    r"(?P<h1>\d\d)(?:(?P<m1>\d\d)(?:(?P<s1>\d\d)(?:\.(?P<f1>\d{1,6}))?)?)?"
    r"|(?P<h2>\d\d?):(?P<m2>\d\d)(?::(?P<s2>\d\d)(?:\.(?P<f2>\d{1,6}))?)?",
    re.ASCII,
)
_BEGINNING_OF_TIME: Final = re.compile(r"\d\d(?:\d\d){0,2}\*+", re.ASCII)
LAST_HOUR: Final = 23
LAST_MINUTE: Final = 59
LAST_SECOND: Final = 60
"""A leap second (PS3.5 6.2)."""


def _times(text: str) -> str:
    if _BEGINNING_OF_TIME.fullmatch(text):
        text = text.rstrip("*")
    if _TIME.fullmatch(text):
        return _span(*_moments(text))
    ends = _halves(text, _TIME)
    if ends is None:
        raise UnclearKey(_HOW_TIMES)
    first, last = ends
    return _span(_moments(first)[0] if first else "", _moments(last)[1] if last else "")


def _moments(text: str) -> tuple[str, str]:
    """Return the first and the last moment covered by a match of `_TIME`."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise UnclearKey(_HOW_TIMES)
    hour, minute, second, fraction = (found[f"{n}1"] or found[f"{n}2"] for n in "hmsf")
    if int(hour) > LAST_HOUR or int(minute or 0) > LAST_MINUTE or int(second or 0) > LAST_SECOND:
        raise UnclearKey(message("the day has no such time"))
    hour = hour.zfill(2)
    if fraction:
        exact = f"{hour}{minute}{second}.{fraction}"
        return exact, exact
    first = f"{hour}{minute or '00'}{second or '00'}"
    return first, f"{hour}{minute or LAST_MINUTE}{second or LAST_MINUTE}.999999"


# --- moments -----------------------------------------------------------------------------

_OFFSET: Final = r"(?:[+-]\d{4})?"
_MOMENT: Final = rf"\d{{4}}(?:\d\d){{0,5}}(?:\.\d{{1,6}})?{_OFFSET}"
_MOMENTS: Final = re.compile(rf"{_MOMENT}|{_MOMENT}-(?:{_MOMENT})?|-{_MOMENT}", re.ASCII)
_DAY_AND_TIME: Final = re.compile(r"(?P<day>\S+?)(?:T|\s+)(?P<time>\d\d?:[\d:.]+)", re.ASCII)


def _date_times(text: str) -> str:
    if _MOMENTS.fullmatch(text):
        return text
    apart = _DAY_AND_TIME.fullmatch(text)
    if apart is not None and _DAY.fullmatch(apart["day"]) and _TIME.fullmatch(apart["time"]):
        first_day, last_day = _days(apart["day"])
        if first_day == last_day:
            first, last = _moments(apart["time"])
            return _span(f"{first_day}{first}", f"{last_day}{last}")
    raise UnclearKey(
        message(
            "date and time are written as 2026-11-01 10:30 or 20261101103000, a "
            "range as 20261101-20261130"
        )
    )


# --- names, codes, UIDs, numbers ---------------------------------------------------------

_COMMA: Final = re.compile(r"\s*[,\uff0c]\s*")
_UID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)
_AGE: Final = re.compile(r"(\d{1,3})\s*([DWMY])", re.ASCII)
_NUMBERS: Final = {
    "IS": re.compile(r"[+-]?\d{1,11}", re.ASCII),
    "DS": re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[Ee][+-]?\d+)?", re.ASCII),
}


def _name(text: str) -> str:
    if any(mark in text for mark in "^="):
        # Empty components at the end mean nothing in the standard, but not to every node.
        return f"{text}*" if text.endswith("^") else text
    parts = _COMMA.split(text)
    if len(parts) == 1:
        return _one_part(text)
    family, *others = parts
    if len(others) > 1 or not family:
        raise UnclearKey(
            message("a name has one comma, as in Smith, John, or is written as Smith^John")
        )
    given = "*".join(others[0].split())
    return f"{family}^{given}".rstrip("*") + "*"


def _one_part(text: str) -> str:
    if "*" in text or "?" in text:
        return text
    if len(text.split()) > 1:
        raise UnclearKey(
            message(
                "write Smith, John or Smith^John; a family name of several words with ^ "
                "after it, as van Dyke^*"
            )
        )
    return f"{text}*"


def _code(text: str) -> str:
    if not text.isascii():
        raise UnclearKey(
            message("a code holds capital letters from A to Z, digits and underscores")
        )
    code = text.upper()
    if "," in code or ";" in code:
        raise UnclearKey(message("several codes are divided by a backslash, as in CT\\MR"))
    return code


def _uid(text: str) -> str:
    if "*" in text or "?" in text:
        raise UnclearKey(message("a UID is compared as a whole: no wildcard"))
    if not _UID.fullmatch(text) or len(text) > MAX_UID_LENGTH:
        raise UnclearKey(
            message("a UID is digits and dots, at most 64; several are divided by a backslash")
        )
    return text


def _age(text: str) -> str:
    found = _AGE.fullmatch(text.upper())
    if found is None:
        raise UnclearKey(message("an age is written as 045Y, with D, W, M or Y for its unit"))
    return f"{int(found[1]):03}{found[2]}"


def _number(vr: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if not _NUMBERS[vr].fullmatch(text):
            raise UnclearKey(
                message("this attribute is a number: no wildcard, no range, a point as in 1.5")
            )
        return text

    return convert


_RANGES: Final[Mapping[str, Callable[[str], str]]] = {
    "DA": _dates,
    "TM": _times,
    "DT": _date_times,
}
_VALUES: Final[Mapping[str, Callable[[str], str]]] = {
    "PN": _name,
    "CS": _code,
    "UI": _uid,
    "AS": _age,
    "IS": _number("IS"),
    "DS": _number("DS"),
}
_WITHOUT_WILDCARDS: Final = frozenset(_RANGES) | frozenset(_VALUES) - {"PN", "CS"} | BINARY_VRS
_UNDIVIDED: Final = frozenset({"", "UI", *WHOLE_TEXT_VRS, *_RANGES})
