"""The rules of routing in plain Python, written from docs/routing.md and not from the code.

It knows the elements of `ELEMENTS` only. Values are given as they are in data sets, with padding;
expressions are only those that mean the same to `re`.
"""

import re
from datetime import UTC, datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

ELEMENTS = {
    "Modality": "CS",
    "SeriesDescription": "LO",
    "ImageType": "CS",
    "PatientName": "PN",
    "StudyComments": "LT",
    "SeriesNumber": "IS",
    "SliceThickness": "DS",
    "Rows": "US",
    "StudyDate": "DA",
    "StudyTime": "TM",
    "AcquisitionDateTime": "DT",
    "PatientAge": "AS",
    "RequestAttributesSequence": "SQ",
}
NUMBERS = ("instances", "new_instances", "size_bytes")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
UNITS = {"D": 1, "W": 7, "M": Fraction(36525, 1200), "Y": Fraction(36525, 100)}


def decide(document, header, beside, at, trigger, unreadable):
    """Return the destinations and what came of each rule."""
    destinations, outcomes, stopped = [], [], False
    for rule in document["rules"]:
        if stopped:
            outcomes.append("not_reached")
        elif not rule.get("active", True):
            outcomes.append("inactive")
        elif rule.get("trigger", "series_complete") != trigger:
            outcomes.append("other_trigger")
        else:
            when = rule.get("when")
            found = True if when is None else holds(when, header, beside, at, unreadable)
            outcomes.append({True: "applies", False: "does_not_apply", None: "undecided"}[found])
            if found:
                stopped = rule.get("stop", False)
                destinations += [d for d in rule["destinations"] if d not in destinations]
    return tuple(destinations), tuple(outcomes)


def holds(when, header, beside, at, unreadable):
    """Return whether a condition holds; None if a header that cannot be read decides."""
    if "not" in when:
        found = holds(when["not"], header, beside, at, unreadable)
        return None if found is None else not found
    for word, decisive in (("all", False), ("any", True)):
        if word in when:
            found = [holds(one, header, beside, at, unreadable) for one in when[word]]
            if decisive in found:
                return decisive
            return None if None in found else not decisive
    if "time_of_day" in when:
        return within(when["time_of_day"], at)
    return compared(when, header, beside, unreadable)


def within(window, at):
    local = at.astimezone(ZoneInfo(window["zone"]))
    minutes = {word: int(window[word][:2]) * 60 + int(window[word][3:]) for word in ("from", "to")}
    days = window.get("days") or DAYS
    length = (minutes["to"] - minutes["from"]) % 1440
    now = local.hour * 60 + local.minute
    day = local.weekday() if now >= minutes["from"] else local.weekday() - 1
    return (now - minutes["from"]) % 1440 < length and DAYS[day] in days


def compared(when, header, beside, unreadable):
    subject, operator, wanted = when["subject"], when["operator"], when.get("value")
    if subject == "unreadable":
        return unreadable is wanted
    vr = ELEMENTS.get(subject, "")
    texts = parts(header.get(subject, ""), vr) if vr else beside.get(subject, [])
    hidden = (bool(vr) or subject == "called_ae") and unreadable
    if operator == "is_empty":
        empty = wanted is not False
        return (not empty) if texts else None if hidden else empty
    negative = operator in ("not_equals", "does_not_contain")
    wants_all = when["of"] == "all" if when.get("of") else negative
    found = {fulfils(text, vr, subject, operator, wanted, when) for text in texts}
    if (False in found) if wants_all else (True in found):
        return not wants_all
    if hidden:
        return None
    return wants_all if texts else negative


def parts(text, vr):
    pieces = [text] if vr == "LT" else text.split("\\")[:256]
    return [piece.strip(" \0") for piece in pieces if piece.strip(" \0")]


def fulfils(text, vr, subject, operator, wanted, when):
    if vr in ("", "CS", "LO", "PN", "LT") and subject not in NUMBERS:
        return text_fulfils(text, operator, wanted, exact=when.get("case_sensitive", False))
    value = ordered(text, vr)
    if operator == "is_one_of":
        return value is not None and value in [ordered(one, vr) for one in wanted]
    other = ordered(wanted, vr)
    if operator == "equals":
        return value == other
    if operator == "not_equals":
        return value != other
    if value is None:
        return False
    return {
        "<": value < other,
        "<=": value <= other,
        ">": value > other,
        ">=": value >= other,
    }[operator]


def text_fulfils(text, operator, wanted, *, exact):
    if operator == "matches":
        return re.search(wanted, text, 0 if exact else re.IGNORECASE | re.ASCII) is not None
    if not exact:
        text = text.casefold()
        wanted = [w.casefold() for w in wanted] if operator == "is_one_of" else wanted.casefold()
    return {
        "equals": lambda: text == wanted,
        "not_equals": lambda: text != wanted,
        "contains": lambda: wanted in text,
        "does_not_contain": lambda: wanted not in text,
        "starts_with": lambda: text[: len(wanted)] == wanted,
        "is_one_of": lambda: text in wanted,
    }[operator]()


def ordered(value, vr):
    """Return something that is compared as the VR is; None if the value is none of it."""
    if not isinstance(value, str):
        return Fraction(value)
    if len(value) > 64 or not value.isascii():
        return None
    try:
        return {"DA": _day, "TM": _clock, "DT": _moment, "AS": _age}.get(vr, _number)(value)
    except (ValueError, IndexError, KeyError):
        return None


def _number(text):
    if set(text) - set("0123456789+-.eE"):
        raise ValueError(text)
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(text)
    whole = "." not in text and "e" not in text.lower()
    return Fraction(int(text)) if whole else Fraction(number)


def _day(text):
    for mark in (".", "-", "/"):
        if text[4:5] == text[7:8] == mark and len(text) == 10:
            text = text.replace(mark, "")
    if len(text) != 8 or not text.isdigit():
        raise ValueError(text)
    return datetime(int(text[:4]), int(text[4:6]), int(text[6:]), tzinfo=UTC)


def _clock(text):
    whole, dot, fraction = text.partition(".")
    whole = whole.replace(":", "") if whole[2:3] == ":" else whole
    if not whole.isdigit() or len(whole) not in (2, 4, 6):
        raise ValueError(text)
    if dot and (len(whole) != 6 or not fraction.isdigit() or len(fraction) > 9):
        raise ValueError(text)
    hours, minutes, seconds = int(whole[:2]), int(whole[2:4] or 0), int(whole[4:] or 0)
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError(text)
    return (hours, minutes, seconds, fraction.ljust(6, "0")[:6])


def _moment(text):
    if text[-5:-4] in ("+", "-") and text[-4:].isdigit():
        text = text[:-5]
    whole, dot, fraction = text.partition(".")
    if not whole.isdigit() or len(whole) not in (4, 6, 8, 10, 12, 14):
        raise ValueError(text)
    if dot and (not fraction.isdigit() or len(fraction) > 6):
        raise ValueError(text)
    full = whole + "00000101000000"[len(whole) :]
    at = datetime.strptime(full, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    if full[12:] > "59":
        raise ValueError(text)
    return (at, fraction.ljust(6, "0"))


def _age(text):
    if not text[:-1].isdigit() or len(text) > 4:
        raise ValueError(text)
    return int(text[:-1]) * UNITS[text[-1]]
