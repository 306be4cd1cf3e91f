"""Deletes studies in PostgreSQL and their files on the storage volume."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final
from uuid import uuid4

import structlog
from sqlalchemy import Connection, text
from typing_extensions import override

from draw_indexer.ports.clean_up import ExpiredStudyRepository
from draw_shared.contracts.transaction import TransactionKind, TransactionOutcome
from draw_shared.db import deletion, tombstones
from draw_shared.db.deletion import DeletedStudy, LeftFile, PendingRemoval
from draw_shared.db.feed import take_turn
from draw_shared.db.guard import require_served_schema
from draw_shared.db.seals import Keyring, attested
from draw_shared.db.session import Database
from draw_shared.runtime.retention import Retention
from draw_shared.storage.removal import FileMark, OutsideStorage, Removed, StorageFiles
from draw_shared.wording import message

log = structlog.get_logger()

STUDIES_AT_ONCE: Final = 100
ACTOR: Final = "clean-up"
SECOND_NS: Final = 1_000_000_000

LOCK_STUDY: Final = text("SELECT FROM studies WHERE study_instance_uid = :uid FOR UPDATE")
ANY_RECORD: Final = text("SELECT EXISTS (SELECT FROM file_deletions)")
RECORD: Final = text(
    """
    INSERT INTO transactions (record_id, occurred_at, kind, outcome, replica, actor, action,
        objects, size_bytes, study_instance_uid, detail, attestation)
    VALUES (:record_id, :occurred_at, :kind, :outcome, :replica, :actor, :action,
        :objects, :size_bytes, :study_instance_uid, :detail, :attestation)
    """
)


class PostgresExpiredStudyRepository(ExpiredStudyRepository):
    """Deletes expired studies: rows first, then files."""

    def __init__(
        self,
        database: Database,
        root: Path,
        *,
        replica: str,
        freed: Callable[[int], None] = lambda _: None,
        keyring: Keyring | None = None,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._freed = freed
        self._retention = Retention(root)
        self._files = StorageFiles(root)
        self._replica = replica

    @override
    def expired(self, days: int) -> Sequence[str] | None:
        with self._database.session() as session:
            require_served_schema(session)
            found = self._retention.expired(session.connection(), days, datetime.now(UTC))
            if found is None:
                return None
            return [study.study_instance_uid for study in islice(found, STUDIES_AT_ONCE)]

    @override
    def delete_expired(self, study_instance_uid: str, days: int) -> int | None:
        with self._database.session() as session:
            connection = session.connection()
            take_turn(connection)
            connection.execute(LOCK_STUDY, {"uid": study_instance_uid})
            now = datetime.now(UTC)
            if not self._retention.still_expired(connection, study_instance_uid, days, now):
                return None
            # Objects that arrived later belong to a study that is still being received.
            before_ns = int((now - timedelta(days=days)).timestamp()) * SECOND_NS
            gone = deletion.delete_study(
                connection, study_instance_uid, self._files, by=ACTOR, before_ns=before_ns
            )
            if gone is None:
                return None
            self._record(connection, gone, days)
            session.commit()
        return gone.instances

    @override
    def remove_files(self, most: int) -> int:
        with self._database.session() as session:
            require_served_schema(session)
            connection = session.connection()
            if not connection.execute(ANY_RECORD).scalar():
                return 0
            found = deletion.pending_removals(connection, most)
            freed = sum(r.size_bytes for r in found if self._remove(connection, r) is Removed.GONE)
            deletion.settle_removals(connection, [removal.id for removal in found])
            session.commit()
        if freed:
            self._freed(freed)
        self._files.tidy([removal.path for removal in found])
        return len(found)

    def forget_old(self) -> None:
        """Delete the records of deletions whose files can no longer come back."""
        with self._database.session() as session:
            require_served_schema(session)
            tombstones.forget_old(session.connection())
            session.commit()

    def _remove(self, connection: Connection, removal: PendingRemoval) -> Removed:
        meant = FileMark(removal.inode, removal.modified_ns, removal.size_bytes)
        end = Removed.KEPT
        try:
            if removal.named:
                # An interrupted removal may have set aside the very file that the row means.
                self._files.put_back(removal.path, meant)
            else:
                end = self._files.remove(removal.path, meant, removal.sop_instance_uid)
        except OutsideStorage:
            log.exception("clean_up.path_refused", removal=removal.id)
            return end
        if end is Removed.KEPT:
            self._keep(connection, removal, meant)
        return end

    def _keep(self, connection: Connection, removal: PendingRemoval, meant: FileMark) -> None:
        """Record a remaining file without a row as a copy; it is judged when there is a row.

        A sender that touched the file found it gone, so it announces another file, or this one.
        """
        kept = self._files.whereabouts(removal.path, meant)
        if kept is None or (removal.named and kept[0] == removal.path):
            return
        content = self._files.content(kept[0])
        if content is not None and content.content_sha256:
            copy = LeftFile(
                kept[0],
                content.sop_instance_uid,
                removal.study_instance_uid,
                content.content_sha256,
            )
            deletion.record_left(connection, [], [copy], self._files)

    def _record(self, connection: Connection, gone: DeletedStudy, days: int) -> None:
        line = {
            "record_id": uuid4(),
            "occurred_at": datetime.now(UTC),
            "kind": str(TransactionKind.MANAGEMENT),
            "outcome": str(TransactionOutcome.SUCCESS),
            "replica": self._replica,
            "actor": ACTOR,
            "action": "study.delete",
            "objects": gone.instances,
            "size_bytes": gone.size_bytes,
            "study_instance_uid": gone.study_instance_uid,
            "detail": message("beyond the retention of %(days)s days", days=days),
        }
        connection.execute(RECORD, attested(line, self._keyring))
