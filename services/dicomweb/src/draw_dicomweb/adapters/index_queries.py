"""The index in PostgreSQL."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_dicomweb.models import ArchivedObject, UidPath
from draw_dicomweb.ports.objects import ObjectIndex
from draw_dicomweb.ports.search import SearchIndex
from draw_shared.db.catalogue_sql import MatchPage, find_statement
from draw_shared.db.index_connections import Fetch, IndexConnections
from draw_shared.dicom.network.shares import Claimant
from draw_shared.dicom.query.query import FindQuery, Row

ROWS_AT_ONCE: Final = 500

OBJECTS: Final = text(
    """
    SELECT s.study_instance_uid, e.series_instance_uid, i.sop_instance_uid, i.sop_class_uid,
        i.transfer_syntax_uid, i.path, i.size_bytes
    FROM studies s JOIN series e ON e.study_pk = s.id JOIN instances i ON i.series_pk = e.id
    WHERE s.study_instance_uid = :study
        AND (:series = '' OR e.series_instance_uid = :series)
        AND (:instance = '' OR i.sop_instance_uid = :instance)
    ORDER BY e.series_number NULLS LAST, e.id, i.instance_number NULLS LAST, i.id
    """
)


class PostgresSearchIndex(SearchIndex):
    """Searches on connections of their own."""

    def __init__(self, connections: IndexConnections) -> None:
        self._connections = connections

    @override
    @contextmanager
    def matches(
        self, query: FindQuery, by: Claimant, *, limit: int, offset: int
    ) -> Iterator[Iterator[Row]]:
        statement, parameters = find_statement(query, MatchPage(limit, offset))
        with self._connections.reading(statement, parameters, by) as fetch:
            yield _rows(fetch, limit)


def _rows(fetch: Fetch, limit: int) -> Iterator[Row]:
    while limit > 0:
        rows = fetch(min(limit, ROWS_AT_ONCE))
        yield from rows
        limit -= len(rows)
        if len(rows) < ROWS_AT_ONCE:
            return


class PostgresObjectIndex(ObjectIndex):
    """The current objects, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def objects(self, named: UidPath) -> Sequence[ArchivedObject]:
        values = {"study": named.study, "series": named.series, "instance": named.instance}
        return [ArchivedObject(*row) for row in self._connection.execute(OBJECTS, values)]
