"""Finds out whether announced objects are in the index, in a queue or among the dead letters."""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, text
from typing_extensions import override

from draw_indexer.models import UnderWay
from draw_indexer.ports.lost_announcements import (
    AnnouncedObjectLookup,
    AnnouncedObjectRepository,
    AnnouncementBroker,
)
from draw_shared.contracts.instance import InstanceStoredV1
from draw_shared.db import tombstones
from draw_shared.db.guard import require_served_schema
from draw_shared.db.session import Database
from draw_shared.messaging import topology
from draw_shared.messaging.announcement_backlog import LATER, unindexed
from draw_shared.messaging.consumer import identifiers
from draw_shared.messaging.dead_letters import DeadLetters
from draw_shared.messaging.queue_depths import QueueDepths

LOOKING_LOCK: Final = 0x4C4F5354
"""Key of the advisory lock that lets only one process search for lost announcements."""
MAX_DEAD_LETTERS: Final = 10_000
"""The maximum of dead letters to read; each costs one call."""

TRY_LOCK: Final = text("SELECT pg_try_advisory_xact_lock(:key)")
MISSING: Final = text(
    """
    SELECT k.number
    FROM unnest(CAST(:numbers AS int[]), CAST(:uids AS text[]), CAST(:hashes AS text[]))
        AS k (number, uid, hash)
    WHERE NOT EXISTS (SELECT FROM instances i WHERE i.sop_instance_uid = k.uid
            AND i.content_sha256 = decode(k.hash, 'hex'))
        AND NOT EXISTS (SELECT FROM instance_conflicts c WHERE c.sop_instance_uid = k.uid
            AND c.content_sha256 = decode(k.hash, 'hex'))
    """
)
"""Which of these versions the index lacks, both as current and as set aside."""


class PostgresAnnouncedObjectRepository(AnnouncedObjectRepository):
    """Gives the index to one process at a time that searches for lost announcements."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    @contextmanager
    def looking(self) -> Iterator["PostgresAnnouncedObjectLookup | None"]:
        with self._database.session() as session:
            require_served_schema(session)
            connection = session.connection()
            free = connection.execute(TRY_LOCK, {"key": LOOKING_LOCK}).scalar()
            yield PostgresAnnouncedObjectLookup(connection) if free else None


class PostgresAnnouncedObjectLookup(AnnouncedObjectLookup):
    """The index within the transaction that holds the lock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @override
    def missing(self, objects: Sequence[InstanceStoredV1]) -> Sequence[InstanceStoredV1]:
        values = {
            "numbers": list(range(len(objects))),
            "uids": [one.sop_instance_uid for one in objects],
            "hashes": [one.content_sha256 for one in objects],
        }
        found = [objects[n] for n in self._connection.execute(MISSING, values).scalars()]
        if not found:
            return []
        deleted = tombstones.of(self._connection, found)
        return [one for one in found if deleted.before(one) <= _received_ns(one)]


def _received_ns(one: InstanceStoredV1) -> int:
    return one.dated_ns or int(one.occurred_at.timestamp() * 1_000_000) * 1000


class RabbitAnnouncementBroker(AnnouncementBroker):
    """The queues of announcements; belongs to the thread that uses it.

    An announcement that this process turned into a dead letter stays known even if somebody
    discards the letter: that person has seen it, and must not find it there again a minute later.

    Args:
        announce: returns once the broker has these announcements, or raises a Transient.
    """

    name = "announcement queues"

    def __init__(
        self, url: str, *, client: str, announce: Callable[[Sequence[InstanceStoredV1]], None]
    ) -> None:
        self._depths = QueueDepths(url, client=client)
        self._letters = DeadLetters(url, client=client)
        self._put_aside: deque[UUID] = deque(maxlen=MAX_DEAD_LETTERS)
        self._announce = announce

    def start(self) -> None:
        """Do nothing: the first question connects."""

    def stop(self, deadline_seconds: float) -> None:  # noqa: ARG002 - closing takes no time
        """Close the connection."""
        self._depths.close()

    @override
    def announce(self, objects: Sequence[InstanceStoredV1]) -> None:
        self._announce(objects)

    @override
    def count_under_way(self) -> UnderWay:
        self._depths.look()
        seen = self._depths.seen
        later = sum(seen.get(name, 0) for name in LATER)
        return UnderWay(unindexed(seen) - later, later)

    def put_aside(self, announcement: bytes) -> None:
        """Remember an announcement that becomes a dead letter now; any thread may call this."""
        self._put_aside.extend(_event_ids(announcement))

    @override
    def dead(self) -> Collection[UUID]:
        letters = self._letters.look(topology.INSTANCE_STORED_WORK.dead, MAX_DEAD_LETTERS)
        found = {one for letter in letters for one in _event_ids(letter.body.encode())}
        return found.union(self._put_aside.copy())


def _event_ids(announcement: bytes) -> Iterator[UUID]:
    """Yield the event id of an announcement, if it is readable."""
    with suppress(ValueError):
        yield UUID(identifiers(announcement).get("event_id", ""))
