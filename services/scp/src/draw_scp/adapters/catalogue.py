"""The index in PostgreSQL: matches of queries, and instances to send."""

from collections.abc import Iterator
from typing import Final

from typing_extensions import override

from draw_scp.models import Destination, StoredInstance
from draw_scp.ports.query import MatchCatalogue
from draw_scp.ports.retrieve import InstanceCatalogue
from draw_shared.db.catalogue_sql import find_statement, retrieve_statement
from draw_shared.db.index_connections import IndexConnections
from draw_shared.dicom.network.shares import Claimant
from draw_shared.dicom.query.query import FindQuery, Row, Selection

FIRST_ROWS: Final = 50
"""Few, so that the first answers leave at once."""
FURTHER_ROWS: Final = 500

DESTINATION: Final = (
    b"SELECT host, port::text, calling_ae, timeout_seconds::text, tls::text, tls_fingerprint,"
    b" max_associations::text FROM remote_nodes WHERE active AND ae_title = %s ORDER BY id LIMIT 1"
)


class PostgresCatalogue(MatchCatalogue, InstanceCatalogue):
    """Answers from the tables of `draw_shared.db.tables`."""

    def __init__(self, connections: IndexConnections) -> None:
        self._connections = connections

    @override
    def matches(self, query: FindQuery, by: Claimant) -> Iterator[list[Row]]:
        yield from self._portions(*find_statement(query), by)

    @override
    def instances(self, selection: Selection, by: Claimant) -> list[StoredInstance]:
        return [
            StoredInstance(*(str(value, "utf-8") if value else "" for value in row))
            for portion in self._portions(*retrieve_statement(selection), by)
            for row in portion
        ]

    @override
    def destination(self, ae_title: str, by: Claimant) -> Destination | None:
        with self._connections.reading(DESTINATION, (ae_title,), by) as fetch:
            rows = fetch(1)
        if not rows:
            return None
        host, port, calling, seconds, tls, fingerprint, most = (
            str(value, "utf-8") if value else "" for value in rows[0]
        )
        return Destination(
            ae_title,
            host,
            int(port),
            calling,
            float(seconds),
            tls == "true",
            fingerprint,
            int(most),
        )

    def _portions(
        self, statement: bytes, parameters: list[object], by: Claimant
    ) -> Iterator[list[Row]]:
        with self._connections.reading(statement, parameters, by) as fetch:
            wanted = FIRST_ROWS
            while rows := fetch(wanted):
                yield rows
                if len(rows) < wanted:
                    return
                wanted = FURTHER_ROWS
