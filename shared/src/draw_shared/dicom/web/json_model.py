"""The metadata of stored objects in the DICOM JSON Model, straight from their bytes (PS3.18 F.2).

The document equals `pydicom.Dataset.to_json_dict()` of the same file, but for this:

- Group lengths are left out, and so is what devices leave of groups 0000 and 0002 (F.2.2).
- Attributes are in ascending order and unique; the first of several counts.
- An empty sequence has no `Value` (F.2.5), and an empty one of several values is null.
- A person name has only the component groups that are not empty, at most three of them.
- A DS keeps its digits (`1.50`, not `1.5`). An IS, DS, FL or FD that JSON has no number for is a
  string: text as it is written, `NaN`, `Infinity`, `-Infinity`.
- A value of LT, ST, UT or UR is one value, whatever backslashes it contains.
- Text that is invalid in its character set is read by `draw_shared.dicom.encoding.characters`.
  Bytes beyond ASCII in VRs without character set are read as UTF-8 if they are that.
- InlineBinary is in little endian (PS3.18 F.2.7), whatever the file is in.
- What becomes bulk data is decided by the length of the value, not by that of its text in Base64.
  Pixel Data always become bulk data.
- Of several possible VRs, the one is chosen that the transcoder writes. Elements of VR UN are read
  as the dictionary says, also in items and in private blocks of known creators.
- What remains of a damaged data set is written, and `complete` is false.
"""

import os
from typing import Final, NamedTuple

from draw_shared.dicom.encoding.element_forms import PIXEL_DATA
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.dicom.web.element_texts import ElementTexts
from draw_shared.dicom.web.object_json import BulkUri, BulkValue, DataSetJson, Found, join_members
from draw_shared.dicom.web.opened_file import HEAD_BYTES, OpenedFile, StoredImage
from draw_shared.dicom.web.regular_json import Irregular, RegularReading
from draw_shared.wording import message

FIRST_BYTES: Final = 16 * 1024
PAGE_BYTES: Final = 4096
MAX_SERIES_BYTES: Final = 256 * 1024 * 1024
"""Largest document of a series."""


class ObjectMetadata(NamedTuple):
    """What a stored object says of itself."""

    document: bytes
    """A JSON object, in UTF-8."""
    bulk: tuple[BulkValue, ...]
    """The values that are bulk data."""
    image: StoredImage
    """What it says of its frames, for `frame_tables`."""
    complete: bool
    """Whether the data set could be read to its end."""


class SeriesMetadata:
    """Collects the metadata of a series, object by object.

    Not for several threads at once.
    """

    def __init__(self) -> None:
        self._texts = ElementTexts()
        self._ahead = FIRST_BYTES
        self._documents: list[bytes] = []
        self._size = 2

    def add(self, descriptor: int, uri: BulkUri) -> ObjectMetadata:
        """Read the object in a file, and add it.

        Args:
            descriptor: of the file.
            uri: returns the URI of a bulk value by its path.

        Raises:
            Undecodable: it cannot be read at all, or exceeds a limit.
            OSError: the file cannot be read.
        """
        metadata = self.read(descriptor, uri)
        self._size += len(metadata.document) + 1
        if self._size > MAX_SERIES_BYTES:
            raise Undecodable(message("the metadata of the series are too long"))
        self._documents.append(metadata.document)
        return metadata

    def read(self, descriptor: int, uri: BulkUri) -> ObjectMetadata:
        """Read the object in a file without adding it; see `add`."""
        head = os.pread(descriptor, self._ahead, 0)
        opened = OpenedFile.open(descriptor, head)
        image = StoredImage(opened.transfer_syntax_uid)
        try:
            found = Found(uri, image)
            reading = RegularReading(opened, found, self._texts)
            members = reading.members(head, 0, opened.offset)
        except Irregular:
            return read_irregular(opened, uri)
        place = image.places.get(PIXEL_DATA)
        if place is not None:
            # The others of the series will have theirs at about the same place.
            ahead = (place.position // PAGE_BYTES + 1) * PAGE_BYTES
            self._ahead = max(FIRST_BYTES, min(ahead, HEAD_BYTES))
        document = b"{" + b",".join(members) + b"}"
        return ObjectMetadata(document, tuple(found.bulk), image, complete=True)

    def document(self) -> bytes:
        """Return the metadata of all objects that were added, as one JSON array."""
        return b"[" + b",".join(self._documents) + b"]"


def read_metadata(descriptor: int, uri: BulkUri) -> ObjectMetadata:
    """Return the metadata of one object; see `SeriesMetadata.add`."""
    return SeriesMetadata().read(descriptor, uri)


def read_irregular(opened: OpenedFile, uri: BulkUri) -> ObjectMetadata:
    """Return the metadata of an object with flaws, or with another encoding than most.

    Of an object without, they are the same as from `SeriesMetadata`.

    Raises:
        Undecodable: it cannot be read at all, or exceeds a limit.
        OSError: the file cannot be read.
    """
    big = opened.written.encoding.big
    image = StoredImage(opened.transfer_syntax_uid, big, opened.deflated)
    found = Found(uri, image)
    data_set = DataSetJson(opened.source, opened.written, opened.base, found)
    members = data_set.members()
    if not members and not found.complete:
        raise Undecodable(message("nothing of the data set can be read"))
    return ObjectMetadata(join_members(members), tuple(found.bulk), image, found.complete)
