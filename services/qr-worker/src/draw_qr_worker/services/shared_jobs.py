"""Says what a job that several deliveries share means for each of them.

Deliveries of SOP instances of one series go to a node together, as an association for each would
take longer than the objects. Such a job holds no delivery up for the sake of another: what is there
is delivered, and as soon as an object may be at fault, each of the others goes on by itself.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from draw_qr_worker.models import ClaimedJob, OpenDelivery
from draw_shared.wording import message

MAX_TOGETHER: Final = 200
GONE: Final = "gone"
"""In a result: there is nothing of it here any more."""
AGAIN: Final = "again"
"""In a result: the delivery begins again."""
PARTS: Final = "parts"
"""In the result of a shared job: by SOP instance, what has not simply been delivered."""
LACKING: Final = "lacking"
"""In the progress of a shared job: the SOP instances that go on one by one."""
DELETED_HERE: Final = message("it was deleted here before it was sent")


class SharedJobs:
    """The jobs of deliveries under way, and which of these share one."""

    def __init__(self, begun: Iterable[OpenDelivery] = ()) -> None:
        self._leaders: dict[UUID | None, int] = {}
        self._following: Counter[UUID | None] = Counter()
        for one in begun:
            if one.target:
                self._leaders.setdefault(one.job_id, one.id)
                self._following[one.job_id] += 1

    def leads(self, delivery: OpenDelivery) -> bool:
        """Return whether a delivery is the one for which its job counts at the target."""
        return delivery.shared_by == 1 or self._leaders.get(delivery.job_id) == delivery.id

    def is_left(self, delivery: OpenDelivery) -> bool:
        """Return whether others have left the job of a delivery, so that it was cancelled."""
        return self._following[delivery.job_id] < delivery.shared_by


def deliveries_of(job: ClaimedJob) -> Mapping[str, int]:
    """Return the numbers of the deliveries that share a job by SOP instance; empty if it is one."""
    numbers: Sequence[int] = job.parameters.get("deliveries", ())
    return dict(zip(job.parameters.get("sop_instance_uids", ()), numbers, strict=False))


def result_of_parts(
    uids: Iterable[str],
    *,
    here: Iterable[str],
    came_from_there: Iterable[str],
    lacking: Mapping[str, str],
) -> dict[str, Any]:
    """Return what the result of a shared job says of each of these SOP instances.

    `here` are those that the index has, `lacking` says why some are not at the node.
    """
    known, not_sent = frozenset(here), frozenset(came_from_there)
    parts: dict[str, dict[str, Any]] = {}
    for uid in uids:
        if uid not in known:
            parts[uid] = {"state": "failed", "error": DELETED_HERE, GONE: True}
        elif uid in not_sent:
            parts[uid] = {"state": "complete", "error": say_not_sent(1, 1)}
        elif uid in lacking:
            parts[uid] = {"state": "failed", "error": lacking[uid]}
    # A planner of the release before would end all of them alike: there they begin again.
    return {PARTS: parts, AGAIN: True}


def own_part(delivery: OpenDelivery) -> OpenDelivery:
    """Return a delivery with what the end of its job says of itself."""
    result = delivery.job_result
    ended = delivery.job_state in {"complete", "partial", "failed"}
    parts = result.get(PARTS)
    if delivery.shared_by == 1 or not ended:
        return delivery
    if parts is None:
        if result.get(GONE):
            return delivery
        # A worker of an earlier release, or one that has failed before it could say.
        plain = delivery.job_state == "complete" and not delivery.job_error
        if not plain or result.get("delivered") != delivery.shared_by:
            return replace(delivery, job_result={AGAIN: True})
        parts = {}
    part = parts.get(delivery.sop_instance_uid, {"state": "complete", "error": ""})
    own = {"expected": 1, "delivered": int(part["state"] == "complete")}
    if part.get(GONE):
        own = {GONE: True}
    return replace(delivery, job_state=part["state"], job_error=part["error"], job_result=own)


def falls_apart(delivery: OpenDelivery) -> bool:
    """Return whether the deliveries that share a job must go on one by one."""
    apart = LACKING in delivery.job_progress or delivery.refusals > 0
    return delivery.shared_by > 1 and apart


def is_there(delivery: OpenDelivery) -> bool:
    """Return whether the node has the object of a delivery whose job falls apart."""
    lacking = delivery.job_progress.get(LACKING)
    return lacking is not None and delivery.sop_instance_uid not in lacking


def say_not_sent(count: int, total: int) -> str:
    """Return in words how many objects came from the node itself."""
    return message(
        "%(count)s of %(total)s came from there and were not sent", count=count, total=total
    )
