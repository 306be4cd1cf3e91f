"""Decodes and encodes text in the character sets of DICOM, in one place for everybody.

PS3.5 6.1.2, PS3.3 C.12.1.1.2. The index, queries and their answers, answers of other nodes and the
page all read text here, so that stored text is found by the same bytes.

Without Specific Character Set only ASCII is allowed. Other bytes that form valid UTF-8 are read as
UTF-8, because text in another set hardly ever does. A declared set is trusted: bytes that are
valid in it are read in it, even if they could be UTF-8 too. Bytes that are invalid in their set
are read in the likeliest other set; bytes that are valid in none become U+FFFD, and the text
around them is kept.
"""

import codecs
import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

from draw_shared.dicom.encoding import code_extensions
from draw_shared.dicom.encoding.code_extensions import (
    ESCAPE,
    NAME_RESETS,
    REPLACEMENT,
    SETS,
    TEXT_RESETS,
    WHOLE_TEXT_RESETS,
    CodedSet,
    Decode,
    ascii_only,
    codec,
)
from draw_shared.errors import Permanent
from draw_shared.wording import message

TEXT_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""VRs to which Specific Character Set applies (PS3.5 6.1.2.2)."""
UTF_8: Final = "ISO_IR 192"
MAX_CHARACTER_SET_LENGTH: Final = 512
"""Bytes of (0008,0005) that are read; all terms together are shorter."""
IDENTIFIER_HASH: Final = 16

_RESETS: Final = {
    "PN": NAME_RESETS,
    **dict.fromkeys(("LT", "ST", "UT"), WHOLE_TEXT_RESETS),
    **dict.fromkeys(("LO", "SH", "UC"), TEXT_RESETS),
}
_utf_8: Final = codec("utf-8")
_ALONE: Final = {UTF_8: "utf-8", "GB18030": "gb18030", "GBK": "gbk"}
"""Terms that must stand alone (PS3.3 C.12.1.1.2), and Python's codecs."""
_TWO_BYTES: Final = frozenset({58, 87, 149, 159})
"""Sets of two bytes per character, which need a designation."""
_ASCII_ONLY: Final = ("ISO_IR 6", "ISO 2022 IR 6")
_NUMBERS: Final = {
    **{f"ISO_IR {number}": number for number in SETS if number not in _TWO_BYTES},
    **{f"ISO 2022 IR {number}": number for number in SETS},
}
_TERMS: Final = (*_ALONE, *_ASCII_ONLY, *_NUMBERS)
"""The defined terms of PS3.3 C.12.1.1.2."""
_ISO_8859: Final = {
    1: 100, 2: 101, 3: 109, 4: 110, 5: 144, 6: 127, 7: 126, 8: 138, 9: 148, 11: 166, 15: 203,
}  # fmt: skip
_MEANT: Final = {
    **{"".join(filter(str.isalnum, term)).upper(): term for term in _TERMS},
    **{f"ISOIR{number}": f"ISO 2022 IR {number}" for number in _TWO_BYTES},
    **{f"ISO8859{part}": f"ISO_IR {number}" for part, number in _ISO_8859.items()},
    "ISO2022IR192": UTF_8,
    "UTF8": UTF_8,
    "ISO2022GBK": "GBK",
    "ISO202258": "ISO 2022 IR 58",
    "GB2312": "ISO 2022 IR 58",
    "EUCKR": "ISO 2022 IR 149",
    "SHIFTJIS": "ISO_IR 13",
    "LATIN1": "ISO_IR 100",
    "WINDOWS1252": "ISO_IR 100",
    "ASCII": "ISO_IR 6",
}
"""Spellings of peers, letters and digits only, and the terms that they mean."""

_SUPERSETS: Final = {
    13: ("cp932", "euc_jp"),
    58: ("gb18030",),
    87: ("cp932", "euc_jp"),
    100: ("cp1252",),
    148: ("cp1254",),
    149: ("cp949",),
    159: ("cp932", "euc_jp"),
    166: ("cp874",),
}
"""Supersets that systems use while they declare these sets, by names of Python's codecs."""
_NO_TEXT: Final = re.compile("[\x80-\x9f\uf8f0-\uf8ff]")
"""What the codecs of Windows return for invalid bytes."""
_NOT_WESTERN: Final = re.compile("[\x80-\x9f]|[^\x00-\x7f]{4}")
"""No western European language has four letters beyond ASCII in a row."""


class UndecodableText(Permanent):
    """Bytes that are invalid in their character set."""


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """The values of Specific Character Set (0008,0005); empty means the default repertoire."""

    terms: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether every term is one of PS3.3 C.12.1.1.2."""
        return all(not term or term in _TERMS for term in self.terms)

    def decode(self, raw: bytes, vr: str) -> str:
        """Decode a value; several values stay joined by backslashes.

        Raises:
            UndecodableText: it is invalid in this character set.
        """
        if raw.isascii() and ESCAPE not in raw:
            return raw.decode("ascii")
        try:
            return code_extensions.decode(raw, _reading(self.terms).initial, _RESETS[vr])
        except ValueError as error:
            raise UndecodableText(message("text is not in its Specific Character Set")) from error

    def read(self, raw: bytes, vr: str) -> str:
        """Decode a value as well as possible.

        Text that is invalid in this set is read as UTF-8 if it is valid there, else as what senders
        use that declare this set, else, if nothing else is declared, as western text. Unreadable
        bytes become U+FFFD.
        """
        try:
            return self.decode(raw, vr)
        except UndecodableText:
            pass
        reading, resets = _reading(self.terms), _RESETS[vr]
        if ESCAPE in raw:
            with suppress(ValueError):
                return code_extensions.decode(raw, reading.initial, resets, lasting=True)
        for initial in reading.guesses:
            with suppress(ValueError):
                return code_extensions.decode(raw, initial, resets)
        return code_extensions.decode(raw, reading.initial, resets, "replace")

    def encode(self, text: str, vr: str) -> bytes | None:
        """Encode text in this character set; None if the set does not contain it."""
        if text.isascii():
            return text.encode("ascii")
        if not self.terms or not self.known:
            return None
        if self.terms[0] in _ALONE:
            try:
                return text.encode(_ALONE[self.terms[0]])
            except UnicodeEncodeError:
                return None
        reading = _reading(self.terms)
        return code_extensions.encode(text, reading.first, reading.further, _RESETS[vr])


DEFAULT_REPERTOIRE: Final = CharacterSet()
UNICODE: Final = CharacterSet((UTF_8,))


def character_set(value: bytes) -> CharacterSet:
    """Return the character set that a raw value of (0008,0005) names.

    A misspelt term is read as the one it means. If one of several terms must stand alone, the
    others are ignored.
    """
    written = value[:MAX_CHARACTER_SET_LENGTH].decode("ascii", "replace").rstrip("\0 ").split("\\")
    terms = tuple(_correct_term(term.strip(" \0")) for term in written)
    if not any(terms) or (len(terms) == 1 and terms[0] in _ASCII_ONLY):
        return DEFAULT_REPERTOIRE
    alone = [term for term in terms if term in _ALONE]
    return CharacterSet(tuple(alone[:1]) or terms)


def distinct(text: str, raw: bytes) -> str:
    """Return the text of an identifier, different from that of any identifier with other bytes.

    If unreadable bytes were replaced, two identifiers could look alike, and become one patient.
    """
    if REPLACEMENT not in text:
        return text
    digest = hashlib.sha256(raw.strip(b"\0 ")).hexdigest()[:IDENTIFIER_HASH]
    return f"{text.strip(chr(0) + ' ')}~{digest}"


def _correct_term(term: str) -> str:
    if not term or term in _TERMS:
        return term
    return _MEANT.get("".join(filter(str.isalnum, term)).upper(), term)


@dataclass(frozen=True, slots=True)
class _Reading:
    """How text in one character set is decoded and encoded."""

    initial: Decode
    guesses: Sequence[Decode]
    """Sets to try for invalid text, the likeliest first."""
    first: CodedSet | None = None
    """The set that is initially in G1."""
    further: Sequence[CodedSet] = ()


@lru_cache(maxsize=256)
def _reading(terms: tuple[str, ...]) -> _Reading:
    if not terms:
        return _Reading(_utf_8, (_cut_utf_8, _western))
    if terms[0] in _ALONE:
        own = codec(_ALONE[terms[0]])
        if terms[0] == UTF_8:
            return _Reading(own, (_cut_utf_8, _western))
        return _Reading(own, (_cut_utf_8, codec("gb18030")))
    numbers = [_NUMBERS[term] for term in terms if term in _NUMBERS]
    sets = [SETS[number] for number in numbers]
    first = _NUMBERS.get(terms[0])
    held = SETS[first] if first and not SETS[first].in_g0 else None
    initial = held.decode if held else ascii_only
    guesses: list[Decode] = [_cut_utf_8]
    guesses += [coded.decode for coded in sets if coded is not held and not coded.in_g0]
    supersets = dict.fromkeys(name for number in numbers for name in _SUPERSETS.get(number, ()))
    guesses += (partial(_text_only, name) for name in supersets)
    if not sets:
        guesses.append(_western)
    # A set of two bytes in the first place must still be designated.
    begins = held if first not in _TWO_BYTES else None
    return _Reading(initial, tuple(guesses), begins, tuple(sets))


def _cut_utf_8(raw: bytes, errors: str) -> str:
    """Decode UTF-8, even if it is cut in the middle of its last character."""
    held = raw.rstrip(b"\0 ")
    text, read = codecs.utf_8_decode(held, errors, False)
    if read < len(held):
        if text.isascii():
            raise ValueError("one byte that could begin a character makes no UTF-8")
        text += REPLACEMENT
    return text + raw[len(held) :].decode("ascii")


def _text_only(superset: str, raw: bytes, errors: str) -> str:
    text = raw.decode(superset, errors)
    if _NO_TEXT.search(text):
        raise ValueError("what the codec makes of it is no text")
    return text


def _western(raw: bytes, errors: str) -> str:
    """Decode Windows' superset of Latin 1, unless the text cannot be that."""
    text = raw.decode("cp1252", errors)
    if _NOT_WESTERN.search(text):
        raise ValueError("no western text is like that")
    return text
