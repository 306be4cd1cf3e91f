"""Formats values for the page: sizes, durations, person names, UIDs in words."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any, Final

from babel.dates import format_date
from babel.numbers import format_decimal
from markupsafe import Markup, escape

from draw_api.handlers.web.languages import (
    N_,
    _,
    gettext,
    said,
    spoken_language,
    spoken_locale,
)
from draw_api.models.webhooks import MAX_COUNTED
from draw_shared.contracts.moments import MOMENT
from draw_shared.dicom.encoding.dictionary import registered_uids
from draw_shared.dicom.network.statuses import describe

NIL: Final = "\N{EN DASH}"
NOTHING: Final = Markup('<span class="nil">\N{EN DASH}</span>')
KILO: Final = 1000
SIZE_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86400
UID_SHOWN: Final = 14
UID_TAIL: Final = 12
NAME_PARTS: Final = 5
EAST_ASIAN: Final = re.compile(
    "[\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff]"
)
"""Han, kana and hangul."""
UID_MARKUP: Final = Markup(
    '<span class="uid"><code title="{0}">{1}</code>'
    '<button type="button" class="copy" data-copy="{0}" aria-label="{2}" title="{3}">'
    '<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">'
    '<path d="M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z"/></svg></button></span>'
)
TENTHS_BELOW: Final = 100
DAY_FORMATS: Final = {"de": "%d.%m.%Y"}


def size(number: float | None) -> str:
    """Return bytes in readable form, in powers of 1000."""
    if number is None:
        return NIL
    value = float(number)
    for unit in SIZE_UNITS:
        if abs(value) < KILO or unit == SIZE_UNITS[-1]:
            break
        value /= KILO
    digits = 0 if unit == "B" or value >= TENTHS_BELOW else 1
    return f"{_decimal(value, digits)}\u00a0{unit}"


def _decimal(value: float, digits: int) -> str:
    return format_decimal(
        round(value, digits),
        format=f"#,##0.{'0' * digits}" if digits else "#,##0",
        locale=spoken_locale(),
    )


def count(number: float | None) -> str:
    """Return a whole number with its thousands apart, as the language writes it."""
    return NIL if number is None else _decimal(int(number), 0)


def counted(number: int) -> str:
    """Return how many deliveries a webhook has, up to the number that is counted."""
    return f"{count(MAX_COUNTED)}+" if number > MAX_COUNTED else count(number)


def duration(seconds: float | None) -> str:
    """Return a span of time in its two largest units."""
    if seconds is None:
        return NIL
    if seconds < 1:
        return f"{seconds * 1000:.0f}\u00a0ms"
    if seconds < MINUTE:
        return f"{_decimal(seconds, 1 if seconds < MINUTE / 6 else 0)}\u00a0s"
    whole = int(seconds)
    if whole >= DAY:
        return _("%(days)s\u00a0d %(hours)s\u00a0h", days=whole // DAY, hours=whole % DAY // HOUR)
    if whole >= HOUR:
        return _(
            "%(hours)s\u00a0h %(minutes)s\u00a0min",
            hours=whole // HOUR,
            minutes=whole % HOUR // MINUTE,
        )
    return f"{whole // MINUTE}\u00a0min {whole % MINUTE}\u00a0s"


def person(name: str) -> str:
    """Return a person name (PS3.5 6.2.1.2) as `Family, Given Middle`; ideographic in brackets.

    Where names are written without an alphabet, the family comes first and no comma after it. The
    phonetic group is shown only when there is no other beside the first.
    """
    groups = [_group(group) for group in name.split("=")[:3]]
    first, others = groups[0], [group for group in groups[1:] if group][:1]
    return f"{first} ({', '.join(others)})" if others and first else first or ", ".join(others)


def _group(text: str) -> str:
    parts = [part.strip() for part in text.split("^")]
    family, given = parts[0], " ".join(part for part in parts[1:NAME_PARTS] if part)
    joint = " " if EAST_ASIAN.search(text) else ", "
    return f"{family}{joint}{given}" if family and given else family or given


def moment(value: datetime | str | None) -> Markup:
    """Return a `<time>` that says UTC; the page's script shows it in the user's zone."""
    if value is None or value == "":
        return NOTHING
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}">{} {} UTC</time>').format(
        utc.strftime("%Y-%m-%dT%H:%M:%SZ"), day(utc.date()), utc.strftime("%H:%M:%S")
    )


def ago(value: datetime | str | None) -> Markup:
    """Return a `<time>` as `moment`; the page's script says how long ago, and when on hover."""
    return Markup(str(moment(value)).replace("<time ", "<time data-ago ", 1))  # noqa: S704 - our own


def day(value: date | None) -> str:
    """Return a date as the language writes it; in English as ISO 8601, which nobody mistakes."""
    if not value:
        return NIL
    return value.strftime(DAY_FORMATS.get(spoken_language(), "%Y-%m-%d"))


def month(value: date) -> str:
    """Return the short name of a month in the visitor's language."""
    return format_date(value, "LLL", locale=spoken_locale())


def dicom_day(value: object) -> str:
    """Return a date in DICOM's form (PS3.5 6.2) as `day`; any other text stays as it is."""
    text = str(value or "")
    try:
        return day(datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).date()) if text else NIL
    except ValueError:
        return text


def clock(value: time | None) -> str:
    """Return a time of day to the second."""
    return value.strftime("%H:%M:%S") if value else ""


def uid(value: str | None) -> Markup:
    """Return a UID, shortened when long, with a button that copies all of it."""
    if not value:
        return NOTHING
    short = value
    if len(value) > UID_SHOWN + UID_TAIL:
        short = f"{value[:UID_SHOWN]}…{value[-UID_TAIL:]}"
    return UID_MARKUP.format(value, short, _("Copy %(text)s", text=value), _("Copy"))


def uid_name(value: str | None) -> str:
    """Return the name of a registered UID (PS3.6), or the UID itself."""
    known = registered_uids().get(value or "")
    return (known and known.name) or value or NIL


def is_retired(uid: str) -> bool:
    """Return whether PS3.6 lists a UID as retired."""
    known = registered_uids().get(uid)
    return known is not None and bool(known.retired)


def sop_class(value: str | None) -> str:
    """Return a SOP class's name without the words that all names have."""
    return uid_name(value).removesuffix(" Storage")


def dimse_status(status: int | None) -> str:
    """Return a DIMSE status (PS3.7 annex C) by its name and number."""
    if status is None:
        return NIL
    name, _bracket, number = describe(status).rpartition(" (")
    return f"{gettext(name)} ({number}"


def words(key: str) -> str:
    """Return an identifier such as `max_pdu_bytes` as words in the visitor's language."""
    return gettext(spelled(key))


def spelled(key: str) -> str:
    """Return an identifier as English words."""
    if key in WHOLE_WORDS:
        return WHOLE_WORDS[key]
    text = " ".join(WORDS.get(part, part) for part in key.replace("-", "_").split("_"))
    return text[:1].upper() + text[1:]


def share(part: float | None, whole: float | None) -> int:
    """Return a percentage from 0 to 100; 0 when there is no whole."""
    if not part or not whole:
        return 0
    return max(0, min(100, round(100 * part / whole)))


def plain(value: Any) -> Markup:  # noqa: ANN401 - whatever a document has
    """Return a value of a document as people write it: yes and no, moments, lists with commas."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return escape(_("yes") if value else _("no"))
    if isinstance(value, Mapping):
        named = (Markup("{}: {}").format(words(str(k)), plain(one)) for k, one in value.items())
        return Markup(", ").join(named) or NOTHING
    if isinstance(value, list | tuple):
        return Markup(", ").join(plain(one) for one in value) or NOTHING
    if isinstance(value, str) and MOMENT.fullmatch(value):
        try:
            return moment(value)
        except ValueError:
            pass
    return marked(value)


def marked(text: Any) -> Markup:  # noqa: ANN401 - whatever a template has
    """Return text with control characters made visible, so that none can disturb its line."""
    shown = "".join(
        c if c.isprintable() or c in BLANKS else "\N{REPLACEMENT CHARACTER}" for c in str(text)
    )
    return escape(shown)


BLANKS: Final = "\n\t\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}"
"""What is not printable and disturbs no line; numbers stand beside their units with it."""

STATUS_NAMES: Final = (
    N_("Success"), N_("Warning"), N_("Failure"), N_("Sop class not supported"),
    N_("Processing failure"), N_("Invalid sop instance"), N_("Unrecognized operation"),
    N_("Mistyped argument"), N_("Not authorized"), N_("Out of resources"),
    N_("Unable to count matches"), N_("Unable to perform sub operations"),
    N_("Move destination unknown"), N_("Data set does not match"),
    N_("Sub operations with failures"), N_("Cannot understand"), N_("Cancelled"), N_("Pending"),
    N_("Pending without optional keys"),
)  # fmt: skip
"""The names that `dimse_status` looks for in the catalogues."""

WHOLE_WORDS: Final = {"find": "Remote query"}
"""Identifiers whose words say nothing to people: jobs that ask a remote node."""
WORDS: Final = {
    "ae": "AE",
    "aes": "AEs",
    "pdu": "PDU",
    "ip": "IP",
    "ips": "IPs",
    "tls": "TLS",
    "acse": "ACSE",
    "dimse": "DIMSE",
    "scp": "SCP",
    "gb": "GB",
    "ct": "CT",
    "mr": "MR",
    "rt": "RT",
    "rle": "RLE",
    "jpeg": "JPEG",
    "sop": "SOP",
    "uid": "UID",
    "c": "C",
    "url": "URL",
    "dicom": "DICOM",
}

FILTERS: Final = {
    "size": size,
    "month": month,
    "count": count,
    "counted": counted,
    "duration": duration,
    "person": person,
    "moment": moment,
    "ago": ago,
    "day": day,
    "dicom_day": dicom_day,
    "clock": clock,
    "uid": uid,
    "uid_name": uid_name,
    "sop_class": sop_class,
    "dimse_status": dimse_status,
    "words": words,
    "share": share,
    "marked": marked,
    "plain": plain,
    "said": said,
}
