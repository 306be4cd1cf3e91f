"""Makes the writers of the change feed take turns, so that its numbers appear in order.

A row gets its sequence number when it is written and becomes visible when its transaction
commits. Two parallel writers could commit in the opposite order, and a reader that remembers the
last number it saw would miss a row for ever. Every writer of `changes` therefore holds this lock
from before its first number until its commit. The lock also serializes the writers of the index:
whatever they read stays true until they commit.

Within a turn the database gives each entry its time (`next_change_moment`): that of the clock,
or that of the previous entry if the clock has been set back since.
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
"""A row without a file was removed (`draw-admin reconcile --repair`)."""
INSTANCE_CONFLICT: Final = "instance.conflict"
"""An object repeats a UID with other content or contradicts its study; once per study named."""
PATIENT_AMBIGUOUS: Final = "patient.ambiguous"
"""Since this study, objects with one Patient ID name several persons."""
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
    """Wait for the lock; this transaction holds it until it ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": FEED_LOCK})
