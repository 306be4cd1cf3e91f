"""The change feed's writers take turns, so that its numbers appear in their order.

A sequence number is drawn when a row is written and seen when its transaction commits. Two
writers at once could commit in the other order, and a reader that remembers the last number
it has seen would miss a row for ever. Whoever writes to `changes` therefore holds this lock
from before the first number is drawn until the commit. It also serves writers of the index
as their turn: what they have read stays true until they commit.

Within a turn the database gives each entry its moment (`next_change_moment`): that of the
clock, or that of the entry before when the clock has been set back since.
"""

from typing import Final

from sqlalchemy import Connection, text

FEED_LOCK: Final = 0x44524146
"""Key of the advisory lock."""

INSTANCE_STORED: Final = "instance.stored"
SERIES_STABLE: Final = "series.stable"
STUDY_STABLE: Final = "study.stable"
STUDY_DELETED: Final = "study.deleted"
INSTANCE_LOST: Final = "instance.lost"
"""Its row had no file and was removed (`draw-admin reconcile --repair`)."""
INSTANCE_CONFLICT: Final = "instance.conflict"
"""Another object with its UID is there, or it contradicts its study; once for each study named."""
PATIENT_AMBIGUOUS: Final = "patient.ambiguous"
"""Objects under one Patient ID name several people; this study has made it so."""
KINDS: Final = (
    INSTANCE_STORED,
    SERIES_STABLE,
    STUDY_STABLE,
    STUDY_DELETED,
    INSTANCE_LOST,
    INSTANCE_CONFLICT,
    PATIENT_AMBIGUOUS,
)


def take_turn(connection: Connection) -> None:
    """Wait for the turn; it lasts until this transaction ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": FEED_LOCK})
