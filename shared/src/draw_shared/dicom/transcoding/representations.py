"""Determines the VR of elements that are written without one (PS3.5 A, PS3.6 notes)."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from draw_shared.dicom.encoding import dictionary
from draw_shared.dicom.encoding.vrs import KNOWN_VRS

UNKNOWN: Final = b"UN"
MAX_CACHED_ENTRIES: Final = 8192
CREATORS: Final = range(0x10, 0x100)
"""Elements of an odd group that reserve a block (PS3.5 7.8.1)."""
_WORDS: Final = 8
"""Samples of more bits than this have values of words."""


@lru_cache(MAX_CACHED_ENTRIES)
def public(tag: int) -> bytes:
    """Return the VR of a public element; all possible ones if there are several."""
    if tag & 0xFFFF == 0:
        return b"UL"
    try:
        return dictionary.vr_of(tag).encode()
    except KeyError:
        return UNKNOWN


@lru_cache(MAX_CACHED_ENTRIES)
def private(tag: int, creator: str) -> bytes:
    """Return the VR of a private element as its creator is known to use it."""
    try:
        return dictionary.private_vr_of(tag, creator).encode()
    except KeyError:
        return UNKNOWN


def listed(tag: int, creators: Mapping[int, str]) -> bytes:
    """Return the VR from the dictionaries; `creators` are those of the element's data set.

    The keys of `creators` are the tags of the elements that reserve the blocks.
    """
    group, element = tag >> 16, tag & 0xFFFF
    if not group & 1:
        return public(tag)
    if element in CREATORS:
        return b"LO"
    if element == 0:
        return b"UL"
    creator = creators.get(group << 16 | element >> 8)
    return UNKNOWN if creator is None else private(tag, creator)


def choose_vr(tag: int, words: bytes, *, signed: bool, waveform_bits: int) -> bytes:
    """Choose the VR to write; of several possible ones, the one that DCMTK chooses.

    Args:
        tag: the element.
        words: its VR, or the entry of the dictionary, as `US or SS`.
        signed: Pixel Representation of the data set or of the nearest one around it.
        waveform_bits: Waveform Bits Allocated, or 0.
    """
    if b" or " not in words:
        return words if words in KNOWN_VRS else UNKNOWN
    if words == b"US or SS":
        return b"SS" if signed else b"US"
    if words in {b"US or OW", b"US or SS or OW"}:
        return b"OW"
    group = tag >> 16
    if group == _PIXELS or group & 0xFF00 == _OVERLAYS:
        return b"OW"
    if group == _WAVEFORMS and waveform_bits > _WORDS:
        return b"OW"
    return b"OB"


_PIXELS: Final = 0x7FE0
_OVERLAYS: Final = 0x6000
_WAVEFORMS: Final = 0x5400
