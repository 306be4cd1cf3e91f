"""Finds rows that an earlier release may have written wrongly, by walking through the index.

Earlier releases decoded text differently from queries, and read headers only up to the first flaw.
Their rows show it: escape sequences and replacement characters, characters of Latin 1 (used for
every unknown set), neither Rows nor Bits Allocated, or a damaged header. Such rows may also be
right; reading their object again does no harm.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, TextClause, text
from typing_extensions import override

from draw_api.ports.reindex import SuspectRepository
from draw_shared.contracts.instance import InstanceStoredV1, instance_event_id
from draw_shared.db.session import Database
from draw_shared.storage.outbox import ae_title

ROWS_AT_ONCE: Final = 10_000
SUSPECT_TEXT: Final = r"[\u001b\u0080-\u00ff\ufffd]|\\u001b"
"""A JSON document spells out an escape."""

LAST: Final = "SELECT coalesce(max(id), 0) FROM {table}"
DESCRIBED_BY: Final = """
SELECT DISTINCT split_part(source.value, ' ', 2)
FROM {table} r, jsonb_each_text(r.sources) AS source
WHERE r.id > :after AND r.id <= :until AND CAST(to_jsonb(r) AS text) ~ :suspect
"""
"""The objects that gave the values of rows: the second word of a source."""
INSTANCES: Final = """
SELECT sop_instance_uid FROM instances
WHERE id > :after AND id <= :until AND (
    CAST(attributes AS text) ~ :suspect OR stated_patient ~ :suspect OR header_damage <> ''
    OR NOT jsonb_exists_all(attributes, ARRAY['Rows', 'BitsAllocated']))
"""
SUSPECTS: Final = {
    **{table: DESCRIBED_BY.format(table=table) for table in ("patients", "studies", "series")},
    "instances": INSTANCES,
}
OBJECTS: Final = text(
    """
    SELECT i.sop_instance_uid, i.sop_class_uid, i.transfer_syntax_uid, i.path, i.size_bytes,
        encode(i.content_sha256, 'hex') AS content_sha256, i.received_at AS occurred_at,
        i.association_id, i.calling_ae, i.peer_address, i.move_originator_ae,
        r.series_instance_uid,
        coalesce(c.study_instance_uid, s.study_instance_uid) AS study_instance_uid
    FROM instances i JOIN series r ON r.id = i.series_pk JOIN studies s ON s.id = r.study_pk
    LEFT JOIN instance_conflicts c ON c.sop_instance_uid = i.sop_instance_uid
        AND c.content_sha256 = i.content_sha256
    WHERE i.sop_instance_uid = ANY(:uids) ORDER BY i.id
    """
)


class PostgresSuspectRepository(SuspectRepository):
    """The walk; each portion is a short statement of its own."""

    def __init__(self, database: Database, replica: str) -> None:
        self._database = database
        self._replica = replica

    @override
    def objects(self) -> Iterator[Sequence[InstanceStoredV1]]:
        for table, statement in SUSPECTS.items():
            suspects = text(statement)
            (last,) = self._find(text(LAST.format(table=table)))
            for after in range(0, last, ROWS_AT_ONCE):
                bounds = {"after": after, "until": after + ROWS_AT_ONCE, "suspect": SUSPECT_TEXT}
                if uids := self._find(suspects, **bounds):
                    yield self._build_events(uids)

    def _find(self, statement: TextClause, **values: Any) -> list[Any]:  # noqa: ANN401
        with self._database.session() as session:
            return list(session.connection().execute(statement, values).scalars())

    def _build_events(self, uids: Sequence[str]) -> list[InstanceStoredV1]:
        with self._database.session() as session:
            rows = session.connection().execute(OBJECTS, {"uids": list(uids)}).mappings()
            return [self._event(row) for row in rows]

    def _event(self, row: RowMapping) -> InstanceStoredV1:
        held = dict(row)
        originator = held.pop("move_originator_ae")
        return InstanceStoredV1(
            **held | {"calling_ae": ae_title(row["calling_ae"])},
            event_id=instance_event_id(row["sop_instance_uid"], row["content_sha256"]),
            replica=self._replica,
            called_ae=ae_title(""),
            move_originator_ae=originator or None,
            reread=True,
        )
