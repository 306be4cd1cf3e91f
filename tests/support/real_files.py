"""Real DICOM files: all that the packages carry which the tests can install.

Two files of one SOP Instance UID are two objects where their data sets differ: the later one
gets a UID of its own, of the same length, and is else as it lies in its package.
"""

import importlib.util
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.multival import MultiValue

from draw_shared.dicom.encoding.uids import (
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
)
from support.data_set_tree import FORMS_OF_32_BITS

PACKAGES = {"pydicom": "pydicom", "pydicom-data": "data_store", "pynetdicom": "pynetdicom",
            "nibabel": "nibabel"}  # fmt: skip
"""Packages that carry DICOM files, and the module that each installs."""
DIRECTORIES = "1.2.840.10008.1.3.10"
"""SOP class of DICOMDIR, which is a file's own and is not sent (PS3.4 I)."""
TEXTS = ("SpecificCharacterSet", "PatientID", "PatientName")
FIRST_GROUPS = {b"\x08\x00", b"\x00\x08", b"\x02\x00"}


class Real(NamedTuple):
    """One file."""

    name: str
    """Package and file name."""
    syntax: str
    data: bytes
    """The data set as it lies in the file."""
    held: pydicom.Dataset
    """As pydicom reads it, without pixel data; maybe not to its end."""
    texts: dict[str, bytes]
    """Character set, Patient ID and name, as bytes."""

    @property
    def sop_class(self) -> str:
        """Return the SOP class, of the file meta group when the data set says none."""
        return self._uid("SOPClassUID", "MediaStorageSOPClassUID")

    @property
    def instance(self) -> str:
        """Return the SOP instance, of the file meta group when the data set says none."""
        return self._uid("SOPInstanceUID", "MediaStorageSOPInstanceUID")

    @property
    def study(self) -> str:
        """Return the study."""
        return str(self.held.get("StudyInstanceUID") or "")

    @property
    def series(self) -> str:
        """Return the series."""
        return str(self.held.get("SeriesInstanceUID") or "")

    def _uid(self, keyword: str, in_meta: str) -> str:
        return str(self.held.get(keyword) or self.held.file_meta.get(in_meta) or "")


def real_files() -> list[Real]:
    """Return every DICOM file of the packages once, but for DICOMDIRs."""
    found: dict[bytes, Real] = {}
    used: set[str] = set()
    for package, module in PACKAGES.items():
        for path in _files_of(module):
            real = _read(package, path)
            if real is None or real.data in found or real.sop_class == DIRECTORIES:
                continue
            if real.instance in used and "SOPInstanceUID" in real.held:
                real = _as_another(real, len(used))
            used.add(real.instance)
            found[real.data] = real
    return list(found.values())


def _files_of(module: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(module)
    assert spec is not None, module
    for folder in spec.submodule_search_locations or ():
        yield from (path for path in sorted(Path(folder).rglob("*")) if path.is_file())


def _read(package: str, path: Path) -> Real | None:
    raw = path.read_bytes()
    with_meta = raw[128:132] == b"DICM"
    if not with_meta and not (path.suffix == ".dcm" and raw[:2] in FIRST_GROUPS):
        return None
    at, syntax = _meta_end(raw, 132 if with_meta else 0)
    data = raw[at:]
    held = _understood(raw, with_meta=with_meta)
    texts = {keyword: _bytes_of(held, keyword) for keyword in TEXTS}
    return Real(f"{package}/{path.name}", syntax or _syntax_of(data), data, held, texts)


def _meta_end(raw: bytes, at: int) -> tuple[int, str]:
    """Return where the file meta group ends, element by element, and the transfer syntax."""
    syntax = ""
    while raw[at : at + 2] == b"\2\0":
        vr = raw[at + 4 : at + 6].decode("latin-1")
        long = vr in FORMS_OF_32_BITS
        start = at + (12 if long else 8)
        length = int.from_bytes(raw[at + 8 : at + 12] if long else raw[at + 6 : at + 8], "little")
        if raw[at + 2 : at + 4] == b"\x10\0":
            syntax = raw[start : start + length].decode("ascii").strip("\0 ")
        at = start + length
    return at, syntax


def _syntax_of(data: bytes) -> str:
    """Return the transfer syntax of a data set without file meta group."""
    if data[:2] == b"\x00\x08":
        return EXPLICIT_BIG
    return EXPLICIT_LITTLE if data[4:6].isalpha() else IMPLICIT_LITTLE


def _understood(raw: bytes, *, with_meta: bool) -> pydicom.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(DicomBytesIO(raw), force=not with_meta, stop_before_pixels=True)


def _bytes_of(held: pydicom.Dataset, keyword: str) -> bytes:
    if keyword not in held:
        return b""
    element = held.get_item(keyword)
    if isinstance(element, RawDataElement):
        return element.value or b""
    values = element.value if isinstance(element.value, MultiValue) else [element.value]
    return "\\".join(map(str, values)).encode("ascii")


def _as_another(real: Real, number: int) -> Real:
    old = real.instance
    new = old[:-6] + f"9{number:05}"
    plain = real.data
    if real.syntax == DEFLATED_LITTLE:
        plain = zlib.decompress(plain, -zlib.MAX_WBITS)
    assert old.encode() in plain, real.name
    # (0008,0018) comes before what refers to the object.
    changed = plain.replace(old.encode(), new.encode(), 1)
    if real.syntax == DEFLATED_LITTLE:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        changed = deflater.compress(changed) + deflater.flush()
    real.held.SOPInstanceUID = new
    return real._replace(data=changed)
