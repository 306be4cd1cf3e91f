"""Opens stored objects for C-STORE sub-operations."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from typing_extensions import override

from draw_scp.models import StoredInstance
from draw_scp.ports.retrieve import RenditionSource
from draw_shared.dicom.encoding import part10
from draw_shared.dicom.network.renditions import Rendition, renditions
from draw_shared.dicom.network.service import Sendable, StoredDataSet
from draw_shared.dicom.transcoding.transcoder import Transcoder
from draw_shared.errors import DrawError, Permanent
from draw_shared.wording import message

MAX_LOADED_BYTES: Final = 4 * 1024 * 1024
"""Files up to this size are read at once; larger ones are sent from the file."""


class NotReadable(Permanent):
    """The file of an object is missing, unreadable or damaged."""


class ObjectFiles(RenditionSource):
    """Opens objects by their path in the index."""

    def __init__(self, resolve: Callable[[str], Path], transcoder: Transcoder) -> None:
        self._resolve = resolve
        self._transcoder = transcoder

    @override
    def renditions(
        self, instance: StoredInstance, takes: Callable[[str], bool]
    ) -> Iterator[Rendition]:
        return renditions(
            self._resolve(instance.path),
            instance.transfer_syntax_uid,
            lambda: self.stored(instance),
            takes,
            self._transcoder,
        )

    def stored(self, instance: StoredInstance) -> Sendable:
        """Return the stored object, in memory unless it is large.

        Raises:
            NotReadable: the file is missing, unreadable or not a Part 10 file.
        """
        try:
            path = str(self._resolve(instance.path))
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                size = os.fstat(descriptor).st_size
                small = size <= MAX_LOADED_BYTES
                head = os.pread(descriptor, size if small else part10.MAX_META_BYTES, 0)
            finally:
                os.close(descriptor)
            offset = part10.data_set_offset(memoryview(head))
        except (OSError, DrawError) as error:
            raise NotReadable(
                message("its file cannot be read: %(error)s", error=type(error).__name__)
            ) from error
        if small:
            return memoryview(head)[offset:]
        return StoredDataSet(path, offset, instance.sop_class_uid, instance.sop_instance_uid)
