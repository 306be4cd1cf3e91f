"""Code extensions of ISO 2022: coded character sets, and text that switches them by escapes.

PS3.5 6.1.2.5, PS3.3 tables C.12-3 and C.12-4. Bytes below 0x80 are in G0, which is ASCII until
another set is designated; other bytes are in G1. Before each control character and each delimiter
both return to their initial sets (PS3.5 6.1.2.5.3). A byte of a two-byte set in G0 can look like a
delimiter without being one.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

Decode = Callable[[bytes, str], str]
"""Decodes bytes; the errors are `strict` or `replace`, as for Python's codecs."""
Encode = Callable[[str], bytes | None]
"""Encodes one character beyond ASCII; None if the set does not contain it."""

ESCAPE: Final = b"\x1b"
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
NAME_RESETS: Final = re.compile(rb"[\x00-\x1f\\^=]")
TEXT_RESETS: Final = re.compile(rb"[\x00-\x1f\\]")
WHOLE_TEXT_RESETS: Final = re.compile(rb"[\x00-\x1f]")
"""Characters that end code extensions: in PN, in text of several values, in text of one."""

_UNDEFINED: Final = "\ufffe"
"""Marks a byte without a meaning in a charmap."""
_FIRST_OF_G1: Final = 0xA0
_HIGH: Final = 0x80
_SPACE: Final = 0x20
_KATAKANA: Final = 0xFF61
_TO_G1: Final = bytes(byte | _HIGH for byte in range(256))
_TO_G0: Final = bytes(byte & ~_HIGH for byte in range(256))
_PAIRS: Final = re.compile(rb"(?:[\x21-\x7e]{2})+")
_IN_G0: Final = re.compile(rb"(?:[\x21-\x7e]{2})+|[\x80-\xff]+|.", re.DOTALL)
_MAX_DESIGNATION_BYTES: Final = 3


@dataclass(frozen=True, slots=True)
class CodedSet:
    """One coded set of characters beyond ASCII."""

    escape: bytes
    """The escape sequence that designates it."""
    decode: Decode
    """A set in G1 decodes ASCII too."""
    encode: Encode
    in_g0: bool = False
    """Whether it replaces ASCII."""


def _decode_mapped(table: str, raw: bytes, errors: str) -> str:
    return codecs.charmap_decode(raw, errors, table)[0]


def _table(codec: str) -> str:
    """Return the characters of a single-byte set, without C1 controls (PS3.5 6.1.3)."""
    high = (bytes((byte,)) for byte in range(_FIRST_OF_G1, 256))
    found = [raw.decode(codec, "replace") for raw in high]
    return (
        "".join(map(chr, range(_HIGH)))
        + _UNDEFINED * (_FIRST_OF_G1 - _HIGH)
        + "".join(_UNDEFINED if one == REPLACEMENT else one for one in found)
    )


def _in_table(table: str, character: str) -> bytes | None:
    at = table.find(character)
    return bytes((at,)) if at >= _HIGH and character != _UNDEFINED else None


def _single(final: bytes, table: str) -> CodedSet:
    return CodedSet(ESCAPE + final, partial(_decode_mapped, table), partial(_in_table, table))


def codec(name: str) -> Decode:
    """Return a decoder for one of Python's codecs."""
    return partial(_by_codec, name)


def _by_codec(name: str, raw: bytes, errors: str) -> str:
    return raw.decode(name, errors)


def _two_bytes(final: bytes, name: str) -> CodedSet:
    return CodedSet(ESCAPE + final, codec(name), partial(_pair, name))


def _pair(name: str, character: str) -> bytes | None:
    try:
        raw = character.encode(name)
    except UnicodeError:
        return None
    return raw if len(raw) == 2 and min(raw) > _FIRST_OF_G1 else None  # noqa: PLR2004 - a pair


def _jis_x_0208(raw: bytes, errors: str) -> str:
    """Decode kanji, including those that Japanese systems added in gaps of JIS X 0208."""
    try:
        return raw.translate(_TO_G1).decode("euc_jp")
    except UnicodeDecodeError:
        pairs = (raw[at : at + 2] for at in range(0, len(raw), 2))
        return "".join(_to_shift_jis(*pair).decode("cp932", errors) for pair in pairs)


def _to_shift_jis(row: int, cell: int) -> bytes:
    """Return a character of JIS X 0208 in Shift JIS."""
    lead = (row - 0x21 >> 1) + (0x81 if row <= 0x5E else 0xC1)  # noqa: PLR2004 - as defined there
    if row % 2 == 0:
        return bytes((lead, cell + 0x7E))
    return bytes((lead, cell + (0x1F if cell < 0x60 else 0x20)))  # noqa: PLR2004


def _to_jis_x_0208(character: str) -> bytes | None:
    raw = _pair("euc_jp", character)
    return raw and raw.translate(_TO_G0)


def _jis_x_0212(raw: bytes, errors: str) -> str:
    high = raw.translate(_TO_G1)
    pairs = (high[at : at + 2] for at in range(0, len(high), 2))
    return b"".join(b"\x8f" + pair for pair in pairs).decode("euc_jp", errors)


def _to_jis_x_0212(character: str) -> bytes | None:
    try:
        raw = character.encode("euc_jp")
    except UnicodeError:
        return None
    return raw[1:].translate(_TO_G0) if raw[0] == 0x8F else None  # noqa: PLR2004


_KATAKANA_TABLE: Final = (
    "".join(map(chr, range(_HIGH)))
    + _UNDEFINED * (_FIRST_OF_G1 + 1 - _HIGH)
    + "".join(chr(_KATAKANA + n) for n in range(63))
    + _UNDEFINED * 32
)


def _katakana_in_g0(raw: bytes, errors: str) -> str:
    return _decode_mapped(_KATAKANA_TABLE, raw.translate(_TO_G1), errors)


KATAKANA: Final = _single(b")I", _KATAKANA_TABLE)
KANJI: Final = CodedSet(ESCAPE + b"$B", _jis_x_0208, _to_jis_x_0208, in_g0=True)
SETS: Final = {
    13: KATAKANA,
    58: _two_bytes(b"$)A", "gb2312"),
    87: KANJI,
    100: _single(b"-A", _table("latin_1")),
    101: _single(b"-B", _table("iso8859_2")),
    109: _single(b"-C", _table("iso8859_3")),
    110: _single(b"-D", _table("iso8859_4")),
    126: _single(b"-F", _table("iso8859_7")),
    127: _single(b"-G", _table("iso8859_6")),
    138: _single(b"-H", _table("iso8859_8")),
    144: _single(b"-L", _table("iso8859_5")),
    148: _single(b"-M", _table("iso8859_9")),
    149: _two_bytes(b"$)C", "euc_kr"),
    159: CodedSet(ESCAPE + b"$(D", _jis_x_0212, _to_jis_x_0212, in_g0=True),
    166: _single(b"-T", _table("tis_620")),
    203: _single(b"-b", _table("iso8859_15")),
}
"""The sets of PS3.3 C.12.1.1.2 by their numbers in the ISO register."""

_ASCII: Final = (b"(B", b"(J")
"""ISO-IR 6, and ISO-IR 14, which in DICOM's text means the same."""
_DESIGNATED: Final = {
    **{coded.escape[1:]: coded for coded in SETS.values()},
    # Used by Japanese systems outside DICOM: JIS C 6226, and katakana instead of ASCII.
    b"$@": KANJI,
    b"(I": CodedSet(ESCAPE + b"(I", _katakana_in_g0, lambda _: None, in_g0=True),
}


def ascii_only(raw: bytes, errors: str) -> str:
    """Decode ISO-IR 6."""
    return raw.decode("ascii", errors)


def decode(
    raw: bytes,
    initial: Decode,
    resets: re.Pattern[bytes],
    errors: str = "strict",
    *,
    lasting: bool = False,
) -> str:
    """Decode text that begins in the initial set and may contain escape sequences.

    With `lasting`, delimiters do not reset G1: some senders designate a set only once.

    Raises:
        ValueError: with `strict` errors, bytes or an escape sequence are invalid.
    """
    if ESCAPE not in raw:
        return initial(raw, errors)
    first, *pieces = raw.split(ESCAPE)
    walk = _EscapeWalk(initial, resets, errors, lasting=lasting)
    return "".join((initial(first, errors), *map(walk.read, pieces)))


class _EscapeWalk:
    """Decodes a value from one escape sequence to the next."""

    def __init__(
        self, initial: Decode, resets: re.Pattern[bytes], errors: str, *, lasting: bool
    ) -> None:
        self._initial = self._g1 = initial
        self._g0: CodedSet | None = None
        self._resets = resets
        self._errors = errors
        self._lasting = lasting

    def read(self, piece: bytes) -> str:
        """Decode the piece that follows an ESC."""
        length, coded = _designation(piece)
        before = ""
        if not length:
            if self._errors == "strict":
                raise ValueError("an escape sequence designates no set")
            before = REPLACEMENT
        elif coded is None or coded.in_g0:
            self._g0 = coded
        else:
            self._g1 = coded.decode
        text = piece[length:]
        return before + self._text(text) if text else before

    def _text(self, raw: bytes) -> str:
        if self._g0 is None:
            return self._decode_to_reset(raw)
        if _PAIRS.fullmatch(raw):
            return self._g0.decode(raw, self._errors)
        found: list[str] = []
        for part in _IN_G0.finditer(raw):
            read = part[0]
            if read[0] >= _HIGH:
                found.append(self._g1(read, self._errors))
            elif len(read) > 1:
                found.append(self._g0.decode(read, self._errors))
            elif read[0] == _SPACE:
                found.append(" ")
            else:
                # A control character, or a byte that cannot be half of a character.
                self._g0 = None
                found.append(self._decode_to_reset(raw[part.start() :]))
                break
        return "".join(found)

    def _decode_to_reset(self, raw: bytes) -> str:
        """Decode text with ASCII in G0, up to and including what resets the set in G1."""
        g1 = self._g1
        end = None if g1 is self._initial or self._lasting else self._resets.search(raw)
        if end is None:
            return g1(raw, self._errors)
        self._g1 = self._initial
        at = end.start()
        return g1(raw[:at], self._errors) + self._initial(raw[at:], self._errors)


def _designation(piece: bytes) -> tuple[int, CodedSet | None]:
    """Return the length of a designation after ESC, and its set; None means ASCII."""
    for length in range(_MAX_DESIGNATION_BYTES, 1, -1):
        sequence = piece[:length]
        if sequence in _DESIGNATED:
            return length, _DESIGNATED[sequence]
        if sequence in _ASCII:
            return length, None
    return 0, None


def encode(
    text: str, first: CodedSet | None, further: Sequence[CodedSet], resets: re.Pattern[bytes]
) -> bytes | None:
    """Encode text with the escape sequences it needs; None if no set contains a character.

    `first` is the set that is initially in G1.
    """
    known = (*([first] if first else ()), *further)
    to_ascii = ESCAPE + _ASCII[first is KATAKANA]
    found = bytearray()
    g0: CodedSet | None = None
    g1 = first
    for character in text:
        if character.isascii():
            raw = character.encode("ascii")
            if g0 is not None:
                found += to_ascii
                g0 = None
            if resets.match(raw):
                g1 = first
            found += raw
            continue
        held = _find_set(character, [one for one in (g1, g0) if one], known)
        if held is None:
            return None
        coded, raw = held
        if coded is not g0 and coded is not g1:
            found += coded.escape
            g0, g1 = (coded, g1) if coded.in_g0 else (g0, coded)
        found += raw
    return bytes(found + to_ascii if g0 is not None else found)


def _find_set(
    character: str, invoked: Iterable[CodedSet], known: Iterable[CodedSet]
) -> tuple[CodedSet, bytes] | None:
    for coded in (*invoked, *known):
        raw = coded.encode(character)
        if raw is not None:
            return coded, raw
    return None
