"""Each service may do with each table what it has a right to, and nothing else.

What is judged is what PostgreSQL says to real attempts. That the rights suffice for everything
that the services do is for the e2e tests: their suites run with these roles.
"""

import psycopg
import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from draw_shared.db import roles
from draw_shared.db.migrate import bring_up_to_date, upgrade
from draw_shared.db.roles import COLUMNS, RIGHTS, VERBS
from draw_shared.db.session import sqlalchemy_url
from draw_shared.db.tables import metadata
from support import service_finder, statements
from support.suite import as_role, service_urls

pytestmark = pytest.mark.integration

TABLES = ("alembic_version", *sorted(metadata.tables))
SERVICES = tuple(RIGHTS)
OWNER = "draw_test_owner"
ATTEMPTS = {
    "SELECT": "SELECT * FROM {table}",
    "INSERT": "INSERT INTO {table} DEFAULT VALUES",
    "UPDATE": "UPDATE {table} SET {column} = {column} WHERE false",
    "DELETE": "DELETE FROM {table}",
    "TRUNCATE": "TRUNCATE {table} CASCADE",
    "LOCK": "LOCK {table} IN ACCESS EXCLUSIVE MODE",
    "ALTER": "ALTER TABLE {table} ADD COLUMN more text",
    "DROP": "DROP TABLE {table} CASCADE",
}
SECRETS = ("users", "web_sessions", "api_tokens")
ASKED_OVER_HTTP = ("dicomweb", "api")
OF_SHARED = {
    "archived_series": ("indexer", "api"),
    "config_versions": ("indexer",),
    "deletion": ("indexer", "api"),
    "feed": ("indexer", "api"),
    "audit_trail": ("dicomweb", "api"),
    "credentials": ("dicomweb", "api"),
    "guard": SERVICES,
    "partitions": ("indexer",),
    "persons": ("indexer", "api"),
    "retrieve_requests": ("qr-worker", "api"),
    "session": ("indexer", "qr-worker"),
    "routing_facts": ("indexer", "api"),
    "store_statistics": ("indexer",),
    "tombstones": ("indexer", "api"),
    "clean_up": ("indexer", "api"),
    "transaction_chain": ("indexer",),
    "transaction_gaps": ("indexer",),
    "transaction_lines": ("indexer", "api"),
    "transaction_statements": ("indexer", "api"),
    "transaction_verification": ("indexer", "api"),
    "heartbeat": SERVICES,
    "desired_state": ("scp", "indexer", "qr-worker"),
}
"""By module that several services share, which of them call its statements."""
OF_ONE = {
    "draw_shared.db.deletion.PENDING": ("indexer",),
    "draw_shared.db.deletion.FORGET": ("indexer",),
    "draw_shared.db.deletion.FORGET_OLD_STUDIES": ("indexer",),
    "draw_shared.db.tombstones.FORGET_OLD": ("indexer",),
}
"""Statements of those modules that not all of them call."""
NEITHER = {
    # The owner's, while it migrates.
    "draw_shared.db.migrate",
}


@pytest.fixture(scope="module")
def database_url(postgres_url, template):
    """A migrated database with a role for each service."""
    with service_finder.cloned_database(postgres_url, template) as url:
        bring_up_to_date(url, admin_url=url, service_urls=service_urls(url))
        yield url


@pytest.fixture(scope="module")
def connections(database_url):
    """By service, a connection with its own role."""
    made = {
        name: psycopg.connect(url, autocommit=True)
        for name, url in service_urls(database_url).items()
    }
    yield made
    for one in made.values():
        one.close()


def may(connection, statement):
    """Return whether PostgreSQL lets this role do it; nothing of it stays."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return False
    except psycopg.errors.IntegrityError:
        # Too little was said; to say more would have been allowed.
        return True
    return True


def columns(connection, table):
    found = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
        " AND NOT attisdropped AND attidentity <> 'a' ORDER BY attnum",
        (table,),
    )
    return [name for (name,) in found]


def allowed(connection, table):
    """Return the verbs that this role may do with a table, and with which columns it may."""
    names = columns(connection, table)
    verbs = {
        verb
        for verb, attempt in ATTEMPTS.items()
        if may(connection, attempt.format(table=table, column=names[0]))
    }
    return verbs, {
        name
        for name in names
        if may(connection, f"UPDATE {table} SET {name} = DEFAULT WHERE false")  # noqa: S608
    }


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_do_what_is_in_the_table_of_rights_and_nothing_else(service, connections):
    found, expected = {}, {}
    for table in TABLES:
        verbs, changed = allowed(connections[service], table)
        rights = {VERBS[verb] for verb in RIGHTS[service].get(table, "")}
        if "UPDATE" in rights:
            assert changed, table
        else:
            assert changed == set(COLUMNS.get(service, {}).get(table, {}).get("U", ())), table
        # Whoever may change or delete rows may also lock them all.
        found[table], expected[table] = verbs - {"LOCK"}, rights
        assert ("LOCK" in verbs) <= bool(rights & {"UPDATE", "DELETE"}), table
    assert found == expected


@pytest.mark.parametrize("service", SERVICES)
def test_nobody_changes_or_removes_lines_of_the_transaction_log(service, connections):
    verbs, _ = allowed(connections[service], "transactions")
    assert verbs <= {"SELECT", "INSERT"}
    parts = connections["api"].execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhparent = 'transactions'::regclass"
    )
    for (part,) in parts.fetchall():
        assert allowed(connections[service], part) == (set(), set()), part


@pytest.mark.parametrize("service", [name for name in SERVICES if name not in ASKED_OVER_HTTP])
def test_only_who_is_asked_over_http_reads_what_opens_a_session(service, connections):
    for table in SECRETS:
        assert allowed(connections[service], table) == (set(), set()), table


def test_single_columns_are_read_where_the_table_of_rights_says_so(connections):
    for service, tables in COLUMNS.items():
        for table, rights in tables.items():
            if "S" not in RIGHTS[service].get(table, ""):
                read = {
                    name
                    for name in columns(connections["api"], table)
                    if may(connections[service], f"SELECT {name} FROM {table} LIMIT 0")  # noqa: S608
                }
                assert read == set(rights["S"]), table


def test_dicomweb_learns_whose_a_credential_is_and_can_make_none(connections):
    dicomweb = connections["dicomweb"]
    for statement in (
        "SELECT password_hash FROM users",
        "UPDATE users SET role = 'admin'",
        "UPDATE api_tokens SET role = 'admin'",
        "UPDATE api_tokens SET token_hash = ''",
        "UPDATE web_sessions SET user_id = 1",
    ):
        assert not may(dicomweb, statement), statement
    assert may(dicomweb, "UPDATE api_tokens SET last_used_at = now() WHERE id = 1")


@pytest.mark.parametrize("service", SERVICES)
def test_a_role_is_nobody_special(service, connections):
    connection = connections[service]
    [row] = connection.execute(
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,"
        " (SELECT count(*) FROM pg_auth_members WHERE member = r.oid)"
        " FROM pg_roles r WHERE rolname = current_user"
    ).fetchall()
    assert row == (False, False, False, False, False, 0)
    for statement in (
        "CREATE TABLE own (x int)",
        "CREATE FUNCTION own() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA own",
        "CREATE ROLE own",
        "ALTER ROLE CURRENT_USER SUPERUSER",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/hostname')",
        "SELECT lo_export(1, '/tmp/x')",
    ):
        assert not may(connection, statement), statement


@pytest.mark.parametrize("service", SERVICES)
def test_only_who_compares_the_index_with_the_volume_makes_temporary_tables(service, connections):
    made = may(connections[service], "CREATE TEMPORARY TABLE own (x int) ON COMMIT DROP")
    assert made == (service == "api")


def test_months_are_made_and_dropped_by_the_indexer_alone(connections):
    for service, connection in connections.items():
        for statement in (
            "SELECT make_transaction_month('1999-01-01')",
            "SELECT * FROM drop_transaction_months('1999-01-01')",
        ):
            assert may(connection, statement) == (service == "indexer"), (service, statement)
    with pytest.raises(psycopg.errors.RaiseException, match="current month"):
        connections["indexer"].execute("SELECT drop_transaction_months('2999-01-01')")


def test_a_line_joins_the_chain_once_and_only_by_the_indexer(connections, database_url):
    line = (
        "INSERT INTO transactions (record_id, occurred_at, kind, action, outcome, replica)"
        " VALUES (gen_random_uuid(), now(), 'system', 'made up', 'success', 'a')"
        " RETURNING id, occurred_at"
    )
    link = "SELECT link_transactions(ARRAY[%s], ARRAY[%s], ARRAY[%s::bigint], ARRAY[%s], 0, '')"
    indexer = connections["indexer"]
    with indexer.transaction(force_rollback=True):
        found = indexer.execute(line).fetchone()
        for position, chain_hash in ((900_001, "aa"), (900_002, "bb")):
            indexer.execute(link, (*found, position, chain_hash))
            there = indexer.execute(
                "SELECT chain_position, chain_hash FROM transactions WHERE id = %s", found[:1]
            )
            assert there.fetchone() == (900_001, b"\xaa")
    for service in set(SERVICES) - {"indexer"}:
        text_of_it = "SELECT link_transactions('{}', '{}', '{}', '{}', 0, '')"
        assert not may(connections[service], text_of_it), service


def test_every_table_has_somebody_who_uses_it():
    used = {table for rights in RIGHTS.values() for table in rights}
    assert used == set(TABLES)


def callers(name):
    """Return the services that call a statement, by the module that it is in."""
    package, *_, module = name.rpartition(".")[0].split(".")
    if package == "draw_shared":
        return OF_SHARED[module]
    return (package.removeprefix("draw_").replace("_", "-"),)


def test_each_statement_of_a_service_is_within_its_rights(database_url):
    refused = []
    engines = {
        name: create_engine(sqlalchemy_url(url)) for name, url in service_urls(database_url).items()
    }
    for name, statement in statements.constants().items():
        if name.rpartition(".")[0] in NEITHER:
            continue
        for service in OF_ONE.get(name) or callers(name):
            for values in statements.calls(name, statement):
                with engines[service].connect() as connection:
                    try:
                        connection.execute(statement, values)
                    except DBAPIError as error:
                        # A constraint or a value is no matter of rights.
                        if getattr(error.orig, "sqlstate", "") == "42501":
                            refused.append((service, name, str(error.orig).splitlines()[0]))
    for engine in engines.values():
        engine.dispose()
    assert not refused, "\n".join(map(str, refused))


@pytest.fixture
def before(postgres_url):
    """A database as the release before the roles has made it, everything the superuser's."""
    with service_finder.cloned_database(postgres_url, "template1") as url:
        upgrade(url, "0016")
        yield url


def owners(url):
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT DISTINCT relowner::regrole::text FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace UNION"
            " SELECT DISTINCT proowner::regrole::text FROM pg_proc p"
            " WHERE pronamespace = 'public'::regnamespace AND NOT EXISTS"
            " (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')"
        )
        return {name for (name,) in found}


def test_an_existing_database_is_handed_over_to_an_owner_who_is_no_superuser(before):
    assert owners(before) == {make_url(before).username}
    owner_url, urls = as_role(before, OWNER), service_urls(before)
    for _ in range(2):
        bring_up_to_date(owner_url, admin_url=before, service_urls=urls)
        assert owners(before) == {OWNER}
    with psycopg.connect(owner_url) as owner:
        held = owner.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        assert held.fetchone() == (False,)
    with psycopg.connect(urls["indexer"], autocommit=True) as indexer:
        assert indexer.execute("SELECT make_transaction_month('2001-02-01')").fetchone() == (True,)
        assert indexer.execute("SELECT make_transaction_month('2001-02-01')").fetchone() == (False,)
        dropped = indexer.execute("SELECT drop_transaction_months('2001-03-01')").fetchall()
        assert dropped == [("transactions_2001_02",)]
    assert owners(before) == {OWNER}


def test_a_right_that_a_release_does_not_give_any_more_is_taken_away(before):
    urls = service_urls(before)
    bring_up_to_date(before, admin_url=before, service_urls=urls)
    with psycopg.connect(before, autocommit=True) as owner:
        owner.execute("GRANT DELETE ON transactions TO draw_test_scp")
    bring_up_to_date(before, service_urls=urls)
    with psycopg.connect(urls["scp"], autocommit=True) as receiver:
        assert not may(receiver, "DELETE FROM transactions")


def test_a_role_gets_the_password_of_its_url(before):
    urls = service_urls(before)
    roles.establish(before, before, tuple(urls.values()))
    other = as_role(before, "draw_test_other", "a-first-password")
    renewed = as_role(before, "draw_test_other", "another-one")
    try:
        roles.establish(before, before, (other,))
        roles.establish(before, before, (renewed,))
        psycopg.connect(renewed).close()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(other)
    finally:
        with psycopg.connect(before, autocommit=True) as owner:
            owner.execute("DROP ROLE IF EXISTS draw_test_other")


def test_without_a_role_it_is_said_which_one_is_missing(before):
    urls = service_urls(before) | {"scp": as_role(before, "draw_nobody")}
    with pytest.raises(roles.RoleMissing, match="draw_nobody: set DRAW_DATABASE_ADMIN_URL"):
        bring_up_to_date(before, service_urls=urls)


def test_services_that_share_the_owners_role_go_on(before):
    urls = dict.fromkeys(SERVICES, before)
    bring_up_to_date(before, admin_url=before, service_urls=urls)
    engine = create_engine(sqlalchemy_url(before))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM transactions"))
    engine.dispose()
