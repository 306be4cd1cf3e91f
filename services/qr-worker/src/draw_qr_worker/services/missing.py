"""What a job has not brought, as its result tells it."""

from collections.abc import Sequence
from typing import Any, Final

from draw_qr_worker.models import Item, JobOutcome, JobState
from draw_shared.errors import DrawError

MOST_NAMED: Final = 200
"""SOP Instance UIDs in a result; all of them are rows of `retrieve_items`."""


def numbers(expected: int | None, lacking: Sequence[str], unnamed: int = 0) -> dict[str, Any]:
    """Return how many were expected and what is missing of them, by name or without one."""
    return {
        "expected": expected,
        "missing": len(lacking) + unnamed,
        "missing_sop_instance_uids": list(lacking[:MOST_NAMED]),
    }


def not_arrived(items: Sequence[Item]) -> list[str]:
    """Return the SOP Instance UIDs that have not arrived."""
    return [item.sop_instance_uid for item in items if not item.arrived]


def given_up(items: Sequence[Item], error: DrawError, *, all_named: bool) -> JobOutcome:
    """Return partial when something has arrived, else failed, with the reason.

    When nothing that was named is missing, that is complete if the items name everything, and
    unproved else.
    """
    lacking = not_arrived(items)
    result = numbers(len(items) if items else None, lacking)
    if items and not lacking:
        if all_named:
            return JobOutcome(JobState.COMPLETE, result)
        return JobOutcome(JobState.UNPROVED, result, str(error))
    some = len(lacking) < len(items)
    return JobOutcome(JobState.PARTIAL if some else JobState.FAILED, result, str(error))
