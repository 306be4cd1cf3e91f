"""The dictionary of PS3.6 from pydicom: public and private attributes, registered UIDs.

`import pydicom` loads NumPy, every codec and code that downloads test files, and takes longer than
the rest of a process's start. The modules with the tables import nothing. They are loaded here on
their own, so that a lookup does not wait for the library (decision 44).
"""

from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final, NamedTuple

GROUP_BITS: Final = 16
BLOCK_MASK: Final = 0xFF


class Entry(NamedTuple):
    """The dictionary's entry for one attribute."""

    vr: str
    """All possible ones if there are several, as `US or SS`."""
    multiplicity: str
    name: str
    retired: str
    keyword: str


class RegisteredUid(NamedTuple):
    """The entry of PS3.6 A for one UID."""

    name: str
    kind: str
    remark: str
    retired: str
    keyword: str


LATER_SYNTAXES: Final = {
    uid: RegisteredUid(name, "Transfer Syntax", "", "", keyword)
    for uid, name, keyword in (
        ("1.2.840.10008.1.2.4.110", "JPEG XL Lossless", "JPEGXLLossless"),
        ("1.2.840.10008.1.2.4.111", "JPEG XL JPEG Recompression", "JPEGXLJPEGRecompression"),
        ("1.2.840.10008.1.2.4.112", "JPEG XL", "JPEGXL"),
        (
            "1.2.840.10008.1.2.8.1",
            "Deflated Image Frame Compression",
            "DeflatedImageFrameCompression",
        ),
    )
}
"""Transfer syntaxes of PS3.6 that pydicom does not contain yet."""


@cache
def _module(name: str) -> Any:  # noqa: ANN401 - a module that types know only by its own name
    package = find_spec("pydicom")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("pydicom is not installed")
    path = Path(package.submodule_search_locations[0]) / f"{name}.py"
    spec = spec_from_file_location(f"pydicom.{name}", path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"pydicom has no {name}")
    loaded = module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@cache
def _attributes() -> dict[int, tuple[str, str, str, str, str]]:
    found: dict[int, tuple[str, str, str, str, str]] = _module("_dicom_dict").DicomDictionary
    return found


@cache
def _repeating() -> list[tuple[int, int, Entry]]:
    """Return bit mask, value and entry of each repeating group (PS3.5 7.6)."""
    found = _module("_dicom_dict").RepeatersDictionary
    return [
        (
            int("".join("0" if digit == "x" else "F" for digit in pattern), 16),
            int(pattern.replace("x", "0"), 16),
            Entry(*entry),
        )
        for pattern, entry in found.items()
    ]


@cache
def _private() -> dict[str, dict[str, tuple[str, str, str, str]]]:
    found: dict[str, dict[str, tuple[str, str, str, str]]] = _module(
        "_private_dict"
    ).private_dictionaries
    return found


@cache
def _tags() -> dict[str, int]:
    return {entry[4]: tag for tag, entry in _attributes().items()}


def lists(tag: int) -> bool:
    """Return whether the dictionary contains a tag itself, not as one of a repeating group."""
    return tag in _attributes()


def entry_of(tag: int) -> Entry:
    """Return the dictionary's entry for a public attribute.

    Raises:
        KeyError: it is unknown, or private.
    """
    known = _attributes().get(tag)
    if known is not None:
        return Entry(*known)
    if not tag >> GROUP_BITS & 1:
        for mask, value, entry in _repeating():
            if tag & mask == value:
                return entry
    raise KeyError(f"{tag:08X} is not in the dictionary")


def vr_of(tag: int) -> str:
    """Return the VR of a public attribute.

    Raises:
            KeyError: it is unknown, or private.
    """
    return entry_of(tag).vr


def private_vr_of(tag: int, creator: str) -> str:
    """Return the VR of a private attribute as its creator is known to use it.

    Raises:
        KeyError: the creator or the attribute is unknown.
    """
    known = _private()[creator]
    group, element = f"{tag >> GROUP_BITS:04X}", f"{tag & 0xFFFF:04X}"
    block = f"{tag & BLOCK_MASK:02X}"
    for pattern in (f"{group}{element}", f"{group}xx{block}", f"{group[:2]}xxxx{block}"):
        if pattern in known:
            return known[pattern][0]
    raise KeyError(f"{tag:08X} of {creator!r} is not in the dictionary")


def tag_of(keyword: str) -> int | None:
    """Return the tag of a keyword, or None if there is no such keyword."""
    return _tags().get(keyword)


def entry_named(keyword: str) -> Entry:
    """Return the dictionary's entry for a keyword.

    Raises:
        KeyError: there is no such keyword.
    """
    return entry_of(_tags()[keyword])


@cache
def registered_uids() -> dict[str, RegisteredUid]:
    """Return every UID in PS3.6 A, including retired ones."""
    found = _module("_uid_dict").UID_dictionary
    return {uid: RegisteredUid(*entry) for uid, entry in found.items()} | LATER_SYNTAXES
