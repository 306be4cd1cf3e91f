"""Conditions that the index cannot compare: those on person names without comparable text."""

from collections.abc import Callable

from draw_shared.dicom.query.matching import Names, name_fits
from draw_shared.dicom.query.query import FindQuery, Row


def remaining_conditions(query: FindQuery) -> Callable[[Row], bool] | None:
    """Return the conditions that the index cannot check, or None if there are none."""
    positions = {attribute: n for n, attribute in enumerate(query.columns)}
    left = [(positions[attribute], names) for attribute, names in query.left_over.items()]
    return (lambda row: all(_fits(row[n], names) for n, names in left)) if left else None


def _fits(value: bytes | None, names: Names) -> bool:
    """Return whether one of the person names in a value matches."""
    return any(name_fits(names, name) for name in str(value or b"", "utf-8").split("\\"))
