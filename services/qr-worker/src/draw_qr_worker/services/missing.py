"""Describes in a job's result what did not arrive."""

from collections.abc import Sequence
from typing import Any, Final

from draw_qr_worker.models import Item, JobOutcome, JobState
from draw_shared.errors import DrawError

MAX_NAMED: Final = 200
"""SOP Instance UIDs in a result; `retrieve_items` holds all of them."""


def count_missing(expected: int | None, lacking: Sequence[str], unnamed: int = 0) -> dict[str, Any]:
    """Return how many instances were expected and which are missing, by name or by number."""
    return {
        "expected": expected,
        "missing": len(lacking) + unnamed,
        "missing_sop_instance_uids": list(lacking[:MAX_NAMED]),
    }


def list_missing(items: Sequence[Item]) -> list[str]:
    """Return the SOP Instance UIDs that have not arrived."""
    return [item.sop_instance_uid for item in items if not item.arrived]


def conclude_failure(items: Sequence[Item], error: DrawError, *, all_named: bool) -> JobOutcome:
    """Return partial if something has arrived, else failed, with the reason.

    If no named instance is missing, return complete if the items name everything, else unproved.
    """
    lacking = list_missing(items)
    result = count_missing(len(items) if items else None, lacking)
    if items and not lacking:
        if all_named:
            return JobOutcome(JobState.COMPLETE, result)
        return JobOutcome(JobState.UNPROVED, result, str(error))
    some = len(lacking) < len(items)
    return JobOutcome(JobState.PARTIAL if some else JobState.FAILED, result, str(error))
