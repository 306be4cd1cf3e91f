"""Announces versions that were set aside, once the current version in their place is gone.

They are indexed like every announced object: one becomes current and is no longer a conflict. A
repeated announcement does no harm, so nothing is locked.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

import structlog
from sqlalchemy import text

from draw_shared.contracts.instance import InstanceStoredV1
from draw_shared.db.guard import require_served_schema
from draw_shared.db.session import Database
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.messaging.publisher import BrokerSilent, Publisher
from draw_shared.storage.outbox import event_of
from draw_shared.storage.places import Places
from draw_shared.storage.stored_file import describe_file
from draw_shared.wording import message

log = structlog.get_logger()

AT_ONCE: Final = 100
CONFIRM_TIMEOUT_SECONDS: Final = 10.0

WAITING: Final = text(
    "SELECT id, path, sop_instance_uid FROM instance_conflicts"
    " WHERE to_announce ORDER BY id LIMIT :most"
)
DONE: Final = text("UPDATE instance_conflicts SET to_announce = false WHERE id = ANY(:ids)")


class NextVersions:
    """Announces set-aside versions to the index queue.

    Args:
        announce: returns once the broker has these announcements, or raises a Transient.
    """

    def __init__(
        self,
        database: Database,
        root: Path,
        announce: Callable[[Sequence[InstanceStoredV1]], None],
    ) -> None:
        self._database = database
        self._root = root
        self._announce = announce

    def announce(self) -> None:
        """Announce every version that waits for it.

        Raises:
            Transient: the database or the broker does not answer; the versions keep waiting.
        """
        while self._announce_some(AT_ONCE):
            pass

    def _announce_some(self, most: int) -> int:
        """Announce some versions, and return how many waited."""
        with self._database.session() as session:
            require_served_schema(session)
            waiting = session.connection().execute(WAITING, {"most": most}).all()
        if not waiting:
            return 0
        found = [self._event(row.path, row.sop_instance_uid) for row in waiting]
        self._announce([event for event in found if event is not None])
        with self._database.session() as session:
            session.connection().execute(DONE, {"ids": [row.id for row in waiting]})
            session.commit()
        return len(waiting)

    def _event(self, path: str, sop_instance_uid: str) -> InstanceStoredV1 | None:
        try:
            event = event_of(describe_file(self._root, path))
        except (OSError, Undecodable, ValueError) as error:
            # Its row stays until its study is deleted or `draw-admin reconcile` removes it.
            log.error(  # noqa: TRY400 - what it says of the file may name a patient
                "version.not_announced",
                sop_instance_uid=sop_instance_uid,
                error=type(error).__name__,
            )
            return None
        log.info("version.announced", sop_instance_uid=sop_instance_uid)
        return event


def announce_by(
    publisher: Publisher, places: Places
) -> Callable[[Sequence[InstanceStoredV1]], None]:
    """Return a function that announces through a publisher and waits for the broker's confirms."""

    def announce(events: Sequence[InstanceStoredV1]) -> None:
        confirms: SimpleQueue[bool] = SimpleQueue()
        for event in events:
            publisher.publish(places.seal(event), confirms.put)
        try:
            confirmed = [confirms.get(timeout=CONFIRM_TIMEOUT_SECONDS) for _ in events]
        except Empty:
            confirmed = [False]
        if not all(confirmed):
            raise BrokerSilent(message("the broker does not take announcements"))

    return announce
