"""Turns a stored object into an uncompressed transfer syntax (PS3.5 10.1, A.1 to A.4)."""

import threading
from pathlib import Path
from typing import Final

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from draw_shared.errors import Permanent

WORD_BYTES: Final = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
"""VRs whose words follow the byte order of the transfer syntax (PS3.5 7.3)."""

# Decoded pixels are in memory as a whole: few objects at the same time.
_AT_ONCE: Final = threading.BoundedSemaphore(2)


class Untranscodable(Permanent):
    """There is no decoder for the object, or it is damaged."""


def transcoded(path: Path, transfer_syntax_uid: str) -> bytes:
    """Return the data set of a Part 10 file in another, uncompressed transfer syntax.

    Raises:
        Untranscodable: it cannot be decoded.
        OSError: the file cannot be read.
    """
    with _AT_ONCE:
        try:
            return _encoded(_decoded(path), UID(transfer_syntax_uid))
        except OSError:
            raise
        except Exception as error:
            # pydicom and its decoders raise whatever they stumble over.
            raise Untranscodable(f"cannot be transcoded: {type(error).__name__}") from error


def _decoded(path: Path) -> Dataset:
    held = pydicom.dcmread(path)
    if held.file_meta.TransferSyntaxUID.is_compressed and "PixelData" in held:
        held.decompress(generate_instance_uid=False)
    return held


def _encoded(held: Dataset, target: UID) -> bytes:
    source = held.file_meta.TransferSyntaxUID
    if source.is_little_endian != target.is_little_endian:
        _swap_words(held)
    out = DicomBytesIO()
    out.is_implicit_VR = target.is_implicit_VR
    out.is_little_endian = target.is_little_endian
    write_dataset(out, held)
    return out.getvalue()


def _swap_words(held: Dataset) -> None:
    """Turn the byte order of values that pydicom keeps as bytes."""
    for element in held.iterall():
        vr = str(element.VR)
        if vr == "OB or OW":
            vr = "OW" if held.get("BitsAllocated", 8) > 8 else "OB"  # noqa: PLR2004 - PS3.5 8.1
        width = WORD_BYTES.get(vr)
        if width and isinstance(element.value, bytes):
            element.value = np.frombuffer(element.value, dtype=f"u{width}").byteswap().tobytes()
