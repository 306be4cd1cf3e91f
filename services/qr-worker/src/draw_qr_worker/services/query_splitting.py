"""Splits a query that a node does not answer completely into narrower ones.

A study query is split by date, a single day by time, a single second by modality; a series query by
modality. The matches that did arrive show where to split, so that both halves are smaller. If a
query cannot be split further, or the node ignores the narrower key, the answer stays truncated. An
object without the attribute by which a query is split matches no range, so a truncated answer with
such an object can never be completed for certain.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Final

from draw_qr_worker.models import Match

DATE: Final = re.compile(r"[0-9]{8}")
TIME: Final = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9])([0-5][0-9])?(\.[0-9]{1,6})?")
LAST_SECOND: Final = 24 * 3600 - 1
LAST_DAY: Final = date.max.toordinal()
MODALITY_KEYS: Final[Mapping[str, str]] = {"STUDY": "ModalitiesInStudy", "SERIES": "Modality"}
MODALITIES: Final = (
    "AR", "ASMT", "AU", "BDUS", "BI", "BMD", "CR", "CT", "CTPROTOCOL", "DG", "DMS", "DOC", "DX",
    "ECG", "EEG", "EMG", "EOG", "EPS", "ES", "FID", "GM", "HC", "HD", "IO", "IOL", "IVOCT",
    "IVUS", "KER", "KO", "LEN", "LS", "M3D", "MG", "MR", "NM", "OAM", "OCT", "OP", "OPM", "OPT",
    "OPTBSV", "OPTENF", "OPV", "OSS", "OT", "PLAN", "POS", "PR", "PT", "PX", "REG", "RESP", "RF",
    "RG", "RTDOSE", "RTIMAGE", "RTINTENT", "RTPLAN", "RTRAD", "RTRECORD", "RTSEGANN", "RTSTRUCT",
    "RWV", "SEG", "SM", "SMR", "SR", "SRF", "STAIN", "TEXTUREMAP", "TG", "US", "VA", "XA", "XC",
)  # fmt: skip
"""Defined terms of Modality (PS3.3 C.7.3.1.1.1)."""


@dataclass(frozen=True, slots=True)
class KeySpan:
    """From and to, both inclusive, as day ordinals or seconds of the day."""

    first: int
    last: int

    def __contains__(self, value: int) -> bool:
        return self.first <= value <= self.last

    @property
    def single(self) -> bool:
        """Whether the span cannot be split."""
        return self.first >= self.last

    def cut(self, values: Sequence[int]) -> tuple["KeySpan", "KeySpan"]:
        """Return two smaller spans, split at the median of the values inside this one."""
        middle = sorted(values)[(len(values) - 1) // 2]
        if middle >= self.last:
            middle = self.last - 1
        middle = max(middle, self.first)
        return KeySpan(self.first, middle), KeySpan(middle + 1, self.last)


WHOLE_DAY: Final = KeySpan(0, LAST_SECOND)
ANY_DAY: Final = KeySpan(1, LAST_DAY)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a query; None is a dimension that may not be split."""

    level: str
    keys: Mapping[str, Any]
    days: KeySpan | None
    seconds: KeySpan | None
    modality: str = ""

    def narrowed(self) -> dict[str, Any]:
        """Return the query's keys, limited to this part."""
        keys = dict(self.keys)
        if self.days not in {None, ANY_DAY} and self.days is not None:
            keys["StudyDate"] = _dates(self.days)
        if self.seconds not in {None, WHOLE_DAY} and self.seconds is not None:
            keys["StudyTime"] = _times(self.seconds)
        if self.modality:
            keys[MODALITY_KEYS[self.level]] = self.modality
        return keys

    def holds(self, match: Match) -> bool:
        """Return whether a match belongs to this part, as far as it tells."""
        day, second = day_of(match.get("StudyDate")), second_of(match.get("StudyTime"))
        return (self.days is None or day is None or day in self.days) and (
            self.seconds in {None, WHOLE_DAY} or second is None or second in self.seconds
        )


def whole_part(level: str, keys: Mapping[str, Any]) -> Part:
    """Return the query as a single part."""
    if level != "STUDY":
        return Part(level, keys, None, None)
    days = _span_of(keys.get("StudyDate", ""), ANY_DAY, day_of)
    seconds = _span_of(keys.get("StudyTime", ""), WHOLE_DAY, second_of)
    return Part(level, keys, days, seconds)


def split_part(part: Part, matches: Sequence[Match]) -> tuple[list[Part], bool]:
    """Return narrower parts, or none; and whether they surely cover everything."""
    if not all(part.holds(match) for match in matches):
        # The node ignores the key: a narrower query would return the same.
        return [], False
    if part.days is not None and not part.days.single:
        days = _known_values(matches, "StudyDate", day_of)
        if days:
            both = [replace(part, days=span) for span in part.days.cut(days)]
            return both, len(days) == len(matches)
    elif part.days is not None and part.seconds is not None and not part.seconds.single:
        seconds = _known_values(matches, "StudyTime", second_of)
        if seconds:
            both = [replace(part, seconds=span) for span in part.seconds.cut(seconds)]
            return both, len(seconds) == len(matches)
    key = MODALITY_KEYS.get(part.level, "")
    if key and not part.modality and not part.keys.get(key):
        return [replace(part, modality=modality) for modality in MODALITIES], True
    return [], False


def split_around(part: Part, match: Match) -> list[Part]:
    """Return the days of a part before and after that of its only match."""
    day = day_of(match.get("StudyDate"))
    if part.days is None or day is None or day not in part.days:
        return []
    sides = (KeySpan(part.days.first, day - 1), KeySpan(day + 1, part.days.last))
    return [replace(part, days=side) for side in sides if side.first <= side.last]


def day_of(value: object) -> int | None:
    """Return the ordinal of a DA value; None if it is invalid."""
    text = str(value or "").strip()
    if not DATE.fullmatch(text):
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:])).toordinal()
    except ValueError:
        return None


def second_of(value: object) -> int | None:
    """Return the second of the day of a TM value; None if it is invalid."""
    found = TIME.fullmatch(str(value or "").strip())
    if found is None:
        return None
    hours, minutes, seconds = (int(group or 0) for group in found.groups()[:3])
    return hours * 3600 + minutes * 60 + seconds


def _known_values(
    matches: Sequence[Match], keyword: str, read: Callable[[object], int | None]
) -> list[int]:
    found = (read(match.get(keyword)) for match in matches)
    return [value for value in found if value is not None]


def _span_of(
    key: object, unlimited: KeySpan, read: Callable[[object], int | None]
) -> KeySpan | None:
    """Return the span of a key; None if it cannot be split."""
    if not key:
        return unlimited
    if not isinstance(key, str):
        return None
    first, dash, last = key.partition("-")
    begin = read(first) if first else unlimited.first
    end = read(last) if last else unlimited.last if dash else begin
    return None if begin is None or end is None or begin > end else KeySpan(begin, end)


def _dates(span: KeySpan) -> str:
    first = "" if span.first == ANY_DAY.first else f"{date.fromordinal(span.first):%Y%m%d}"
    last = "" if span.last == ANY_DAY.last else f"{date.fromordinal(span.last):%Y%m%d}"
    return first if span.single else f"{first}-{last}"


def _times(span: KeySpan) -> str:
    # The span includes fractions of its last second.
    return f"{_time(span.first)}-{_time(span.last)}.999999"


def _time(second: int) -> str:
    moment = timedelta(seconds=second)
    return f"{moment.seconds // 3600:02d}{moment.seconds // 60 % 60:02d}{moment.seconds % 60:02d}"
