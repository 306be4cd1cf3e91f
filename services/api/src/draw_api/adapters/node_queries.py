"""Remote nodes in PostgreSQL, as operators configure them."""

import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import text
from sqlmodel import Session
from typing_extensions import override

from draw_api.models.nodes import Node, NodeSettings
from draw_api.models.paging import Page, decode_cursor, encode_cursor, page_of
from draw_api.ports.nodes import NodeRepository

NODES: Final = text("SELECT * FROM remote_nodes WHERE id > :after ORDER BY id LIMIT :limit")
NODE: Final = text("SELECT * FROM remote_nodes WHERE id = :id")
WITH_TITLE: Final = text(
    "SELECT * FROM remote_nodes WHERE ae_title = :ae_title ORDER BY id LIMIT :limit"
)
ADD: Final = text(
    """
    INSERT INTO remote_nodes (name, ae_title, host, port, calling_ae, supports_find,
        supports_move, supports_get, query_model, timeout_seconds, max_pdu_bytes,
        move_destination, stores_from, tls, tls_fingerprint, max_associations,
        max_bytes_per_second, windows,
        paused, active)
    VALUES (:name, :ae_title, :host, :port, :calling_ae, :supports_find,
        :supports_move, :supports_get, :query_model, :timeout_seconds, :max_pdu_bytes,
        :move_destination, :stores_from, :tls, :tls_fingerprint, :max_associations,
        :max_bytes_per_second,
        CAST(:windows AS jsonb), :paused, :active)
    ON CONFLICT (name) DO NOTHING RETURNING id
    """
)
# A new address deletes what was learned of the node at its old one.
REPLACE: Final = text(
    """
    UPDATE remote_nodes SET name = :name, ae_title = :ae_title, host = :host, port = :port,
        calling_ae = :calling_ae, supports_find = :supports_find,
        supports_move = :supports_move, supports_get = :supports_get,
        query_model = :query_model, timeout_seconds = :timeout_seconds,
        max_pdu_bytes = :max_pdu_bytes, move_destination = :move_destination,
        stores_from = :stores_from, tls = :tls, tls_fingerprint = :tls_fingerprint,
        max_associations = :max_associations, max_bytes_per_second = :max_bytes_per_second,
        windows = CAST(:windows AS jsonb),
        paused = :paused, active = :active, updated_at = now(), circuit = '{}',
        congestion = '{}',
        capabilities = CASE WHEN (host, port, ae_title) = (:host, :port, :ae_title)
            THEN capabilities ELSE '{}' END,
        last_test = CASE WHEN (host, port, ae_title) = (:host, :port, :ae_title)
            THEN last_test ELSE '{}' END
    WHERE id = :id
    """
)
NAME_TAKEN: Final = text(
    "SELECT EXISTS (SELECT FROM remote_nodes WHERE name = :name AND id <> :id)"
)
HOLD: Final = text("SELECT name FROM remote_nodes WHERE id = :id FOR UPDATE")
PAUSE: Final = text(
    "UPDATE remote_nodes SET paused = :paused, updated_at = now() WHERE id = :id RETURNING name"
)
# The results of the last test and of earlier failures are no longer valid.
PIN: Final = text(
    """
    UPDATE remote_nodes SET tls_fingerprint = :fingerprint, updated_at = now(), circuit = '{}',
        last_test = '{}' WHERE id = :id RETURNING name
    """
)
FORGET_FIND_LIMIT: Final = text(
    "UPDATE remote_nodes SET capabilities = capabilities - 'find_limit' WHERE id = :id"
    " RETURNING name"
)
REMOVE: Final = text("DELETE FROM remote_nodes WHERE id = :id")
UNFINISHED_JOBS: Final = text(
    "SELECT count(*) FROM jobs WHERE node_id = :id AND finished_at IS NULL"
)
NAMES_LOCK: Final = 0x4452414E
"""Key of the advisory lock that serializes naming nodes, so that no taken name is missed."""


class PostgresNodeRepository(NodeRepository):
    """The table `remote_nodes`, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def nodes(self, cursor: str | None, limit: int) -> Page[Node]:
        after = decode_cursor(cursor, (int,))[0] if cursor is not None else 0
        rows = self._connection.execute(NODES, {"after": after, "limit": limit + 1}).mappings()
        return page_of(
            [(encode_cursor(row["id"]), Node.model_validate(row)) for row in rows], limit
        )

    @override
    def node(self, node_id: int) -> Node | None:
        row = self._connection.execute(NODE, {"id": node_id}).mappings().first()
        return None if row is None else Node.model_validate(row)

    @override
    def with_title(self, ae_title: str, limit: int) -> Sequence[Node]:
        asked = {"ae_title": ae_title, "limit": limit}
        rows = self._connection.execute(WITH_TITLE, asked).mappings()
        return [Node.model_validate(row) for row in rows]

    @override
    def add(self, node: NodeSettings) -> int | None:
        self._lock_names()
        added: int | None = self._connection.execute(ADD, _values(node)).scalar()
        return added

    @override
    def hold(self, node_id: int) -> str | None:
        name: str | None = self._connection.execute(HOLD, {"id": node_id}).scalar()
        return name

    @override
    def replace(self, node_id: int, node: NodeSettings) -> bool:
        self._lock_names()
        if self._connection.execute(NAME_TAKEN, {"name": node.name, "id": node_id}).scalar():
            return False
        self._connection.execute(REPLACE, _values(node) | {"id": node_id})
        return True

    @override
    def pause(self, node_id: int, *, paused: bool) -> str | None:
        values = {"id": node_id, "paused": paused}
        name: str | None = self._connection.execute(PAUSE, values).scalar()
        return name

    @override
    def pin(self, node_id: int, fingerprint: str) -> str | None:
        values = {"id": node_id, "fingerprint": fingerprint}
        name: str | None = self._connection.execute(PIN, values).scalar()
        return name

    @override
    def forget_find_limit(self, node_id: int) -> str | None:
        name: str | None = self._connection.execute(FORGET_FIND_LIMIT, {"id": node_id}).scalar()
        return name

    @override
    def remove(self, node_id: int) -> None:
        self._connection.execute(REMOVE, {"id": node_id})

    @override
    def unfinished_jobs(self, node_id: int) -> int:
        return int(self._connection.execute(UNFINISHED_JOBS, {"id": node_id}).scalar_one())

    def _lock_names(self) -> None:
        self._connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": NAMES_LOCK})


def _values(node: NodeSettings) -> dict[str, Any]:
    return node.model_dump() | {"windows": json.dumps([w.model_dump() for w in node.windows])}
