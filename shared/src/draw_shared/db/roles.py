"""Database roles: the owner of the schema and the rights of each service.

The owner only migrates. Each service connects as its own role, which has only the rights in
`RIGHTS` and `COLUMNS` and is not a superuser. The name and the password of a role come from the
URL of its service, so that several suites can share a server.

`establish` needs a role that may create roles, and can be repeated safely. It is skipped where
roles come from elsewhere (an operator's manifest, an administrator's script). The owner runs
`grant` after each migration. A release still grants for one more release what it no longer uses,
because the previous release must keep working on the database.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
import structlog
from psycopg import sql
from sqlalchemy import make_url

from draw_shared.db.session import sqlalchemy_url
from draw_shared.errors import Transient

log = structlog.get_logger()

VERBS: Final = {"S": "SELECT", "I": "INSERT", "U": "UPDATE", "D": "DELETE"}

EVERYBODY: Final = {
    "alembic_version": "S",
    "schema_revisions": "S",
    "server_config": "S",
    "allowed_ae_titles": "S",
    "service_controls": "S",
    "service_replicas": "SIU",
}
"""Rights that every service needs: schema, configuration, desired state, and its heartbeat."""

RIGHTS: Final[Mapping[str, Mapping[str, str]]] = {
    "scp": EVERYBODY
    | {
        "patients": "S",
        "stated_persons": "S",
        "studies": "S",
        "series": "S",
        "instances": "S",
        "remote_nodes": "S",
    },
    "indexer": EVERYBODY
    | {
        # It adds the storage volume's configuration to a restored database.
        "server_config": "SI",
        "allowed_ae_titles": "SIU",
        "patients": "SIUD",
        "stated_persons": "SIUD",
        "studies": "SIUD",
        "series": "SIUD",
        "instances": "SIUD",
        "index_totals": "SIUD",
        "instance_conflicts": "SIUD",
        "reception_days": "SIU",
        "store_statistics_backlog": "S",
        "changes": "SID",
        "association_arrivals": "SIUD",
        "association_ends": "SIUD",
        "series_arrivals": "SIUD",
        "proved_arrivals": "SD",
        "file_deletions": "SIUD",
        "file_copies": "SIUD",
        "tombstones": "SIUD",
        "deleted_studies": "SID",
        "transactions": "SI",
        "jobs": "S",
        "retrieve_items": "SU",
        "feed_positions": "SIUD",
        "webhooks": "SU",
        "webhook_deliveries": "SIUD",
        "routing_documents": "S",
        "routing_batches": "SUD",
        "routing_decisions": "SIUD",
        "routing_postponed": "SIUD",
        "deliveries": "SID",
        "delivered_objects": "SD",
    },
    "qr-worker": EVERYBODY
    | {
        "patients": "S",
        "studies": "S",
        "series": "S",
        "instances": "S",
        "remote_nodes": "SU",
        "jobs": "SIU",
        "job_attempts": "SIU",
        "retrieve_items": "SIUD",
        "queries": "SU",
        "query_results": "SIUD",
        "batch_queries": "SU",
        "batch_query_lines": "SU",
        "batch_query_answers": "SIU",
        "proved_arrivals": "SIU",
        "webhooks": "S",
        "webhook_deliveries": "SIU",
        "routing_documents": "S",
        "routing_decisions": "S",
        "deliveries": "SU",
        "delivered_objects": "SIU",
        "routed_priors": "SI",
        "destination_states": "SIU",
    },
    "dicomweb": EVERYBODY
    | {
        "patients": "S",
        "stated_persons": "S",
        "studies": "S",
        "series": "S",
        "instances": "S",
        "series_metadata": "SIU",
        "changes": "S",
        "transactions": "SI",
        "association_ends": "SI",
        "web_sessions": "S",
        "api_tokens": "S",
    },
    "api": EVERYBODY
    | {
        "server_config": "SI",
        "routing_documents": "SI",
        "routing_batches": "SIU",
        "routing_decisions": "S",
        "deliveries": "SU",
        "delivered_objects": "SD",
        "destination_states": "SIUD",
        "standing_queries": "SIUD",
        "standing_query_runs": "SIUD",
        "allowed_ae_titles": "SIUD",
        "service_controls": "SIU",
        "patients": "SUD",
        "stated_persons": "SID",
        "studies": "SUD",
        "series": "SUD",
        "instances": "SD",
        "study_words": "S",
        "index_totals": "SIU",
        "instance_conflicts": "SUD",
        "reception_days": "S",
        "store_statistics": "S",
        "store_statistics_backlog": "S",
        "changes": "SI",
        "file_deletions": "SI",
        "file_copies": "SI",
        "tombstones": "SIU",
        "deleted_studies": "SI",
        "transactions": "SI",
        "remote_nodes": "SIUD",
        "jobs": "SIUD",
        "job_attempts": "S",
        "retrieve_items": "SI",
        "queries": "SI",
        "query_results": "S",
        "saved_queries": "SIUD",
        "batch_queries": "SI",
        "batch_query_lines": "SI",
        "batch_query_answers": "S",
        "feed_positions": "S",
        "webhooks": "SIUD",
        "webhook_deliveries": "SU",
        "users": "SIUD",
        "web_sessions": "SID",
        "api_tokens": "SIU",
    },
}
"""The verbs of each service on each table: S(elect), I(nsert), U(pdate), D(elete)."""

COLUMNS: Final[Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]]] = {
    "dicomweb": {
        # Who a session or a token belongs to, and no password.
        "users": {"S": ("id", "name", "role", "active", "language")},
        "api_tokens": {"U": ("last_used_at",)},
    }
}
"""Columns on which a service has a verb that it has not on the whole table."""

SEQUENCES: Final[Mapping[str, Sequence[str]]] = {"indexer": ("transactions_id_seq",)}
"""Sequences that a service uses directly."""

FUNCTIONS: Final[Mapping[str, Sequence[str]]] = {
    "indexer": (
        "make_transaction_month(date)",
        "drop_transaction_months(date)",
        "recount_store_statistics(date)",
        "link_transactions(bigint[], timestamptz[], bigint[], text[], bigint, text)",
        "hand_over_by_rules()",
    )
}
"""Functions that a service may call and that run with the owner's rights."""

TEMPORARY: Final = frozenset({"api"})
"""Services that create temporary tables; PostgreSQL permits that to everybody by default."""

LOCK_TIMEOUT_SECONDS: Final = 2
RETRY_TIMEOUT_SECONDS: Final = 600.0
RETRY_DELAY_SECONDS: Final = 1.0
CONNECT_TIMEOUT_SECONDS: Final = 10
TOGETHER: Final = (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation)
"""Errors of PostgreSQL when another process creates the same role at the same time."""

COLUMNS_THERE: Final = """
    SELECT table_name::text, column_name::text FROM information_schema.columns
    WHERE table_schema = 'public'
"""
OWNED_BY_OTHERS: Final = """
    SELECT c.oid::regclass::text, c.relkind::text FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
        AND c.relowner <> %(owner)s::regrole AND NOT EXISTS (SELECT FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                AND (d.deptype = 'e' OR d.deptype = 'i' AND c.relkind = 'S'))
    ORDER BY c.oid
"""
FUNCTIONS_OF_OTHERS: Final = """
    SELECT p.oid::regprocedure::text FROM pg_proc p
    WHERE p.pronamespace = 'public'::regnamespace AND p.proowner <> %(owner)s::regrole
        AND NOT EXISTS (SELECT FROM pg_depend d
            WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
"""


class RoleMissing(Transient):
    """A role to be granted rights does not exist; the text says what to do."""


def establish(admin_url: str, owner_url: str, service_urls: Sequence[str]) -> None:
    """Create the missing roles of these URLs, and make the owner own everything in `public`.

    Args:
        admin_url: URL of a role that may create roles; a superuser if tables have another owner.
        owner_url: URL of the role that migrates, with the name of the database.
        service_urls: URLs of the services.

    Raises:
        psycopg.Error: the role lacks the right, or the server does not answer.
    """
    owner = make_url(owner_url)
    at = make_url(admin_url).set(database=owner.database)
    with _connect(at.render_as_string(hide_password=False)) as connection:
        for url in dict.fromkeys((owner_url, *service_urls)):
            _make_role(connection, url)
        _hand_over(connection, str(owner.username))


def grant(owner_url: str, roles: Mapping[str, str]) -> None:
    """Grant each service's role exactly the rights that this release defines.

    The owner's rights stay unchanged; services that use the owner's role have all its rights.

    Args:
        owner_url: URL of the role that owns the tables.
        roles: name of the role of each service.

    Raises:
        RoleMissing: a role does not exist.
    """
    with _connect(owner_url) as connection, connection.transaction():
        owner = connection.execute("SELECT current_user").fetchone()
        own = owner[0] if owner else ""
        given = {service: role for service, role in roles.items() if role != own}
        known = connection.execute(COLUMNS_THERE).fetchall()
        for role in dict.fromkeys(given.values()):
            _require_role(connection, role)
            for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"):
                _do(connection, f"REVOKE ALL ON ALL {kind} IN SCHEMA public FROM {{}}", role)
        database = connection.info.dbname
        # If another role owns the database, PostgreSQL only warns.
        _do(connection, "REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC", database)
        for service, role in given.items():
            verb, link = ("GRANT", "TO") if service in TEMPORARY else ("REVOKE", "FROM")
            _do(connection, f"{verb} TEMPORARY ON DATABASE {{}} {link} {{}}", database, role)
            for statement, *names in _grants(service, set(known)):
                _do(connection, statement, *names, role)


def role_of(url: str) -> str:
    """Return the name of the role that a URL connects as."""
    return make_url(url).username or ""


def _grants(service: str, known: set[tuple[str, str]]) -> Iterator[tuple[str, ...]]:
    """Yield the grants of a service on tables and columns that exist, as statements and names."""
    tables = {table for table, _ in known}
    for table, verbs in RIGHTS[service].items():
        if table in tables:
            yield f"GRANT {', '.join(VERBS[verb] for verb in verbs)} ON {{}} TO {{}}", table
    yield from _grants_of_columns(service, known)
    for sequence in SEQUENCES.get(service, ()):
        yield "GRANT USAGE ON SEQUENCE {} TO {}", sequence
    for function in FUNCTIONS.get(service, ()):
        yield (f"GRANT EXECUTE ON FUNCTION {function} TO {{}}",)


def _grants_of_columns(service: str, known: set[tuple[str, str]]) -> Iterator[tuple[str, ...]]:
    for table, rights in COLUMNS.get(service, {}).items():
        for verb, columns in rights.items():
            for column in columns:
                if (table, column) in known:
                    yield f"GRANT {VERBS[verb]} ({{}}) ON {{}} TO {{}}", column, table


def _make_role(connection: psycopg.Connection[Any], url: str) -> None:
    """Create a role that can log in with this URL, unless it can already."""
    given = make_url(url)
    name, password = given.username or "", given.password or ""
    known = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", (name,))
    there = known.fetchone()
    if there is not None and (there[0] or _opens(url)):
        return
    verifier = connection.pgconn.encrypt_password(
        password.encode(), name.encode(), b"scram-sha-256"
    ).decode()
    if there is None:
        try:
            _do(connection, "CREATE ROLE {} LOGIN", name)
        except TOGETHER:
            log.warning("database.role_made_meanwhile", role=name)
    # Only a hash of the password is sent, so no statement log can show the password.
    text = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
    connection.execute(text.format(sql.Identifier(name), sql.Literal(verifier)))


def _opens(url: str) -> bool:
    try:
        with _connect(url):
            return True
    except psycopg.OperationalError:
        return False


def _hand_over(connection: psycopg.Connection[Any], owner: str) -> None:
    """Make this role own the database and its content, except objects of extensions."""
    database = connection.info.dbname
    _do(connection, "ALTER DATABASE {} OWNER TO {}", database, owner)
    connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
    told = {"owner": str(sql.Identifier(owner).as_string(connection))}
    for name, kind in connection.execute(OWNED_BY_OTHERS, told).fetchall():
        word = "SEQUENCE" if kind == "S" else "TABLE"
        _execute_patiently(connection, f"ALTER {word} {name} OWNER TO {{}}", owner)
    for (name,) in connection.execute(FUNCTIONS_OF_OTHERS, told).fetchall():
        _execute_patiently(connection, f"ALTER FUNCTION {name} OWNER TO {{}}", owner)


def _execute_patiently(connection: psycopg.Connection[Any], statement: str, role: str) -> None:
    """Run a statement that needs a table lock, retrying while the table is in use."""
    deadline = time.monotonic() + RETRY_TIMEOUT_SECONDS
    while True:
        try:
            _do(connection, statement, role)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if time.monotonic() > deadline:
                raise
            log.warning("database.owner_waiting", statement=statement)
            time.sleep(RETRY_DELAY_SECONDS)
        else:
            return


def _require_role(connection: psycopg.Connection[Any], role: str) -> None:
    if not _names(connection, "SELECT rolname FROM pg_roles WHERE rolname = %s", role):
        raise RoleMissing(
            f"there is no database role {role}: set DRAW_DATABASE_ADMIN_URL, or make it yourself"
        )


def _names(connection: psycopg.Connection[Any], statement: str, *values: str) -> list[str]:
    return [row[0] for row in connection.execute(statement.encode(), values or None)]


def _do(connection: psycopg.Connection[Any], statement: str, *names: str) -> None:
    text = sql.SQL(statement)  # a constant of this module; the names are quoted
    connection.execute(text.format(*map(sql.Identifier, names)))


@contextmanager
def _connect(url: str) -> Iterator[psycopg.Connection[Any]]:
    plain = sqlalchemy_url(url).replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(
        plain, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS
    ) as connection:
        yield connection
