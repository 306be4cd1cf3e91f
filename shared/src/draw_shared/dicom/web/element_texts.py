"""Remembers the JSON of elements, within bounds, for all the objects of a series."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from draw_shared.dicom.encoding.characters import CharacterSet

MAX_REMEMBERED: Final = 20_000
"""Elements of one series whose text is remembered."""
MAX_REMEMBERED_BYTES: Final = 16 * 1024 * 1024
MAX_REMEMBERED_ELEMENT: Final = 256 * 1024
MAX_CONTEXTS: Final = 256
MAX_RUNS: Final = 128
TAG_BYTES: Final = 4


class ElementRun(NamedTuple):
    """Consecutive elements that were together in an object."""

    raw: bytes
    text: bytes
    first: int
    """Tag of the first one."""
    last: int
    is_open: bool
    """Whether what follows decides the form of the last one, which is empty."""
    image: tuple[tuple[int, bytes], ...]
    """Tags and values of those that describe the frames."""


class ReadingContext(NamedTuple):
    """What decides, besides its bytes, how an element of the outermost data set is read."""

    explicit: bool
    characters: CharacterSet
    creators: tuple[tuple[int, str], ...]
    """Tags and values of the elements before it that reserve private blocks."""
    numbers: tuple[tuple[int, int], ...]
    """Those that decide between several VRs."""


@dataclass(slots=True)
class ContextTexts:
    """The text of elements in one context."""

    elements: dict[bytes | tuple[bytes], bytes] = field(default_factory=dict)
    """By their bytes; in a tuple if more than the text must be noted of them."""
    runs: dict[bytes, ElementRun] = field(default_factory=dict)
    """By the bytes of their first tag."""
    delimited: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    """Bytes and text of the last sequence of undefined length of each tag."""


class ElementTexts:
    """Remembers the text of elements, within bounds, for the objects of a series."""

    def __init__(self) -> None:
        self._contexts: dict[ReadingContext, ContextTexts] = {}
        self._count = self._size = 0

    def __len__(self) -> int:
        """Return how many elements are remembered."""
        return sum(len(known.elements) for known in self._contexts.values())

    def of(self, context: ReadingContext) -> ContextTexts:
        """Return the texts of a context."""
        known = self._contexts.get(context)
        if known is None:
            if len(self._contexts) >= MAX_CONTEXTS:
                self._contexts.clear()
                self._count = self._size = 0
            known = self._contexts[context] = ContextTexts()
        return known

    def keep_run(self, texts: ContextTexts, run: ElementRun) -> None:
        """Remember a run instead of the one that began with the same tag."""
        size = len(run.raw) + len(run.text)
        if len(texts.runs) < MAX_RUNS and self._has_room(size):
            texts.runs[run.raw[:TAG_BYTES]] = run

    def keep_delimited(self, texts: ContextTexts, tag: int, raw: bytes, text: bytes) -> None:
        """Remember a sequence of undefined length instead of the last one of its tag."""
        if len(texts.delimited) < MAX_RUNS and self._has_room(len(raw) + len(text)):
            texts.delimited[tag] = raw, text

    def keep(self, texts: ContextTexts, key: bytes | tuple[bytes], text: bytes) -> None:
        """Remember the text of an element."""
        if self._has_room(len(key) + len(text)):
            texts.elements[key] = text

    def _has_room(self, size: int) -> bool:
        """Return whether so many bytes may be remembered; if all are too many, forget them."""
        if size > MAX_REMEMBERED_ELEMENT:
            return False
        self._count += 1
        self._size += size
        if self._count > MAX_REMEMBERED or self._size > MAX_REMEMBERED_BYTES:
            for known in self._contexts.values():
                for texts in (known.elements, known.runs, known.delimited):
                    texts.clear()
            self._count, self._size = 1, size
        return True
