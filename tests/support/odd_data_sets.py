"""Data sets as devices write them against PS3.5, byte by byte.

Each kind is built around the same object; what it says of itself must be found whatever
stands before or behind.
"""

import gzip
import itertools
import os
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from draw_shared.dicom.encoding.flaws import Flaw
from draw_shared.dicom.encoding.uids import (
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
)

JPEG = "1.2.840.10008.1.2.4.70"
CT = "1.2.840.10008.5.1.4.1.1.2"
LONG = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
NUMBERS = {"US": "H", "UL": "I"}
UNDEFINED = 0xFFFFFFFF
ROWS = 0x00280010
BEFORE, BEHIND = 0x0009, 0x0021
"""Private groups in front of and behind what identifies an object."""

_numbers = itertools.count(1)


class Object(NamedTuple):
    """What the object says."""

    instance: str
    study: str
    series: str
    patient: str


def new_object() -> Object:
    """Return an object that no other test has."""
    root, number = f"1.2.826.0.1.3680043.10.43.{os.getpid()}", next(_numbers)
    return Object(f"{root}.1.{number}", f"{root}.2.{number}", f"{root}.3.{number}", f"ODD{number}")


def element(tag: int, vr: str, value: bytes | str | int, syntax: str = EXPLICIT_LITTLE) -> bytes:
    """Return one element; numbers in the byte order of the syntax."""
    order = ">" if syntax == EXPLICIT_BIG else "<"
    if isinstance(value, int):
        value = struct.pack(order + NUMBERS[vr], value)
    elif isinstance(value, str):
        value = value.encode()
        value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    return header(tag, vr, len(value), syntax) + value


def header(tag: int, vr: str, length: int, syntax: str = EXPLICIT_LITTLE) -> bytes:
    """Return the header of an element."""
    order = ">" if syntax == EXPLICIT_BIG else "<"
    pair = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT_LITTLE:
        return pair + struct.pack("<I", length)
    if vr in LONG:
        return pair + vr.encode() + struct.pack(f"{order}HI", 0, length)
    return pair + vr.encode() + struct.pack(f"{order}H", length)


def mark(element_number: int, length: int = 0, syntax: str = EXPLICIT_LITTLE) -> bytes:
    """Return an item's tag (0xE000) or a delimiter (0xE00D, 0xE0DD)."""
    order = ">" if syntax == EXPLICIT_BIG else "<"
    return struct.pack(f"{order}HHI", 0xFFFE, element_number, length)


def elements(made: Object, syntax: str = EXPLICIT_LITTLE) -> dict[int, bytes]:
    """Return the elements of an object by tag."""
    values = {
        0x00080005: ("CS", "ISO_IR 192"),
        0x00080016: ("UI", CT),
        0x00080018: ("UI", made.instance),
        0x00080020: ("DA", "20260102"),
        0x00080060: ("CS", "CT"),
        0x00081030: ("LO", "Odd study"),
        0x00100010: ("PN", "Odd^Data"),
        0x00100020: ("LO", made.patient),
        0x0020000D: ("UI", made.study),
        0x0020000E: ("UI", made.series),
        0x00200013: ("IS", "7"),
        ROWS: ("US", 2),
        0x00280011: ("US", 3),
        0x7FE00010: ("OW", bytes(12)),
    }
    return {tag: element(tag, vr, value, syntax) for tag, (vr, value) in values.items()}


def data_set(made: Object, *more: tuple[int, bytes], syntax: str = EXPLICIT_LITTLE) -> bytes:
    """Return the object with further elements, each put where its tag belongs."""
    held = [*elements(made, syntax).items(), *more]
    return b"".join(raw for _, raw in sorted(held, key=lambda one: one[0]))


def private(group: int, *raw: bytes) -> list[tuple[int, bytes]]:
    """Return a private block with these elements."""
    creator = element(group << 16 | 0x10, "LO", "ODD DEVICE")
    return [(group << 16 | 0x10, creator), *((group << 16 | 0x1001, one) for one in raw)]


def sequence(
    tag: int,
    *items: bytes,
    vr: str = "SQ",
    syntax: str = EXPLICIT_LITTLE,
    item_ends: bool = True,
    end: bool = True,
) -> bytes:
    """Return a sequence of undefined length, as its items are."""
    body = b"".join(
        mark(0xE000, UNDEFINED, syntax) + item + (mark(0xE00D, 0, syntax) if item_ends else b"")
        for item in items
    )
    return header(tag, vr, UNDEFINED, syntax) + body + (mark(0xE0DD, 0, syntax) if end else b"")


FRAGMENTS = mark(0xE000) + mark(0xE000, 6) + b"\xff\xd8ab\xff\xd9" + mark(0xE0DD)
REFERENCE = element(0x00081150, "UI", CT) + element(0x00081155, "UI", "1.2.3.99")
ICON = element(ROWS, "US", 64) + header(0x7FE00010, "OB", UNDEFINED) + FRAGMENTS


class Odd(NamedTuple):
    """One kind: what it is, how it is made, under which syntax, and what is noted of it."""

    title: str
    make: Callable[[Object], bytes]
    flaw: Flaw | None
    syntax: str = EXPLICIT_LITTLE
    even: Callable[[Object], bytes] = data_set
    """The same values as PS3.5 wants them, in explicit little endian."""
    untranscodable: str = ""
    """Why it cannot be had in another transfer syntax; empty when it can."""


def _with(*more: tuple[int, bytes]) -> Callable[[Object], bytes]:
    return lambda made: data_set(made, *more)


ENCAPSULATED = "encapsulated pixel data in a transfer syntax without"
"""Which codec they have cannot be known then."""


def _unknown_vrs() -> list[Odd]:
    found = []
    for group, place in ((BEFORE, "before"), (BEHIND, "behind")):
        tag = struct.pack("<HH", group, 0x1001)
        even = _with(*private(group, element(group << 16 | 0x1001, "UN", b"abcdef")))
        for vr in (b"??", b"  ", b"\0\0", b"OX", b"UK", b"--"):
            forms = {
                "16-bit": tag + vr + struct.pack("<H", 6) + b"abcdef",
                "32-bit": tag + vr + struct.pack("<HI", 0, 6) + b"abcdef",
            }
            found += [
                Odd(
                    f"VR {vr!r} {form} {place}",
                    _with(*private(group, raw)),
                    Flaw.UNKNOWN_VR,
                    even=even,
                )
                for form, raw in forms.items()
            ]
        bare = tag + struct.pack("<I", 6) + b"abcdef"
        found.append(Odd(f"no VR {place}", _with(*private(group, bare)), Flaw.FORM, even=even))
    return found


def _nested_bytes() -> list[Odd]:
    found = []
    for group, place in ((BEFORE, "before"), (BEHIND, "behind")):
        tag = group << 16 | 0x1001
        implicit = element(0x00081150, "UI", CT, IMPLICIT_LITTLE)
        named = element(0x00081150, "UI", CT)
        text = element(tag, "LO", "x")
        number = header(tag, "UV", 8) + bytes(range(8))
        kinds = {
            "OB in fragments": (header(tag, "OB", UNDEFINED) + FRAGMENTS, Flaw.NO_SEQUENCE, None),
            "OW in fragments": (header(tag, "OW", UNDEFINED) + FRAGMENTS, Flaw.NO_SEQUENCE, None),
            "UN in fragments": (
                header(tag, "UN", UNDEFINED) + FRAGMENTS, Flaw.NO_SEQUENCE,
                header(tag, "OB", UNDEFINED) + FRAGMENTS,
            ),
            "UN with implicit items": (
                sequence(tag, implicit, vr="UN"), None, sequence(tag, named)
            ),
            "UN with explicit items": (
                sequence(tag, REFERENCE, vr="UN"), Flaw.FORM, sequence(tag, REFERENCE)
            ),
            "implicit items": (sequence(tag, implicit), Flaw.FORM, sequence(tag, named)),
            "no item delimiters": (
                sequence(tag, REFERENCE, REFERENCE, item_ends=False), Flaw.ITEM_END_MISSING,
                sequence(tag, REFERENCE, REFERENCE),
            ),
            "no sequence delimiter": (
                sequence(tag, REFERENCE, end=False), Flaw.SEQUENCE_END_MISSING,
                sequence(tag, REFERENCE),
            ),
            "stray sequence delimiter": (text + mark(0xE0DD), Flaw.STRAY_DELIMITER, text),
            "stray item delimiter": (text + mark(0xE00D), Flaw.STRAY_DELIMITER, text),
            "stray item": (
                element(tag, "SQ", b"") + mark(0xE000, len(REFERENCE)) + REFERENCE,
                Flaw.STRAY_DELIMITER, sequence(tag, REFERENCE),
            ),
            "short UV": (
                header(tag, "LO", 8).replace(b"LO", b"UV") + bytes(range(8)), Flaw.FORM, number
            ),
        }  # fmt: skip
        found += [
            Odd(
                f"{title} {place}",
                _with(*private(group, raw)),
                flaw,
                even=_with(*private(group, even or raw)),
            )
            for title, (raw, flaw, even) in kinds.items()
        ]
        found.append(
            Odd(
                f"icon in fragments {place}",
                _with(*private(group, sequence(tag, ICON))),
                None,
                untranscodable=ENCAPSULATED,
            )
        )
    return found


OPEN_FRAGMENTS = FRAGMENTS[: -len(mark(0xE0DD))]
REFERENCED_SERIES = element(0x0020000E, "UI", "1.2.3.98")


def _inner(
    *items: bytes, doubled: bool = False, end: bool = True, syntax: str = EXPLICIT_LITTLE
) -> bytes:
    """Return a sequence as it lies in items of others; each of its items may end twice."""
    more = mark(0xE00D, 0, syntax) * doubled
    held = [item + more for item in items]
    return sequence(0x00081199, *held, syntax=syntax, end=end)


def _thrice(*, innermost: bool = True, middle: bool = True) -> bytes:
    """Return an item that holds two sequences, one in the other, with or without delimiters."""
    return _inner(sequence(0x0040A170, REFERENCE, end=innermost), end=middle)


def _bounded(item: bytes) -> bytes:
    """Return a sequence of two items that say how long they are."""
    held = mark(0xE000, len(item)) + item
    return header(0x00081115, "SQ", UNDEFINED) + held + held + mark(0xE0DD)


def _item_ends() -> list[Odd]:
    """Return kinds whose item ends stand where none is expected."""
    missing, doubled = Flaw.SEQUENCE_END_MISSING, Flaw.STRAY_DELIMITER
    block = element(0x00090010, "LO", "ODD DEVICE") + header(0x00091001, "OB", UNDEFINED)
    even, twice = _inner(REFERENCE), _inner(REFERENCE, doubled=True)
    unended = _inner(REFERENCE, end=False)
    comments = element(0x00204000, "LT", "x" * 3000)
    kinds: dict[str, tuple[list[bytes], Flaw, list[bytes]]] = {
        "inner sequence without delimiter": ([unended], missing, [even]),
        "inner sequences without delimiter": ([unended, unended], missing, [even, even]),
        "empty inner sequence without delimiter": ([_inner(end=False)], missing, [_inner()]),
        "innermost sequence without delimiter": ([_thrice(innermost=False)], missing, [_thrice()]),
        "middle sequence without delimiter": ([_thrice(middle=False)], missing, [_thrice()]),
        "no inner sequence with delimiter": (
            [_thrice(innermost=False, middle=False)], missing, [_thrice()]
        ),
        "fragments without delimiter": ([block + OPEN_FRAGMENTS], missing, [block + FRAGMENTS]),
        "inner items that end twice": ([twice], doubled, [even]),
        "inner items that end twice and more behind": (
            [twice + REFERENCED_SERIES], doubled, [even + REFERENCED_SERIES]
        ),
        "inner items that end twice and much behind": (
            [twice + REFERENCED_SERIES + comments], doubled, [even + REFERENCED_SERIES + comments]
        ),
        "several inner items that end twice": (
            [_inner(REFERENCE, REFERENCE, doubled=True)], doubled, [_inner(REFERENCE, REFERENCE)]
        ),
        "inner and outer items that end twice": ([twice + mark(0xE00D)], doubled, [even]),
    }  # fmt: skip
    found = []
    for tag in (0x00081115, 0x00400275):
        for title, (items, flaw, evened) in kinds.items():
            found.append(
                Odd(
                    f"{title} in {tag:08X}",
                    _with((tag, sequence(tag, *items))),
                    flaw,
                    even=_with((tag, sequence(tag, *evened))),
                )
            )
        found.append(
            Odd(
                f"neither inner nor outer sequence with delimiter in {tag:08X}",
                _with((tag, sequence(tag, unended, end=False))),
                missing,
                even=_with((tag, sequence(tag, even))),
            )
        )
    for syntax in (IMPLICIT_LITTLE, EXPLICIT_BIG):
        reference = element(0x00081150, "UI", CT, syntax)
        inner = _inner(reference, end=False, syntax=syntax)
        found.append(
            Odd(
                f"inner sequence without delimiter in {syntax}",
                lambda made, inner=inner, syntax=syntax: data_set(
                    made,
                    (0x00081115, sequence(0x00081115, inner, syntax=syntax)),
                    syntax=syntax,
                ),
                missing,
                syntax,
                _with((0x00081115, sequence(0x00081115, _inner(element(0x00081150, "UI", CT))))),
            )
        )
    lower = element(0x00080050, "SH", "ACC1")
    return [
        *found,
        Odd(
            "sequence without delimiter before a lower tag",
            _with((0x00081115, sequence(0x00081115, REFERENCE, end=False) + lower)),
            missing,
            even=_with((0x00081115, sequence(0x00081115, REFERENCE) + lower)),
        ),
        Odd(
            "fragments without delimiter before an element",
            _with(
                *private(BEFORE, header(BEFORE << 16 | 0x1001, "OB", UNDEFINED) + OPEN_FRAGMENTS)
            ),
            missing,
            even=_with(
                *private(BEFORE, header(BEFORE << 16 | 0x1001, "OB", UNDEFINED) + FRAGMENTS)
            ),
        ),
        Odd(
            "icon in fragments without delimiter",
            _with((0x00081115, sequence(0x00081115, ICON[: -len(mark(0xE0DD))]))),
            missing,
            untranscodable=ENCAPSULATED,
        ),
    ]


def _out_of_order(tag: int, before: int) -> Callable[[Object], bytes]:
    def make(made: Object) -> bytes:
        held = elements(made)
        moved = held.pop(tag)
        return b"".join(moved + raw if at == before else raw for at, raw in held.items())

    return make


def _at_the_end(*tags: int, first: int = 0x00080005) -> Callable[[Object], bytes]:
    def make(made: Object) -> bytes:
        held = elements(made)
        moved = b"".join(held.pop(tag) for tag in tags)
        return held.pop(first) + b"".join(held.values()) + moved

    return make


def _twice(tag: int, vr: str) -> Callable[[Object], bytes]:
    def make(made: Object) -> bytes:
        held = elements(made)
        held[tag] += element(tag, vr, "SECOND")
        return b"".join(held.values())

    return make


def _nested(depth: int) -> bytes:
    inner = REFERENCE
    for _ in range(depth):
        inner = sequence(0x00081140, inner)
    return inner


def _in_syntax(syntax: str) -> Callable[[Object], bytes]:
    return lambda made: data_set(made, syntax=syntax)


def _foreign(tag: int, vr: str, value: str, syntax: str) -> bytes:
    """Return a leftover of a file meta group."""
    return element(tag, vr, value, syntax)


def _implicit_meta(length: int | None, syntax: str = IMPLICIT_LITTLE) -> bytes:
    """Return a leftover file meta group; group lengths are not handed on."""
    counted = b"" if length is None else element(0x00020000, "UL", length, syntax)
    return (
        counted
        + element(0x00020002, "UI", CT, syntax)
        + element(0x00020010, "UI", EXPLICIT_LITTLE, syntax)
    )


def _long_form(tag: int, vr: str, value: str | int, syntax: str = EXPLICIT_LITTLE) -> bytes:
    """Return an element whose length has 32 bits, though that of its VR has 16."""
    raw = element(tag, vr, value, syntax)
    length = struct.pack(">I" if syntax == EXPLICIT_BIG else "<I", len(raw) - 8)
    return raw[:6] + b"\0\0" + length + raw[8:]


KINDS: list[Odd] = [
    *_unknown_vrs(),
    *_nested_bytes(),
    *_item_ends(),
    Odd("name before the class", _out_of_order(0x00100010, 0x00080016), Flaw.ORDER),
    Odd("class behind the series", _out_of_order(0x00080016, 0x00200013), Flaw.ORDER),
    Odd("UIDs behind the matrix", _out_of_order(0x0020000D, 0x7FE00010), Flaw.ORDER),
    *(
        Odd(f"{title} behind the pixel data", _at_the_end(*tags), Flaw.ORDER)
        for title, tags in (
            ("study", [0x0020000D]),
            ("patient", [0x00100010, 0x00100020]),
            ("matrix", [ROWS, 0x00080020, 0x00080016]),
        )
    ),
    Odd(
        "name first and date last", _at_the_end(0x00080020, ROWS, first=0x00100010), Flaw.ORDER
    ),
    Odd("study description behind the series", _out_of_order(0x00081030, ROWS), Flaw.ORDER),
    *(
        Odd(title, make, Flaw.TWICE, even=make)
        for title, make in {
            "PatientID twice": _twice(0x00100020, "LO"),
            "name twice": _twice(0x00100010, "PN"),
        }.items()
    ),
    Odd(
        "icon in (0088,0200)",
        _with((0x00880200, sequence(0x00880200, ICON))),
        None,
        untranscodable=ENCAPSULATED,
    ),
    Odd(
        "future VR",
        _with((0x00100033, struct.pack("<HH2sHI", 0x10, 0x33, b"ZZ", 0, 4) + b"abcd")),
        Flaw.UNKNOWN_VR,
        even=_with((0x00100033, element(0x00100033, "UN", b"abcd"))),
    ),
    Odd(
        "future VR of undefined length",
        _with(
            *private(
                BEFORE, struct.pack("<HH2sHI", BEFORE, 0x1001, b"ZZ", 0, UNDEFINED) + FRAGMENTS
            )
        ),
        Flaw.UNKNOWN_VR,
        even=_with(*private(BEFORE, header(BEFORE << 16 | 0x1001, "OB", UNDEFINED) + FRAGMENTS)),
    ),
    Odd(
        "last item delimiter missing",
        _with((0x00081140, sequence(0x00081140, REFERENCE, item_ends=False))),
        Flaw.ITEM_END_MISSING,
        even=_with((0x00081140, sequence(0x00081140, REFERENCE))),
    ),
    *(
        Odd(title, _with((0x00081140, raw)), None, even=_with((0x00081140, raw)))
        for title, raw in {
            "20,000 items": sequence(0x00081140, *[REFERENCE] * 20_000),
            "40 deep": _nested(40),
        }.items()
    ),
    Odd("implicit in an explicit context", _in_syntax(IMPLICIT_LITTLE), Flaw.OTHER_ENCODING),
    Odd(
        "explicit in an implicit context",
        _in_syntax(EXPLICIT_LITTLE),
        Flaw.OTHER_ENCODING,
        IMPLICIT_LITTLE,
    ),
    Odd(
        "little endian in a big endian context",
        _in_syntax(EXPLICIT_LITTLE),
        Flaw.OTHER_ENCODING,
        EXPLICIT_BIG,
    ),
    Odd(
        "implicit in a big endian context",
        _in_syntax(IMPLICIT_LITTLE),
        Flaw.OTHER_ENCODING,
        EXPLICIT_BIG,
    ),
    Odd(
        "big endian in a little endian context", _in_syntax(EXPLICIT_BIG), Flaw.OTHER_ENCODING
    ),
    Odd("implicit in a JPEG context", _in_syntax(IMPLICIT_LITTLE), Flaw.OTHER_ENCODING, JPEG),
    Odd(
        "not deflated in a deflated context",
        _in_syntax(EXPLICIT_LITTLE),
        Flaw.OTHER_ENCODING,
        DEFLATED_LITTLE,
    ),
    Odd(
        "an explicit sequence in implicit data",
        lambda made: data_set(
            made, (0x00081140, sequence(0x00081140, REFERENCE, syntax=IMPLICIT_LITTLE)),
            syntax=IMPLICIT_LITTLE,
        ),
        Flaw.FORM,
        IMPLICIT_LITTLE,
        _with((0x00081140, sequence(0x00081140, REFERENCE))),
    ),
    Odd(
        "an explicit element in implicit data",
        lambda made: data_set(
            made, (0x00080090, element(0x00080090, "PN", "Explicit")), syntax=IMPLICIT_LITTLE
        ),
        Flaw.FORM,
        IMPLICIT_LITTLE,
        _with((0x00080090, element(0x00080090, "PN", "Explicit"))),
    ),
    Odd(
        "an explicit UN with big endian items",
        lambda made: data_set(
            made,
            (
                0x00081140,
                header(0x00081140, "UN", UNDEFINED, EXPLICIT_BIG)
                + sequence(0, element(0x00081150, "UI", CT, EXPLICIT_BIG), syntax=EXPLICIT_BIG)[
                    12:
                ],
            ),
            syntax=EXPLICIT_BIG,
        ),
        Flaw.FORM,
        EXPLICIT_BIG,
        _with((0x00081140, sequence(0x00081140, element(0x00081150, "UI", CT)))),
    ),
    Odd(
        "file meta in front of an implicit data set",
        lambda made: _foreign(0x00020010, "UI", IMPLICIT_LITTLE, EXPLICIT_LITTLE)
        + data_set(made, syntax=IMPLICIT_LITTLE),
        Flaw.FOREIGN_GROUP,
        IMPLICIT_LITTLE,
        lambda made: _foreign(0x00020010, "UI", IMPLICIT_LITTLE, EXPLICIT_LITTLE) + data_set(made),
    ),
    *(
        Odd(
            f"{'no' if length is None else length} group length in an implicit file meta group",
            lambda made, length=length: _implicit_meta(length)
            + data_set(made, syntax=IMPLICIT_LITTLE),
            Flaw.FOREIGN_GROUP,
            IMPLICIT_LITTLE,
            lambda made: _implicit_meta(None, EXPLICIT_LITTLE) + data_set(made),
        )
        for length in (None, 0, 26, 9999, UNDEFINED)
    ),
    *(
        Odd(
            f"long form of {vr} in {tag:08X}",
            _with((tag, _long_form(tag, vr, value))),
            Flaw.FORM,
            even=_with((tag, element(tag, vr, value))),
        )
        for tag, vr, value in (
            (0x00080050, "SH", "ACC1"),
            (0x00080090, "PN", "Long^Form^Of^A^Name^"),
            (0x00080301, "US", 7),
            (BEFORE << 16 | 0x0010, "LO", "ODD DEVICE"),
            (0x00100040, "CS", ""),
            (0x00200010, "SH", "STUDY1"),
            (0x00280008, "IS", "1 "),
            (0x00400010, "SH", "BEHIND"),
        )
    ),
    Odd(
        "long form in big endian",
        lambda made: data_set(
            made,
            (0x00080050, _long_form(0x00080050, "SH", "ACC1", EXPLICIT_BIG)),
            syntax=EXPLICIT_BIG,
        ),
        Flaw.FORM,
        EXPLICIT_BIG,
        _with((0x00080050, element(0x00080050, "SH", "ACC1"))),
    ),
    Odd(
        "long form in an item",
        _with((0x00081140, sequence(0x00081140, _long_form(0x00081150, "UI", CT)))),
        Flaw.FORM,
        even=_with((0x00081140, sequence(0x00081140, element(0x00081150, "UI", CT)))),
    ),
    Odd(
        "nothing in front of a group length",
        _with(
            (0x00080090, element(0x00080090, "PN", "")),
            (0x00100000, element(0x00100000, "UL", 4)),
        ),
        None,
        even=_with((0x00080090, element(0x00080090, "PN", ""))),
    ),
    *(
        Odd(
            f"deflated as {name} has it",
            lambda made, wrap=wrap: wrap(data_set(made)),
            Flaw.OTHER_ENCODING,
            DEFLATED_LITTLE,
        )
        for name, wrap in {"zlib": zlib.compress, "gzip": gzip.compress}.items()
    ),
]  # fmt: skip

_BLOCK = element(0x00090010, "LO", "ODD DEVICE") + header(0x00091001, "OB", UNDEFINED)
BOUNDED: list[Odd] = [
    Odd(
        f"{title} without delimiter in items of defined length",
        _with((0x00081115, _bounded(raw))),
        None,
        even=_with((0x00081115, _bounded(even))),
    )
    for title, raw, even in (
        ("sequences", _inner(REFERENCE, end=False), _inner(REFERENCE)),
        ("fragments", _BLOCK + OPEN_FRAGMENTS, _BLOCK + FRAGMENTS),
    )
]
"""Kinds that only a reader of the items meets: their lengths lead past what is wrong."""
