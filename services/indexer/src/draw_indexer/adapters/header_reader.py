"""Reads from a stored file what the index holds, in bounded memory and without pixel data.

Runs in the reading processes (see `reader_process`). Text is decoded by the data set's
character sets (PS3.5 6.1), freed of padding and of what PostgreSQL cannot hold, and cut at
lengths that no valid value reaches. What cannot be understood is left out: an object that
was acknowledged is indexed with what it says legibly.
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
"""Enough for the header of nearly every image; one read."""
MOST_BYTES: Final = 64 * 1024 * 1024
"""What lies behind is not looked for."""

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
"""What is looked for to the end of the data set: nearly every object has it."""
MOST_REQUESTS: Final = 32

RADIOTHERAPY: Final = "1.2.840.10008.5.1.4.1.1.481."
LAST_OF_CLASS: Final = {
    f"{RADIOTHERAPY}2": 0x3004000A,  # RT Dose
    f"{RADIOTHERAPY}3": 0x30060009,  # RT Structure Set: contours follow, often very many
}
LAST: Final = max(tag for tag in keys.BY_TAG if tag < PIXEL_LEVEL_GROUPS)
LAST_OF_PLANS: Final = max(keys.BY_TAG)

NUMBER_VRS: Final = frozenset({"US"})

LONGEST: Final = {"CS": 64, "UI": 64, "AS": 16, "DA": 64, "TM": 64, "IS": 64, "DS": 64, "PN": 512}
LONGEST_SHORT: Final = 256
LONGEST_TEXT: Final = 10240
MOST_ENCODED: Final = 8 * LONGEST_TEXT
"""Bytes of a value that are decoded; escape sequences make that dear."""
HASH_CHARACTERS: Final = 16
MOST_VALUES: Final = 64
"""Of one element; more are cut off like text that is too long."""


class _Read(NamedTuple):
    """One reading of a header."""

    descriptor: int
    offset: int
    """Where the data set begins."""
    transfer_syntax_uid: str
    last: int
    """Where the last element stands that is wanted, in a data set that is in order."""

    def gathered(self, head: bytes, *, whole: bool) -> tuple[Scanner, Gathered]:
        """Return what was found, in the head of the file if that is enough."""
        data = memoryview(head)[self.offset :]
        scanner, found = self._gathered(data, REQUIRED_FOR_INDEX, whole=whole)
        if found.ending is not WalkEnd.PASSED and not whole:
            data, whole = self._mapped()
            scanner, found = self._gathered(data, REQUIRED_FOR_INDEX, whole=whole)
        if Flaw.ORDER in found.flaws and found.ending is WalkEnd.PASSED:
            # What is not there yet may stand at the end.
            data, whole = self._mapped()
            scanner, found = self._gathered(data, WANTED, whole=whole)
        return scanner, found

    def _gathered(
        self, data: memoryview, required: frozenset[int], *, whole: bool
    ) -> tuple[Scanner, Gathered]:
        return gather(
            data, self.transfer_syntax_uid, WANTED, last=self.last, required=required, whole=whole
        )

    def _mapped(self) -> tuple[memoryview, bool]:
        """Return the data set as far as it is looked at, and whether that is all of it."""
        size = os.fstat(self.descriptor).st_size
        length = min(size, MOST_BYTES)
        held = mmap.mmap(self.descriptor, length, access=mmap.ACCESS_READ)
        return memoryview(held)[self.offset :], length == size


class HeaderReader:
    """Reads headers; one object for many files, because what they share is decoded once.

    Level documents that two files have in common are the same object in both results.
    """

    def __init__(self) -> None:
        self._sets: dict[bytes, CharacterSet] = {}
        self._levels: dict[tuple[bytes | None, ...], Document] = {}

    def forget(self) -> None:
        """Let go of what earlier files had in common."""
        self._sets.clear()
        self._levels.clear()

    def read(self, path: str) -> tuple[Document, Document, Document, Document, Flaws]:
        """Return the documents of the four levels, and what the header was read past.

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
        read = _Read(descriptor, offset, meta.transfer_syntax_uid, _last_of(meta.sop_class_uid))
        scanner, gathered = read.gathered(head, whole=whole)
        found = gathered.values
        patient, study, series = (
            self._level(level, scanner, found)
            for level in (Level.PATIENT, Level.STUDY, Level.SERIES)
        )
        image = self._decoded(Level.IMAGE, scanner, found)
        return patient, study, series, image, gathered.flaws

    def _level(self, level: Level, scanner: Scanner, found: dict[int, bytes]) -> Document:
        """Return the document of a level, the same one for the same raw values."""
        # The scanner's identity tells byte orders apart.
        raw = (bytes((level,)), str(id(scanner)).encode(), *map(found.get, TAGS[level]))
        known = self._levels.get(raw)
        if known is None:
            known = self._levels[raw] = self._decoded(level, scanner, found)
        return known

    def _decoded(self, level: Level, scanner: Scanner, found: dict[int, bytes]) -> Document:
        characters = self._set_of(found.get(CHARACTER_SET, b""))
        document: Document = {}
        for attribute in OF_LEVEL[level]:
            raw = found.get(attribute.tag)
            if raw and (text := _text(attribute, raw, characters, scanner)):
                document[attribute.keyword] = text
        if level is Level.SERIES and REQUESTS in found:
            requests = self._requests(scanner, found[REQUESTS], characters)
            if requests:
                document[keys.REQUEST_ATTRIBUTES] = requests
        return document

    def _requests(self, scanner: Scanner, raw: bytes, characters: CharacterSet) -> list[Document]:
        documents: list[Document] = []
        try:
            for item in islice(scanner.items(raw, WANTED_OF_REQUESTS), MOST_REQUESTS):
                own = item.get(CHARACTER_SET)
                held = self._set_of(own) if own else characters
                document = {
                    keyword: text
                    for tag, keyword in REQUEST_TAGS.items()
                    if tag in item and (text := _text(REQUEST_TEXT[tag], item[tag], held))
                }
                if document:
                    documents.append(document)
        except Undecodable:
            # What could be read of it is still right.
            return documents
        return documents

    def _set_of(self, raw: bytes) -> CharacterSet:
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


def _text(
    attribute: IndexedAttribute,
    raw: bytes,
    characters: CharacterSet,
    scanner: Scanner | None = None,
) -> str:
    """Return a value as text; empty when there is none."""
    vr = attribute.vr
    if vr in NUMBER_VRS and scanner is not None:
        return "\\".join(map(str, scanner.numbers(raw[: 2 * MOST_VALUES])))
    if raw.isascii() and ESCAPE not in raw:
        text = raw.decode("ascii")
    elif vr in TEXT_VRS:
        text = characters.read(raw[:MOST_ENCODED], vr)
        if attribute.keyword in keys.IDENTIFIERS:
            text = distinct(text, raw)
    else:
        text = raw.decode("ascii", "replace")
    if "\0" in text:
        text = text.replace("\0", "")
    if vr in WHOLE_TEXT_VRS:
        return text.rstrip()[:LONGEST_TEXT]
    if "\\" in text:
        values = text.split("\\", MOST_VALUES)[:MOST_VALUES]
        text = "\\".join(value.strip() for value in values)
        return text[:LONGEST_TEXT] if text.strip("\\") else ""
    return _bounded(attribute, text.strip())


def _bounded(attribute: IndexedAttribute, text: str) -> str:
    longest = LONGEST.get(attribute.vr, LONGEST_SHORT)
    if len(text) <= longest:
        return text
    if attribute.column and attribute.vr in {"LO", "SH"}:
        # Two identifiers that differ must stay different, or two patients become one.
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{text[: longest - HASH_CHARACTERS - 1]}~{digest[:HASH_CHARACTERS]}"
    return text[:longest]
