"""A plan that a decoding process makes for producing a data set in another encoding.

The plan itself contains what had to be decoded, and everything short. Long values are copied from
the stored file, and all frames but the first are decoded when they are due. Whoever executes a plan
does not parse the data set: a few numbers say what to do.
"""

from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from struct import Struct
from typing import Any, Final, NamedTuple, Self

from draw_shared.dicom.transcoding.payload import Payload, PayloadWriter
from draw_shared.dicom.transcoding.pixels import Image
from draw_shared.dicom.transcoding.source import Untranscodable
from draw_shared.wording import message

STEP: Final = Struct("<B2sQQ")
STEPS_AT_ONCE: Final = 4096
NUMBER: Final = "Q"
NUMBER_BYTES: Final = 8
NO_SWAP: Final = b"  "


class ByteSource(IntEnum):
    """The source of the next bytes."""

    READY = 0
    """The plan itself: position and length."""
    STORED = 1
    """The stored file: position and length."""
    FRAMES = 2
    """The frames of an image except the first: number of the image."""


_KINDS: Final = frozenset(ByteSource)


class Stretch(NamedTuple):
    """A long value to copy from the stored file."""

    position: int
    """Position in the file."""
    length: int
    vr: bytes = NO_SWAP
    """VR of numbers whose byte order changes."""


class FurtherFrames(NamedTuple):
    """All frames of an image except the first."""

    number: int
    """Number of the image in the plan."""
    vr: bytes = NO_SWAP


Part = bytes | Stretch | FurtherFrames


class Step(NamedTuple):
    """One step of a plan."""

    kind: ByteSource
    vr: bytes
    """VR of numbers whose byte order changes, else NO_SWAP."""
    position: int
    length: int


class PlannedNumbers(NamedTuple):
    """The position of numbers in a plan."""

    position: int
    number: int
    """Their count."""

    def read(self, payload: Payload, first: int, count: int) -> "array[int]":
        """Return `count` of them from the given index.

        Raises:
            Untranscodable: there are fewer.
        """
        if first + count > self.number:
            raise Untranscodable(message("a plan is shorter than it says"))
        found = array(NUMBER)
        raw = payload.read(self.position + first * NUMBER_BYTES, count * NUMBER_BYTES)
        if len(raw) != count * NUMBER_BYTES:
            raise Untranscodable(message("a plan is shorter than it says"))
        found.frombytes(raw)
        return found


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """The position of an encapsulated image's frames in the stored file."""

    image: Image
    frames: int
    begins: PlannedNumbers
    """Index of the first fragment of each frame, and the number of fragments at the end."""
    positions: PlannedNumbers
    """Positions of the fragments in the file."""
    lengths: PlannedNumbers

    @classmethod
    def of(cls, said: dict[str, Any]) -> Self:
        """Rebuild an image from the result of `asdict`."""
        return cls(
            Image(**said["image"]),
            int(said["frames"]),
            *(PlannedNumbers(*map(int, said[name])) for name in ("begins", "positions", "lengths")),
        )


@dataclass(slots=True)
class Plan:
    """The steps to a data set in another encoding; leaving the block releases its payload."""

    payload: Payload
    steps_at: int
    steps: int
    images: list[PlannedImage] = field(default_factory=list)

    def each_step(self) -> Iterator[Step]:
        """Yield its steps in order.

        Raises:
            Untranscodable: the plan is malformed.
        """
        size, left, at = STEP.size, self.steps, self.steps_at
        while left > 0:
            count = min(left, STEPS_AT_ONCE)
            raw = self.payload.read(at, count * size)
            if len(raw) != count * size:
                raise Untranscodable(message("a plan is shorter than it says"))
            for kind, vr, position, length in STEP.iter_unpack(raw):
                if kind not in _KINDS or (
                    kind == ByteSource.FRAMES and position >= len(self.images)
                ):
                    raise Untranscodable(message("a plan has a step that there is none of"))
                yield Step(ByteSource(kind), vr, position, length)
            at += len(raw)
            left -= count

    def said(self) -> dict[str, Any]:
        """Return everything except the payload as numbers and text."""
        return {
            "steps_at": self.steps_at,
            "steps": self.steps,
            "images": [asdict(image) for image in self.images],
        }

    @classmethod
    def of(cls, said: dict[str, Any], payload: Payload) -> Self:
        """Rebuild a plan from the result of `said`."""
        images = [PlannedImage.of(one) for one in said["images"]]
        return cls(payload, int(said["steps_at"]), int(said["steps"]), images)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.payload.close()


class PlanWriter:
    """Writes a plan."""

    def __init__(self, out: PayloadWriter) -> None:
        self._out = out
        self._steps = bytearray()
        self._begin = 0
        self._images: list[PlannedImage] = []

    def add(self, part: Part) -> None:
        """Append a part."""
        if isinstance(part, bytes):
            self._out.write(part)
            return
        self._ready()
        if isinstance(part, Stretch):
            self._step(ByteSource.STORED, part.vr, part.position, part.length)
        else:
            self._step(ByteSource.FRAMES, part.vr, part.number, 0)

    def _ready(self) -> None:
        """Add a step for the bytes written since the last step."""
        if self._out.size > self._begin:
            self._step(ByteSource.READY, NO_SWAP, self._begin, self._out.size - self._begin)
            self._begin = self._out.size

    def _step(self, kind: ByteSource, vr: bytes, position: int, length: int) -> None:
        self._steps += STEP.pack(kind, vr, position, length)

    def add_image(
        self,
        image: Image,
        begins: "array[int]",
        positions: "array[int]",
        lengths: "array[int]",
    ) -> None:
        """Add the position of an image's frames; after all parts, in the order of their numbers."""
        self._ready()
        numbers = (self._numbers(begins), self._numbers(positions), self._numbers(lengths))
        self._images.append(PlannedImage(image, len(begins) - 1, *numbers))

    def _numbers(self, numbers: "array[int]") -> PlannedNumbers:
        at = self._out.size
        self._out.write(numbers.tobytes())
        self._begin = self._out.size
        return PlannedNumbers(at, len(numbers))

    def finish(self) -> Plan:
        """Return the finished plan."""
        self._ready()
        at = self._out.size
        self._out.write(bytes(self._steps))
        return Plan(self._out.finish(), at, len(self._steps) // STEP.size, self._images)
