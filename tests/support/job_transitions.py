"""Which state of a job may follow which; what the statements of the suite do is judged by it."""

from collections.abc import Mapping
from typing import Final

from draw_qr_worker.models import JobState
from draw_qr_worker.services.jobs import FINAL

TRANSITIONS: Final[Mapping[JobState, frozenset[JobState]]] = {
    JobState.SCHEDULED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.WAITING, JobState.CANCELLED}),
    JobState.WAITING: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.RUNNING: FINAL | {JobState.QUEUED, JobState.WAITING, JobState.CANCELLING},
    JobState.CANCELLING: FINAL,
} | {state: frozenset() for state in FINAL}
