"""Text in the character sets of DICOM: read with the sender's set, written in the receiver's.

PS3.5 6.1.2 and annexes H to K. The codecs are pydicom's; what is added here is that
nothing is ever lost in silence: text that a set cannot hold is said to be so.

Without Specific Character Set only ASCII is allowed. Bytes beyond it that form UTF-8 are
taken for UTF-8, which text of another set does not form by chance. A set that is declared is
believed: bytes that are text in it mean that text, even if they could be UTF-8 as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pydicom.charset import (
    ENCODINGS_TO_CODES,
    decode_bytes,
    encode_string,
    handled_encodings,
    python_encoding,
)

from draw_shared.errors import Permanent

TEXT_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""VRs to which Specific Character Set applies (PS3.5 6.1.2.2)."""
UTF_8: Final = "ISO_IR 192"
ESCAPE: Final = b"\x1b"
_ASCII_ONLY: Final = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
_SIMPLIFIED_CHINESE: Final = "ISO 2022 IR 58"
_TO_CHINESE: Final = b"\x1b$)A"
_TO_ASCII: Final = b"\x1b(B"
_BACKSLASH: Final = 0x5C
_TEXT_DELIMITERS: Final = {0x09, 0x0A, 0x0C, 0x0D, _BACKSLASH}
_NAME_DELIMITERS: Final = {ord("^"), ord("="), _BACKSLASH}
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


class UndecodableText(Permanent):
    """Bytes that are no text in the character set they are said to be in."""


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """One value of Specific Character Set (0008,0005); without terms the default repertoire."""

    terms: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether every term is one of PS3.3 C.12.1.1.2."""
        return all(term in python_encoding for term in self.terms)

    def decode(self, raw: bytes, vr: str) -> str:
        """Return the text of a value, several values still joined by backslashes.

        Raises:
            UndecodableText: it is none in this character set.
        """
        if raw.isascii() and ESCAPE not in raw:
            return raw.decode("ascii")
        if not self.known:
            raise UndecodableText("the Specific Character Set is unknown")
        delimiters = _NAME_DELIMITERS if vr == "PN" else _TEXT_DELIMITERS
        try:
            found = self._decoded(raw, delimiters)
        except (ValueError, LookupError) as error:
            raise UndecodableText("text is not in its Specific Character Set") from error
        if _REPLACEMENT in found:
            raise UndecodableText("text is not in its Specific Character Set")
        return found

    def read(self, raw: bytes, vr: str) -> str:
        """Return the text of a value as well as it can be read, for people to look at.

        What is no text in this set is taken for UTF-8 if it can be, else for Latin 1, in which
        every byte is a character.
        """
        try:
            return self.decode(raw, vr)
        except UndecodableText:
            pass
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    def _decoded(self, raw: bytes, delimiters: set[int]) -> str:
        if not self.terms and ESCAPE not in raw:
            return raw.decode("utf-8")
        if _SIMPLIFIED_CHINESE in self.terms:
            # pydicom leaves the escape sequence of this set in the text.
            return raw.replace(_TO_CHINESE, b"").replace(_TO_ASCII, b"").decode("gb2312")
        return decode_bytes(raw, _codecs(self.terms), delimiters)

    def encode(self, text: str, vr: str) -> bytes | None:
        """Return the text in this character set, or None if the set cannot hold it."""
        if text.isascii():
            return text.encode("ascii")
        if not self.terms or not self.known:
            return None
        if self.terms == (UTF_8,):
            return text.encode("utf-8")
        # Code extensions are back at the first set before each delimiter (PS3.5 6.1.2.5.3).
        separators = "\\=^" if vr == "PN" else "\\"
        return self._encoded(text, separators)

    def _encoded(self, text: str, separators: str) -> bytes | None:
        if separators:
            parts = [self._encoded(part, separators[1:]) for part in text.split(separators[0])]
            held = [part for part in parts if part is not None]
            return separators[0].encode().join(held) if len(held) == len(parts) else None
        if text.isascii():
            return text.encode("ascii")
        if not all(_holds(self.terms, character) for character in text):
            return None
        encoded = _extended(text, self.terms)
        try:
            same = encoded is not None and self._decoded(encoded, _NAME_DELIMITERS) == text
        except (ValueError, LookupError):
            return None
        return encoded if same else None


DEFAULT_REPERTOIRE: Final = CharacterSet()
UNICODE: Final = CharacterSet((UTF_8,))


def character_set(value: bytes) -> CharacterSet:
    """Return the character set that a raw value of (0008,0005) names.

    A single term that needs no code extension loses its spelling with blanks and
    underscores mixed up, as some peers write it.
    """
    terms = [term.strip() for term in value.rstrip(b"\0 ").decode("ascii", "replace").split("\\")]
    if not any(terms) or terms == ["ISO_IR 6"]:
        return DEFAULT_REPERTOIRE
    return CharacterSet(tuple(_corrected(term) for term in terms))


def _corrected(term: str) -> str:
    if term in python_encoding:
        return term
    for known in python_encoding:
        if _letters(known) == _letters(term):
            return known
    return term


def _letters(term: str) -> str:
    return "".join(c for c in term.upper() if c.isalnum())


@lru_cache(maxsize=256)
def _codecs(terms: tuple[str, ...]) -> Sequence[str]:
    return [python_encoding[term] for term in terms]


@lru_cache(maxsize=256)
def _further(terms: tuple[str, ...]) -> tuple[str, ...]:
    """Return the terms that hold more than ASCII; pydicom takes ISO IR 6 for Latin 1."""
    return tuple(term for term in terms if term not in _ASCII_ONLY)


@lru_cache(maxsize=65536)
def _held(codec: str, character: str) -> bool:
    try:
        encoded = character.encode(codec)
    except UnicodeError:
        return False
    # ISO IR 13 is the single bytes of Shift JIS only.
    return codec != "shift_jis" or len(encoded) == 1


def _holds(terms: tuple[str, ...], character: str) -> bool:
    if character.isascii():
        return True
    return any(_held(codec, character) for codec in _codecs(_further(terms)))


def _extended(text: str, terms: tuple[str, ...]) -> bytes | None:
    """Return text with its escape sequences, or None if it mixes several further sets."""
    if _SIMPLIFIED_CHINESE in terms:
        return _TO_CHINESE + text.encode("gb2312", "replace")
    if terms[0] not in _ASCII_ONLY:
        return encode_string(text, _codecs(terms))
    for term in _further(terms):
        codec = python_encoding[term]
        if all(_held(codec, c) for c in text if not c.isascii()):
            return _alone(text, codec)
    return None


def _alone(text: str, codec: str) -> bytes:
    """Return text in one further set, entered by its escape sequence and left if need be."""
    if codec in handled_encodings:
        # The codec writes its own escape sequences, and returns to ASCII.
        return text.encode(codec)
    return ENCODINGS_TO_CODES[codec] + text.encode(codec)
