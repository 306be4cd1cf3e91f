"""How a data set in another encoding is put together, as a process that decodes says it.

What had to be decoded, and everything short, lies in the plan itself; long values are copied
from the stored file, and frames but the first are decoded when they are due. Whoever carries
a plan out reads nothing of the data set: a few numbers lead through it.
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

STEP: Final = Struct("<B2sQQ")
STEPS_AT_ONCE: Final = 4096
NUMBER: Final = "Q"
NUMBER_BYTES: Final = 8
NO_SWAP: Final = b"  "


class ByteSource(IntEnum):
    """Where the next bytes come from."""

    READY = 0
    """They lie in the plan: position and length."""
    STORED = 1
    """They lie in the stored file: position and length."""
    FRAMES = 2
    """They are the frames of an image, but the first: its number."""


_KINDS: Final = frozenset(ByteSource)


class Stretch(NamedTuple):
    """A long value that is copied from the stored file."""

    position: int
    """In the file."""
    length: int
    vr: bytes = NO_SWAP
    """Of numbers whose byte order changes."""


class FurtherFrames(NamedTuple):
    """All frames of an image but the first."""

    number: int
    """Of the image in the plan."""
    vr: bytes = NO_SWAP


Part = bytes | Stretch | FurtherFrames


class Step(NamedTuple):
    """One step of a plan."""

    kind: ByteSource
    vr: bytes
    """Of numbers whose byte order changes, else NO_SWAP."""
    position: int
    length: int


class PlannedNumbers(NamedTuple):
    """Where numbers lie in a plan."""

    position: int
    number: int
    """How many there are."""

    def read(self, payload: Payload, first: int, count: int) -> "array[int]":
        """Return some of them.

        Raises:
            Untranscodable: there are not so many.
        """
        if first + count > self.number:
            raise Untranscodable("a plan is shorter than it says")
        found = array(NUMBER)
        raw = payload.read(self.position + first * NUMBER_BYTES, count * NUMBER_BYTES)
        if len(raw) != count * NUMBER_BYTES:
            raise Untranscodable("a plan is shorter than it says")
        found.frombytes(raw)
        return found


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """Where the frames of an encapsulated image lie in the stored file."""

    image: Image
    frames: int
    begins: PlannedNumbers
    """The first fragment of each frame, and the one behind the last."""
    positions: PlannedNumbers
    """Of the fragments, in the file."""
    lengths: PlannedNumbers

    @classmethod
    def of(cls, said: dict[str, Any]) -> Self:
        """Return what `asdict` made of one."""
        return cls(
            Image(**said["image"]),
            int(said["frames"]),
            *(PlannedNumbers(*map(int, said[name])) for name in ("begins", "positions", "lengths")),
        )


@dataclass(slots=True)
class Plan:
    """The way to a data set in another encoding; leaving the block lets go of it."""

    payload: Payload
    steps_at: int
    steps: int
    images: list[PlannedImage] = field(default_factory=list)

    def each_step(self) -> Iterator[Step]:
        """Yield its steps in their order.

        Raises:
            Untranscodable: it is no plan.
        """
        size, left, at = STEP.size, self.steps, self.steps_at
        while left > 0:
            count = min(left, STEPS_AT_ONCE)
            raw = self.payload.read(at, count * size)
            if len(raw) != count * size:
                raise Untranscodable("a plan is shorter than it says")
            for kind, vr, position, length in STEP.iter_unpack(raw):
                if kind not in _KINDS or (
                    kind == ByteSource.FRAMES and position >= len(self.images)
                ):
                    raise Untranscodable("a plan has a step that there is none of")
                yield Step(ByteSource(kind), vr, position, length)
            at += len(raw)
            left -= count

    def said(self) -> dict[str, Any]:
        """Return everything but the payload, as numbers and text."""
        return {
            "steps_at": self.steps_at,
            "steps": self.steps,
            "images": [asdict(image) for image in self.images],
        }

    @classmethod
    def of(cls, said: dict[str, Any], payload: Payload) -> Self:
        """Return the plan that `said` was made of."""
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
        """Add what comes next."""
        if isinstance(part, bytes):
            self._out.write(part)
            return
        self._ready()
        if isinstance(part, Stretch):
            self._step(ByteSource.STORED, part.vr, part.position, part.length)
        else:
            self._step(ByteSource.FRAMES, part.vr, part.number, 0)

    def _ready(self) -> None:
        """Have what was written since the last step taken."""
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
        """Add where the frames of an image lie; after all parts, in the order of their numbers."""
        self._ready()
        numbers = (self._numbers(begins), self._numbers(positions), self._numbers(lengths))
        self._images.append(PlannedImage(image, len(begins) - 1, *numbers))

    def _numbers(self, numbers: "array[int]") -> PlannedNumbers:
        at = self._out.size
        self._out.write(numbers.tobytes())
        self._begin = self._out.size
        return PlannedNumbers(at, len(numbers))

    def finish(self) -> Plan:
        """Return the plan."""
        self._ready()
        at = self._out.size
        self._out.write(bytes(self._steps))
        return Plan(self._out.finish(), at, len(self._steps) // STEP.size, self._images)
