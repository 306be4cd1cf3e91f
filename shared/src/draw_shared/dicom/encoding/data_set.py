"""Opens data sets as devices send them: deflated, misdeclared, or with remains of other groups.

The receiver, the index and the operators' page all read objects through this module.
"""

import zlib
from typing import Final, Literal, NamedTuple

from draw_shared.dicom.encoding.element_forms import HEADER_BYTES, LONG_HEADER_BYTES, ElementForm
from draw_shared.dicom.encoding.flaws import Flaw, Flaws
from draw_shared.dicom.encoding.scan import BIG, EXPLICIT, IMPLICIT, Scanner
from draw_shared.dicom.encoding.uids import DEFLATED_LITTLE, EXPLICIT_BIG, IMPLICIT_LITTLE
from draw_shared.dicom.encoding.vrs import KNOWN_VRS, LONG_VRS, SHORT_VRS
from draw_shared.dicom.encoding.walk import Gathered, Undecodable, WalkEnd
from draw_shared.wording import message

MAX_INFLATED_BYTES: Final = 4 * 1024 * 1024
INFLATED_AT_ONCE: Final = 1024
MAX_LOW_GROUP: Final = 0x00FF
BIG_FILE_META: Final = b"\0\2"
LEADING_GROUPS: Final = frozenset((b"\0\0", b"\2\0"))
"""Groups of command sets and of file meta, which devices leave in front of data sets."""
MAX_LEADING_ELEMENTS: Final = 64

# Tells zlib to detect the format of a deflated data set.
_ANY_WRAPPER: Final = 32
_GZIP: Final = b"\x1f\x8b"
_ZLIB_CHECK: Final = 31
_STORED_HEAD: Final = 5
_COMPLEMENT: Final = 0xFFFF


def _declared_scanner(transfer_syntax_uid: str) -> Scanner:
    if transfer_syntax_uid == IMPLICIT_LITTLE:
        return IMPLICIT
    return BIG if transfer_syntax_uid == EXPLICIT_BIG else EXPLICIT


def scanner_for(transfer_syntax_uid: str, data: bytes | memoryview = b"") -> Scanner:
    """Return the scanner for a transfer syntax; encapsulated ones are explicit little endian.

    Some senders use another encoding than negotiated; `data`, if given, decides.
    """
    declared = _declared_scanner(transfer_syntax_uid)
    if len(data) < HEADER_BYTES:
        return declared
    big = declared is BIG
    groups = data[0] | data[1] << 8, data[1] | data[0] << 8
    if (groups[0] <= MAX_LOW_GROUP) != (groups[1] <= MAX_LOW_GROUP):
        big = groups[1] <= MAX_LOW_GROUP
    if (bytes(data[4:6]) in KNOWN_VRS) == (declared is not IMPLICIT):
        explicit = declared is not IMPLICIT
    else:
        explicit = _is_explicit(BIG if big else declared, data)
    if not explicit:
        return IMPLICIT
    return BIG if big else EXPLICIT


def _is_explicit(declared: Scanner, data: bytes | memoryview) -> bool:
    """Return whether a data set is explicit although it was declared differently."""
    try:
        form = declared.first_form(data)
    except IndexError:
        return False
    return form is not None and form.explicit


def inflate_beginning(data: bytes | memoryview, transfer_syntax_uid: str) -> bytes | memoryview:
    """Return `data`, or as much of a deflated data set, inflated, as any header needs.

    Raises:
        Undecodable: nothing of it inflates, and it is no plain data set either.
    """
    if transfer_syntax_uid != DEFLATED_LITTLE:
        return data
    try:
        return make_inflater(data).decompress(data, MAX_INFLATED_BYTES)
    except zlib.error:
        inflated = _inflate_until_damage(data)
    if inflated:
        return inflated
    if bytes(data[4:6]) in KNOWN_VRS:
        return data
    raise Undecodable(message("the deflated data set is damaged"))


def make_inflater(head: bytes | memoryview) -> "zlib._Decompress":
    """Return a decompressor for a data set that begins with `head`.

    Some devices wrap it in the format of zlib or gzip, which PS3.5 A.5 does not provide for.
    """
    bits = zlib.MAX_WBITS
    return zlib.decompressobj(bits | _ANY_WRAPPER if _is_wrapped(head) else -bits)


def _is_wrapped(head: bytes | memoryview) -> bool:
    """Return whether `head` begins with the format of zlib (RFC 1950) or gzip (RFC 1952)."""
    begin = bytes(head[:_STORED_HEAD])
    if begin.startswith(_GZIP):
        return True
    if len(begin) < _STORED_HEAD or begin[0] & 0x8F != zlib.DEFLATED:
        return False
    # The same bits can begin a stored block, which contains its length twice.
    stored = int.from_bytes(begin[1:3], "little") ^ int.from_bytes(begin[3:5], "little")
    return int.from_bytes(begin[:2], "big") % _ZLIB_CHECK == 0 and stored != _COMPLEMENT


def is_deflated(data: bytes | memoryview, transfer_syntax_uid: str) -> bool:
    """Return whether a data set is really deflated; some are not although declared so."""
    if transfer_syntax_uid != DEFLATED_LITTLE:
        return False
    return bytes(data[4:6]) not in KNOWN_VRS or bool(_inflate_until_damage(data))


def _inflate_until_damage(data: bytes | memoryview) -> bytes:
    inflating, inflated = make_inflater(data), bytearray()
    try:
        for at in range(0, len(data), INFLATED_AT_ONCE):
            inflated += inflating.decompress(data[at : at + INFLATED_AT_ONCE])
            if len(inflated) >= MAX_INFLATED_BYTES:
                break
    except zlib.error:
        pass
    return bytes(inflated)


class OpenedDataSet(NamedTuple):
    """A data set in readable form."""

    data: bytes | memoryview
    """Inflated, without the remains of groups 0000 and 0002 in front of it."""
    scanner: Scanner
    flaws: Flaws
    bounded: bool
    """Whether only a part was inflated."""


def open_data_set(data: bytes | memoryview, transfer_syntax_uid: str) -> OpenedDataSet:
    """Open the data set that `data` contains or begins, and determine its real encoding.

    Raises:
        Undecodable: it does not inflate.
    """
    inflated = inflate_beginning(data, transfer_syntax_uid)
    leading = leading_bytes(inflated)
    data_set = memoryview(inflated)[leading:] if leading else inflated
    scanner = scanner_for(transfer_syntax_uid, data_set)
    flaws = Flaws()
    if leading:
        flaws.add(
            Flaw.FOREIGN_GROUP, scanner_for(transfer_syntax_uid, inflated).first_tag(inflated)
        )
    other = transfer_syntax_uid == DEFLATED_LITTLE and (inflated is data or _is_wrapped(data))
    if other or scanner is not _declared_scanner(transfer_syntax_uid):
        flaws.add(Flaw.OTHER_ENCODING, scanner.first_tag(data_set))
    bounded = inflated is not data and len(inflated) >= MAX_INFLATED_BYTES
    return OpenedDataSet(data_set, scanner, flaws, bounded)


def gather(
    data: bytes | memoryview,
    transfer_syntax_uid: str,
    wanted: frozenset[int],
    *,
    last: int,
    required: frozenset[int] = frozenset(),
    whole: bool = True,
) -> tuple[Scanner, Gathered]:
    """Return what `Scanner.gather` finds in a data set, and the scanner to decode its values.

    In a deflated data set, elements after the inflated part count as passed.
    """
    try:
        data_set, scanner, flaws, bounded = open_data_set(data, transfer_syntax_uid)
    except Undecodable:
        flaws = Flaws()
        flaws.add(Flaw.UNREADABLE, 0)
        return _declared_scanner(transfer_syntax_uid), Gathered({}, WalkEnd.DAMAGED, flaws, 0)
    found = scanner.gather(
        data_set, wanted, last=last, required=required, whole=whole and not bounded
    )
    if bounded and found.ending in {WalkEnd.CUT, WalkEnd.ENDED}:
        found = found._replace(ending=WalkEnd.PASSED)
    flaws.update(found.flaws)
    return scanner, found._replace(flaws=flaws)


def leading_bytes(data: bytes | memoryview) -> int:
    """Return the length of the elements of groups 0000 and 0002 in front of a data set."""
    at = 0
    for _ in range(MAX_LEADING_ELEMENTS):
        head = bytes(data[at : at + LONG_HEADER_BYTES])
        big = head[:2] == BIG_FILE_META
        if len(head) < HEADER_BYTES or not (big or head[:2] in LEADING_GROUPS):
            break
        form = leading_form(head, "big" if big else "little")
        end = at + form.start + form.length
        if not any(head[:HEADER_BYTES]) or end > len(data):
            break
        at = end
    return at


def leading_form(head: bytes, order: Literal["big", "little"]) -> ElementForm:
    """Return the form of an element of groups 0000 or 0002 in front of a data set.

    Its own header decides, because elements of these groups that follow may have another form.
    """
    vr = head[4:6]
    if vr in SHORT_VRS:
        return ElementForm(
            HEADER_BYTES, int.from_bytes(head[6:8], order), explicit=True, short=True
        )
    if vr in LONG_VRS:
        length = int.from_bytes(head[8:LONG_HEADER_BYTES], order)
        return ElementForm(LONG_HEADER_BYTES, length, explicit=True, short=False)
    return ElementForm(HEADER_BYTES, int.from_bytes(head[4:8], order), explicit=False, short=True)
