"""Where a frame lies in the patient: letters at its edges, location, thickness (PS3.3 C.7.6.2)."""

import math
from collections.abc import Sequence
from typing import Any, Final

from pydicom.dataset import Dataset

DIRECTIONS: Final = (("R", "L"), ("A", "P"), ("F", "H"))
"""By axis of the patient, towards smaller and larger values (PS3.3 C.7.6.2.1.1)."""
AXES: Final = ("x", "y", "z")
COSINES: Final = 6
OBLIQUE_FROM: Final = 0.3
"""Minimum cosine for a second letter of a direction."""


def placed(held: Dataset, number: int, functional: Sequence[Dataset]) -> dict[str, Any]:
    """Return the letters at the edges of frame `number`, its location and its thickness in mm.

    `functional` are the items of the functional groups of the frame, which go first.
    """
    cosines = _numbers(_value("ImageOrientationPatient", held, functional), COSINES)
    position = _numbers(_value("ImagePositionPatient", held, functional), 3)
    thickness = _numbers([_value("SliceThickness", held, functional)], 1)
    said: dict[str, Any] = {"thickness_mm": thickness[0] if thickness else None}
    if cosines is None:
        return said
    row, column = cosines[:3], cosines[3:]
    said["edges"] = [
        letters([-value for value in row]),
        letters(row),
        letters([-value for value in column]),
        letters(column),
    ]
    if position is not None:
        normal = (
            row[1] * column[2] - row[2] * column[1],
            row[2] * column[0] - row[0] * column[2],
            row[0] * column[1] - row[1] * column[0],
        )
        axis = max(range(3), key=lambda number: abs(normal[number]))
        at = position[axis] + normal[axis] * _offset(held, number)
        said["location"] = f"{AXES[axis]} {at:.1f} mm"
    return said


def letters(direction: Sequence[float]) -> str:
    """Return a direction of the patient in one to three letters, the main one first."""
    found = sorted(
        (
            (abs(value), DIRECTIONS[axis][value > 0])
            for axis, value in enumerate(direction)
            if abs(value) >= OBLIQUE_FROM
        ),
        reverse=True,
    )
    return "".join(letter for _, letter in found)


def _offset(held: Dataset, number: int) -> float:
    """Return how far a frame of a dose grid lies from the first one (PS3.3 C.8.8.3.2), in mm."""
    offsets = _value("GridFrameOffsetVector", held, ())
    found = _numbers(offsets, len(offsets)) if isinstance(offsets, Sequence) else None
    return found[number - 1] - found[0] if found and number <= len(found) else 0.0


def _value(keyword: str, held: Dataset, functional: Sequence[Dataset]) -> Any:  # noqa: ANN401 - any VR
    try:
        for item in functional:
            if keyword in item:
                return item.get(keyword)
        return held.get(keyword)
    except Exception:  # noqa: BLE001 - a value that cannot be decoded says nothing
        return None


def _numbers(value: Any, wanted: int) -> list[float] | None:  # noqa: ANN401 - any VR
    """Return finite numbers, exactly as many as are wanted, or None."""
    try:
        numbers = [float(one) for one in value or ()]
    except (TypeError, ValueError):
        return None
    good = len(numbers) == wanted and all(math.isfinite(one) for one in numbers)
    return numbers if good else None
