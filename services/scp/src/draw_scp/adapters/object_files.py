"""Stored objects as what C-STORE sub-operations send."""

import os
from collections.abc import Callable
from pathlib import Path
from struct import Struct
from typing import Final

from draw_scp.adapters.transcoder import transcoded
from draw_scp.models import StoredInstance
from draw_shared.dicom import part10
from draw_shared.dicom.scan import Undecodable
from draw_shared.dicom.service import StoredFile
from draw_shared.errors import DrawError, Permanent

GROUP_LENGTH: Final = Struct("<HH2sHI")
"""(0002,0000), the first element behind the prefix, as all who follow PS3.10 7.1 write it."""
PREFIX_BYTES: Final = len(part10.PREAMBLE)


class NotReadable(Permanent):
    """The file of an object is missing, unreadable or damaged."""


class ObjectFiles:
    """Opens objects by their path in the index."""

    def __init__(self, resolve: Callable[[str], Path]) -> None:
        self._resolve = resolve

    def stored(self, instance: StoredInstance) -> StoredFile:
        """Return the object as it lies.

        Raises:
            NotReadable: it does not lie there, or is no Part 10 file.
        """
        try:
            path = str(self._resolve(instance.path))
            offset = _data_set_offset(path)
        except (OSError, DrawError) as error:
            raise NotReadable(type(error).__name__) from error
        return StoredFile(path, offset, instance.sop_class_uid, instance.sop_instance_uid)

    def transcoded(self, instance: StoredInstance, transfer_syntax_uid: str) -> bytes:
        """Return the object's data set in an uncompressed transfer syntax.

        Raises:
            NotReadable, Untranscodable: it cannot be had in this transfer syntax.
        """
        try:
            return transcoded(self._resolve(instance.path), transfer_syntax_uid)
        except OSError as error:
            raise NotReadable(type(error).__name__) from error


def _data_set_offset(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = os.pread(descriptor, PREFIX_BYTES + GROUP_LENGTH.size, 0)
        if len(head) == PREFIX_BYTES + GROUP_LENGTH.size and head[128:132] == b"DICM":
            group, element, vr, size, length = GROUP_LENGTH.unpack_from(head, PREFIX_BYTES)
            if (group, element, vr, size) == (2, 0, b"UL", 4):
                end: int = PREFIX_BYTES + GROUP_LENGTH.size + length
                return end
        return part10.decode(os.pread(descriptor, part10.LONGEST_META, 0))[1]
    except Undecodable as error:
        raise NotReadable("no Part 10 file") from error
    finally:
        os.close(descriptor)
