"""Reads the index's attributes from a stored file, in bounded memory and without pixel data.

Runs in the reading processes (see `reader_process`). Text is decoded by the data set's character
sets (PS3.5 6.1), stripped of padding and of what PostgreSQL cannot store, and truncated at lengths
that no valid value reaches. Unreadable values are left out: an acknowledged object is indexed with
its legible values.
"""

import hashlib
import mmap
import os
from itertools import islice
from typing import Any, Final, NamedTuple

from draw_shared.dicom.encoding import dictionary, part10
from draw_shared.dicom.encoding.characters import TEXT_VRS, CharacterSet, character_set, distinct
from draw_shared.dicom.encoding.code_extensions import ESCAPE
from draw_shared.dicom.encoding.data_set import gather
from draw_shared.dicom.encoding.flaws import Flaw, Flaws
from draw_shared.dicom.encoding.scan import Scanner
from draw_shared.dicom.encoding.walk import Gathered, Undecodable, WalkEnd
from draw_shared.dicom.query import keys
from draw_shared.dicom.query.keys import IndexedAttribute, Level
from draw_shared.dicom.query.matching import WHOLE_TEXT_VRS
from draw_shared.storage.identification import REQUIRED

Document = dict[str, Any]

FIRST_BYTES: Final = 16 * 1024
"""One read of this size contains the header of nearly every image."""
MAX_BYTES: Final = 64 * 1024 * 1024
"""Nothing behind this offset is read."""

CHARACTER_SET: Final = 0x00080005
REQUESTS: Final = 0x00400275
PIXEL_LEVEL_GROUPS: Final = 0x30000000
REQUEST_TAGS: Final = {
    dictionary.tag_of(keyword) or 0: keyword for keyword in keys.REQUEST_ATTRIBUTE_KEYWORDS
}
WANTED: Final = frozenset((*keys.BY_TAG, CHARACTER_SET, REQUESTS))
WANTED_OF_REQUESTS: Final = frozenset((*REQUEST_TAGS, CHARACTER_SET))
REQUIRED_FOR_INDEX: Final = REQUIRED | {
    keys.BY_KEYWORD["PatientID"].tag,
    keys.BY_KEYWORD["PatientName"].tag,
}
"""These are searched for to the end of the data set: nearly every object has them."""
MAX_REQUESTS: Final = 32

RADIOTHERAPY: Final = "1.2.840.10008.5.1.4.1.1.481."
LAST_OF_CLASS: Final = {
    f"{RADIOTHERAPY}2": 0x3004000A,  # RT Dose
    f"{RADIOTHERAPY}3": 0x30060009,  # RT Structure Set: contours follow, often very many
}
LAST: Final = max(tag for tag in keys.BY_TAG if tag < PIXEL_LEVEL_GROUPS)
LAST_OF_PLANS: Final = max(keys.BY_TAG)

NUMBER_VRS: Final = frozenset({"US"})

MAX_LENGTHS: Final = {
    "CS": 64,
    "UI": 64,
    "AS": 16,
    "DA": 64,
    "TM": 64,
    "IS": 64,
    "DS": 64,
    "PN": 512,
}
MAX_SHORT_LENGTH: Final = 256
MAX_TEXT_LENGTH: Final = 10240
MAX_ENCODED_BYTES: Final = 8 * MAX_TEXT_LENGTH
"""The maximum bytes of a value to decode; escape sequences make decoding expensive."""
HASH_CHARACTERS: Final = 16
MAX_VALUES: Final = 64
"""Values of one element; further ones are cut off like text that is too long."""


class _HeaderRead(NamedTuple):
    """One reading of a header."""

    descriptor: int
    offset: int
    """Where the data set begins."""
    transfer_syntax_uid: str
    last: int
    """The last wanted tag, if the data set is in order."""

    def gather(self, head: bytes, *, whole: bool) -> tuple[Scanner, Gathered]:
        """Return the elements found, from the head of the file if that suffices."""
        data = memoryview(head)[self.offset :]
        scanner, found = self._scan(data, REQUIRED_FOR_INDEX, whole=whole)
        if found.ending is not WalkEnd.PASSED and not whole:
            data, whole = self._map()
            scanner, found = self._scan(data, REQUIRED_FOR_INDEX, whole=whole)
        if Flaw.ORDER in found.flaws and found.ending is WalkEnd.PASSED:
            # A missing element may be at the end.
            data, whole = self._map()
            scanner, found = self._scan(data, WANTED, whole=whole)
        return scanner, found

    def _scan(
        self, data: memoryview, required: frozenset[int], *, whole: bool
    ) -> tuple[Scanner, Gathered]:
        return gather(
            data, self.transfer_syntax_uid, WANTED, last=self.last, required=required, whole=whole
        )

    def _map(self) -> tuple[memoryview, bool]:
        """Return the data set as far as it is read, and whether that is all of it."""
        size = os.fstat(self.descriptor).st_size
        length = min(size, MAX_BYTES)
        held = mmap.mmap(self.descriptor, length, access=mmap.ACCESS_READ)
        return memoryview(held)[self.offset :], length == size


class HeaderReader:
    """Reads headers; keep one for many files, because it decodes shared values once.

    If two files have the same level document, both results contain the same object.
    """

    def __init__(self) -> None:
        self._sets: dict[bytes, CharacterSet] = {}
        self._levels: dict[tuple[bytes | None, ...], Document] = {}

    def forget(self) -> None:
        """Drop the documents kept from earlier files."""
        self._sets.clear()
        self._levels.clear()

    def read(self, path: str) -> tuple[Document, Document, Document, Document, Flaws]:
        """Return the documents of the four levels, and the flaws in the header.

        Raises:
            OSError: the file cannot be read.
            Undecodable: it is no Part 10 file.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return self._read(descriptor)
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int) -> tuple[Document, Document, Document, Document, Flaws]:
        head = os.read(descriptor, FIRST_BYTES)
        whole = len(head) < FIRST_BYTES
        try:
            meta, offset = part10.decode(head)
        except Undecodable:
            if whole:
                raise
            head = os.pread(descriptor, part10.MAX_META_BYTES + part10.META_START, 0)
            meta, offset = part10.decode(head)
        read = _HeaderRead(
            descriptor, offset, meta.transfer_syntax_uid, _last_of(meta.sop_class_uid)
        )
        scanner, gathered = read.gather(head, whole=whole)
        found = gathered.values
        patient, study, series = (
            self._read_level(level, scanner, found)
            for level in (Level.PATIENT, Level.STUDY, Level.SERIES)
        )
        image = self._decode(Level.IMAGE, scanner, found)
        return patient, study, series, image, gathered.flaws

    def _read_level(self, level: Level, scanner: Scanner, found: dict[int, bytes]) -> Document:
        """Return a level's document; the same object for the same raw values."""
        # The scanner's identity distinguishes byte orders.
        raw = (bytes((level,)), str(id(scanner)).encode(), *map(found.get, TAGS[level]))
        known = self._levels.get(raw)
        if known is None:
            known = self._levels[raw] = self._decode(level, scanner, found)
        return known

    def _decode(self, level: Level, scanner: Scanner, found: dict[int, bytes]) -> Document:
        characters = self._character_set(found.get(CHARACTER_SET, b""))
        document: Document = {}
        for attribute in OF_LEVEL[level]:
            raw = found.get(attribute.tag)
            if raw and (text := _decode_text(attribute, raw, characters, scanner)):
                document[attribute.keyword] = text
        if level is Level.SERIES and REQUESTS in found:
            requests = self._read_requests(scanner, found[REQUESTS], characters)
            if requests:
                document[keys.REQUEST_ATTRIBUTES] = requests
        return document

    def _read_requests(
        self, scanner: Scanner, raw: bytes, characters: CharacterSet
    ) -> list[Document]:
        documents: list[Document] = []
        try:
            for item in islice(scanner.items(raw, WANTED_OF_REQUESTS), MAX_REQUESTS):
                own = item.get(CHARACTER_SET)
                held = self._character_set(own) if own else characters
                document = {
                    keyword: text
                    for tag, keyword in REQUEST_TAGS.items()
                    if tag in item and (text := _decode_text(REQUEST_TEXT[tag], item[tag], held))
                }
                if document:
                    documents.append(document)
        except Undecodable:
            # The items read so far are still valid.
            return documents
        return documents

    def _character_set(self, raw: bytes) -> CharacterSet:
        known = self._sets.get(raw)
        if known is None:
            known = self._sets[raw] = character_set(raw)
        return known


OF_LEVEL: Final[dict[Level, tuple[IndexedAttribute, ...]]] = {
    level: keys.of_level(level) for level in Level
}
TAGS: Final = {
    level: (
        CHARACTER_SET,
        *((REQUESTS,) if level is Level.SERIES else ()),
        *(attribute.tag for attribute in attributes),
    )
    for level, attributes in OF_LEVEL.items()
}
REQUEST_TEXT: Final = {
    tag: IndexedAttribute(keyword, tag, dictionary.vr_of(tag), Level.SERIES)
    for tag, keyword in REQUEST_TAGS.items()
}


def _last_of(sop_class_uid: str) -> int:
    """Return the last tag worth reading; what follows may be large."""
    if not sop_class_uid.startswith(RADIOTHERAPY):
        return LAST
    return LAST_OF_CLASS.get(sop_class_uid, LAST_OF_PLANS)


def _decode_text(
    attribute: IndexedAttribute,
    raw: bytes,
    characters: CharacterSet,
    scanner: Scanner | None = None,
) -> str:
    """Return a value as text; empty when there is none."""
    vr = attribute.vr
    if vr in NUMBER_VRS and scanner is not None:
        return "\\".join(map(str, scanner.numbers(raw[: 2 * MAX_VALUES])))
    if raw.isascii() and ESCAPE not in raw:
        text = raw.decode("ascii")
    elif vr in TEXT_VRS:
        text = characters.read(raw[:MAX_ENCODED_BYTES], vr)
        if attribute.keyword in keys.IDENTIFIERS:
            text = distinct(text, raw)
    else:
        text = raw.decode("ascii", "replace")
    if "\0" in text:
        text = text.replace("\0", "")
    if vr in WHOLE_TEXT_VRS:
        return text.rstrip()[:MAX_TEXT_LENGTH]
    if "\\" in text:
        values = text.split("\\", MAX_VALUES)[:MAX_VALUES]
        text = "\\".join(value.strip() for value in values)
        return text[:MAX_TEXT_LENGTH] if text.strip("\\") else ""
    return _truncate(attribute, text.strip())


def _truncate(attribute: IndexedAttribute, text: str) -> str:
    longest = MAX_LENGTHS.get(attribute.vr, MAX_SHORT_LENGTH)
    if len(text) <= longest:
        return text
    if attribute.column and attribute.vr in {"LO", "SH"}:
        # Identifiers that differ must stay different; otherwise two patients become one.
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{text[: longest - HASH_CHARACTERS - 1]}~{digest[:HASH_CHARACTERS]}"
    return text[:longest]
