"""Attribute matching of PS3.4 C.2.2.2 in plain Python, written for being read, not for speed.

It knows nothing of `draw_shared.dicom.query.matching`, SQL or the index: a key and an entity are
texts as in a data set. The rules are those that docs/conformance.md promises.
"""

import re
import unicodedata

NUMERIC = {"IS", "DS"}
EXACT = {"UI", "AS"}


def matches(vr, key, value):
    """Return whether `value`, as stored (several values joined by backslashes), fits `key`."""
    key = key.strip(" ")
    if universal(key):
        return True
    if vr in {"DA", "TM"}:
        return is_range(vr, key) and in_range(vr, key, value)
    if vr in {"LT", "ST", "UT"}:
        return bool(value) and text_fits(key, value)
    wanted = [part.strip(" ") for part in key.split("\\")]
    wanted = [part for part in wanted if part]
    if not wanted or any(asks_for_nothing(vr, part) for part in wanted):
        return True
    return any(one_fits(vr, w, v) for w in wanted for v in (value or "").split("\\") if v)


def universal(key):
    return set(key) <= {"*"}


def asks_for_nothing(vr, key):
    if vr != "PN":
        return universal(key)
    return all(group_is_universal(comparable(group)) for group in key.split("=")[:3])


def one_fits(vr, key, value):
    if vr == "PN":
        return name_fits(key, value)
    if vr in NUMERIC:
        return number(value) is not None and number(key) == number(value)
    if vr in EXACT:
        return key == value
    return text_fits(key, value)


def text_fits(key, value):
    return glob(key, value)


def glob(pattern, text):
    """Return whether `*` (any text) and `?` (any character) make the pattern the text."""
    reached = {0}
    for wanted in pattern:
        if wanted == "*":
            reached = set(range(min(reached), len(text) + 1)) if reached else set()
        else:
            reached = {n + 1 for n in reached if n < len(text) and wanted in {"?", text[n]}}
    return len(text) in reached


# --- person names ----------------------------------------------------------------------


def comparable(text):
    """Return text without accents and case."""
    decomposed = unicodedata.normalize("NFKD", text)
    bare = "".join(c for c in decomposed if unicodedata.combining(c) == 0)
    return unicodedata.normalize("NFKC", bare.casefold()).strip().rstrip("^ ")


def name_fits(key, value):
    wanted = [comparable(group) for group in key.split("=")[:3]]
    groups = [comparable(group) for group in value.split("=")[:3]]
    asked = {n: group for n, group in enumerate(wanted) if not group_is_universal(group)}
    while groups and not groups[-1]:
        groups.pop()
    if set(asked) == {0}:
        return any(group_fits(asked[0], group) for group in groups)
    return all(n < len(groups) and group_fits(group, groups[n]) for n, group in asked.items())


def group_is_universal(group):
    while True:
        if universal(group):
            return True
        if not group.endswith("^*"):
            return False
        group = group[:-2].rstrip("^ ")


def group_fits(key, group):
    """Return whether a group fits; a key that ends in empty components finds the name without."""
    while True:
        if glob(key, group):
            return True
        if not key.endswith("^*"):
            return False
        key = key[:-2].rstrip("^ ")


# --- numbers, dates, times -------------------------------------------------------------


def number(text):
    form = r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?"
    return float(text) if re.fullmatch(form, text.strip()) else None


def in_range(vr, key, value):
    if vr == "DA":
        return within(*ends(key, day_first, day_last), digits_of_date(value))
    return within(*ends(key, time_first, time_last), digits_of_time(value))


def is_range(vr, key):
    """Return whether a key is one date or time, or two of which one may be left out."""
    parts = [part.strip() for part in key.split("-")]
    if len(parts) > 2 or not any(parts):
        return False
    whole = is_date if vr == "DA" else is_time
    return all(whole(part) for part in parts if part)


def is_date(text):
    found = re.fullmatch(r"([0-9]{4})([.]?)([0-9]{2})\2([0-9]{2})", text)
    return (
        bool(found) and found[1] != "0000" and "01" <= found[3] <= "12" and "01" <= found[4] <= "31"
    )


def is_time(text):
    if not re.fullmatch(r"[0-9]{2}(:?[0-9]{2}(:?[0-9]{2}([.][0-9]{1,6})?)?)?", text):
        return False
    digits = text.replace(":", "").ljust(6, "0")
    return digits[:2] < "24" and digits[2:4] < "60" and digits[4:6] <= "60"


def within(low, high, value):
    return value is not None and (not low or low <= value) and (not high or value <= high)


def ends(key, first, last):
    low, dash, high = key.partition("-")
    if not dash:
        return first(key), last(key)
    return first(low.strip()) if low.strip() else "", last(high.strip()) if high.strip() else ""


def day_first(text):
    return text.replace(".", "")


def day_last(text):
    return text.replace(".", "")


def digits_of_date(value):
    digits = (value or "").replace(".", "")
    return digits if re.fullmatch(r"[0-9]{8}", digits) else None


def time_digits(text):
    """Return the digits of a time; a leap second is held as the one before."""
    digits = text.replace(":", "").replace(".", "")
    return digits[:4] + "59" + digits[6:] if digits[4:6] == "60" else digits


def time_first(text):
    return time_digits(text).ljust(12, "0")


def time_last(text):
    digits = time_digits(text)
    return digits + "235959999999"[len(digits) :]


def digits_of_time(value):
    if not re.fullmatch(r"[0-9]{2}(:?[0-9]{2}(:?[0-9]{2}([.][0-9]{1,6})?)?)?", value or ""):
        return None
    return value.replace(":", "").replace(".", "").ljust(12, "0")


def moment_matches(day_key, time_key, day, time):
    """Return whether date and time, taken as one, lie between the ends of both keys."""
    first_day, last_day = ends(day_key, day_first, day_last)
    first_time, last_time = ends(time_key, time_first, time_last)
    day, time = digits_of_date(day), digits_of_time(time)
    if day is None or time is None:
        return False
    low = first_day + (first_time or "0" * 12) if first_day else ""
    high = last_day + (last_time or "9" * 12) if last_day else ""
    return within(low, high, day + time)
