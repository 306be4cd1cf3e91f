"""No statement that serves a request or a loop reads a table that grows from end to end.

Every statement of the suite is performed against a year's log and feed: a tenth of it in the
usual run, `make statements` has 1,000,000 instances and 5,000,000 lines. What is judged is
what PostgreSQL did, not what it expected: tables scanned, rows looked at. A statement that is
new is found by itself; what may look at more is listed with the reason.
"""

import os
import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode
from sqlmodel import Session

from bench import history_filler, index_filler
from draw_indexer.adapters.transaction_queries import PostgresTransactionChain
from draw_shared.contracts.server_config import EVERYTHING
from draw_shared.contracts.transaction import TransactionRecord
from draw_shared.db import feed, guard, partitions, transaction_chain
from draw_shared.db.catalogue_sql import find_statement
from draw_shared.db.migrate import seed_config
from draw_shared.db.session import Database
from draw_shared.dicom.encoding.uids import IMPLICIT_LITTLE, STUDY_ROOT_FIND
from draw_shared.dicom.network.service import PresentationContext, QueryRequest
from draw_shared.dicom.query.query import parse_find
from support import plans, service_finder, statements
from support.api import ApiHarness, offline_application
from support.statement_values import BATCH, JOB, NEW, OF_STATEMENT, SERIES, SOP, STUDY, VALUES

pytestmark = [pytest.mark.integration, pytest.mark.slow]

INSTANCES = int(os.environ.get("DRAW_TEST_LARGE_INSTANCES", "100000"))
LINES = INSTANCES * 5
STUDIES = INSTANCES // 10
MANY = 1_000_000

MOST_ROWS = 3000
"""Rows that one statement may look at: some hundreds of a batch, or pages of a list."""
QUEUE_ROWS = 6000
"""Of a page of 51 jobs, each counts up to a hundred that come before it."""
REPEATS = 7
"""After five times PostgreSQL chooses between plans for the values and one for all values."""

VERIFICATION = "draw_shared.db.transaction_verification"
RECONCILE = "draw_api.adapters.reconcile_queries"
WHOLE_COMPARISON = "an administrator compares the whole index with the whole volume"
EXCEPTIONS = {
    f"{VERIFICATION}._STRAY": "the check of the whole log reads the whole log",
    f"{VERIFICATION}._TWICE": "the check of the whole log reads the whole log",
    "draw_shared.db.transaction_gaps._HOLES": "once for a log, when sealing begins",
    "draw_api.adapters.activity_queries.SLOTS": "one day of the log, once an hour",
    "draw_api.adapters.transaction_queries.REJECTED": "the 20,000 newest, and no more",
    "draw_api.adapters.transaction_queries.CALLERS": "the 20,000 newest, and no more",
    "draw_api.adapters.association_queries.OPERATIONS": "400 of each association of a page",
    "draw_api.adapters.storage_queries.SUMS": "conflicts wait for a person, who settles them",
    "draw_api.adapters.node_queries.REMOVE": "what a node has answered goes with the node",
    "draw_shared.db.tombstones.LATEST": "asked when an indexer finds the database, once",
    "draw_api.adapters.webhook_queries.REMOVE": "what was delivered to it goes with a webhook",
}
ONLY_TOGETHER = {
    f"{RECONCILE}.{name}": WHOLE_COMPARISON
    for name in (
        "FILES", "ANALYZE", "COUNT", "ROWS_WITHOUT_FILE", "CONFLICTS_WITHOUT_FILE",
        "FILES_WITHOUT_ROW", "OTHER_SIZE",
    )
}  # fmt: skip
"""What needs the table of files that the comparison makes first."""

COMPOSED = {
    "draw_api.adapters.access_queries.any_user": "a lock, and `users` is small",
    "draw_api.adapters.ae_title_queries._lock": "a lock",
    "draw_api.adapters.node_queries._lock_names": "a lock",
    "draw_api.adapters.standing_query_queries._lock": "a lock",
    "draw_api.adapters.document_queries._of_table": "makes constants",
    "draw_api.adapters.archive_criteria._any_person": "asked for by every page and route below",
    "draw_api.adapters.archive_queries._found": "asked for by every page and route below",
    "draw_api.adapters.archive_queries._listed": "asked for by every page and route below",
    "draw_api.adapters.archive_queries._matches": "asked for by every page and route below",
    "draw_api.adapters.archive_criteria._of_study": "asked for by every page and route below",
    "draw_api.adapters.archive_queries.holds": "asked for by every page and route below",
    "draw_api.adapters.archive_queries.select": "asked for by every page and route below",
    "draw_api.adapters.archive_queries._instances": "asked for by every page and route below",
    "draw_api.adapters.archive_queries._persons": "asked for by every page and route below",
    "draw_api.adapters.archive_queries._series": "asked for by every page and route below",
    "draw_api.adapters.archive_queries._studies": "asked for by every page and route below",
    "draw_api.adapters.archive_queries._patients": "asked for by every page and route below",
    "draw_api.adapters.archive_queries.stored_object": "asked for by every page and route below",
    "draw_api.adapters.suspect_rows.objects": "an administrator's walk by 10,000 ids at a time",
    "draw_api.adapters.routed_delivery_queries._in_order": "makes constants",
    "draw_api.adapters.routed_delivery_queries.listed": "makes constants",
    "draw_api.adapters.transaction_queries._conditions": "asked for by every page and route below",
    "draw_api.adapters.transaction_queries.further_cursor": "asked for by pages and routes below",
    "draw_api.adapters.transaction_queries.examine": "asked for by every page and route below",
    "draw_api.adapters.association_queries._newest": "asked for by pages and routes below",
    "draw_api.adapters.association_queries._shown_earlier": "asked for by pages and routes below",
    "draw_api.adapters.association_queries._ends": "asked for by every page and route below",
    "draw_api.adapters.transaction_queries.one": "asked for by every page and route below",
    "draw_api.adapters.transaction_queries.page": "asked for by every page and route below",
    "draw_api.adapters.query_queries.queries": "asked for by every page and route below",
    "draw_indexer.adapters.index_statements._upsert": "makes constants",
    "draw_indexer.adapters.stability_queries._forget": "makes constants",
    "draw_qr_worker.adapters.delivery_queries.now": "asks for the time",
    "draw_qr_worker.adapters.job_queries._now": "asks for the time",
    "draw_qr_worker.adapters.job_queries.claim": "a lock",
    "draw_qr_worker.adapters.node_queries.relieve": "`remote_nodes` is small",
    "draw_shared.db.feed.take_turn": "called below",
    "draw_shared.db.migrate.seed_config": "`server_config` is small",
    "draw_shared.db.partitions._missing": "called below",
    "draw_shared.db.tables._flag": "makes columns",
    "draw_shared.db.tables._moment": "makes columns",
}
"""Functions that put statements together, and how it is known that those do not grow."""


@pytest.fixture(scope="module")
def large_url(postgres_url, template, tmp_path_factory):
    """A database in which a year has passed."""
    with service_finder.cloned_database(postgres_url, template) as url:
        began = time.monotonic()
        index_filler.fill(url, STUDIES)
        history_filler.fill(url, studies=STUDIES, lines=LINES)
        print(f"{INSTANCES} instances and {LINES} lines in {time.monotonic() - began:.0f} s")
        plans.explain_all(postgres_url, url.rpartition("/")[2])
        with (
            ApiHarness(url, tmp_path_factory.mktemp("storage")) as api,
            Session(api.database.engine) as session,
        ):
            seed_config(session, EVERYTHING)
            session.commit()
        yield url


@pytest.fixture(scope="module")
def large(large_url):
    """The way to that database."""
    database = Database(large_url)
    yield database
    database.dispose()


def performed(database, statement, calls, *, repeats=REPEATS):
    """Return the plans of a statement called with each of these values, and undo what it did."""
    with plans.watching(prepare_after=1) as seen, database.engine.connect() as connection:
        for values in calls:
            for _ in range(repeats):
                result = connection.execute(statement, values)
                if result.returns_rows:
                    result.all()
                connection.rollback()
    database.engine.dispose()
    return seen


def faults(name, seen, *, most_rows=MOST_ROWS):
    """Return what a statement reads that it may not."""
    found = set()
    for plan in seen:
        found |= {f"{name} scans {table}" for table in plan.scanned}
        if plan.rows_read > most_rows:
            found.add(f"{name} looks at {plan.rows_read} rows")
    return found


# --- statements that are constants -----------------------------------------------------

CONSTANTS = statements.constants()


def test_every_statement_has_values_and_every_composed_one_a_place():
    unknown = {
        (name, parameter)
        for name, statement in CONSTANTS.items()
        for parameter in statements.parameters(statement)
        if parameter not in VALUES
        and any(parameter not in call for call in OF_STATEMENT.get(name, ({},)))
    }
    assert not unknown, "give these parameters a value in support/statement_values.py"
    assert OF_STATEMENT.keys() <= CONSTANTS.keys()
    assert EXCEPTIONS.keys() | ONLY_TOGETHER.keys() <= CONSTANTS.keys()
    assert statements.composed() == COMPOSED.keys()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(CONSTANTS.keys() - ONLY_TOGETHER.keys()))
def test_no_statement_scans_what_grows(large, name):
    statement = CONSTANTS[name]
    found = faults(name, performed(large, statement, statements.calls(name, statement)))
    if name not in EXCEPTIONS:
        assert not found
    elif INSTANCES >= MANY:
        assert found, f"{name} needs no exception"


# --- what functions put together -------------------------------------------------------

# A page of the log looks at 20,000 lines in each of its branches, then ends with a cursor; one of
# conflicts of a kind at 5,000 with what each contradicts.
LOG_ROWS = 45_000
# A list with criteria looks at 2,000 of its rows first, each with what belongs to it; of what is
# rare it finds and counts all.
LIST_ROWS = 12_000


def test_what_keeps_the_log_and_the_feed_does_not_grow(large):
    with plans.watching() as seen:
        log = PostgresTransactionChain(large)
        for second in range(3):
            moment = datetime.now(UTC) + timedelta(seconds=second)
            record = {"kind": "c-store", "outcome": "success", "replica": "scp-1"}
            record |= {"record_id": NEW, "occurred_at": moment}
            assert log.write([TransactionRecord(**record)]) == 1
        log.make_partitions()
        with large.session() as session:
            guard.require_served_schema(session)
            feed.take_turn(session.connection())
            partitions.ensure_months(session.connection(), datetime.now(UTC).date(), ahead=3)
            transaction_chain.extend(session.connection())
    large.engine.dispose()
    assert seen
    assert not faults("upkeep", seen)


KEYS = {
    "PatientID=P00000007": 100,
    "PatientName=SMITH*": 100,
    "PatientName=*MITH*": 100,
    "PatientName=37693CFC^JO": 100,
    "PatientName=37693*": 100,
    "PatientBirthDate=19500101": 100,
    "PatientBirthDate=19510205": 100,
    "AccessionNumber=A000000077": 100,
    f"StudyInstanceUID={STUDY}": 100,
    "StudyDate=20251201-20251203": MOST_ROWS,
    "StudyID=777": 100,
}


@pytest.mark.parametrize("words", KEYS)
def test_what_peers_ask_by_a_key_is_found_by_an_index(large, words):
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    keyword, _, value = words.partition("=")
    setattr(identifier, keyword, value)
    context = PresentationContext(1, STUDY_ROOT_FIND, IMPLICIT_LITTLE)
    encoded = encode(identifier, is_implicit_vr=True, is_little_endian=True)
    query = parse_find(QueryRequest(1, STUDY_ROOT_FIND, context, encoded), b"")
    with plans.watching() as seen, large.engine.connect() as connection:
        driver = connection.connection.driver_connection
        driver.execute("SET jit = off")
        driver.execute(*find_statement(query)).fetchall()
    large.engine.dispose()
    assert seen
    assert not faults(words, seen, most_rows=KEYS[words])


# --- every page and every route --------------------------------------------------------

EXAMPLES = {
    "study_instance_uid": STUDY, "series_instance_uid": SERIES, "sop_instance_uid": SOP,
    "job_id": str(JOB), "query_id": str(BATCH), "batch_id": str(BATCH), "service": "scp",
    "queue": "indexer.dead", "key": "0" * 24, "session_id": "6f1c0a9d52b34e8f7a61b2c3",
}  # fmt: skip
LONG_AGO = "2020-01-01T00:00:00Z"
FILTERS_OF_LINES = (
    f"uid={STUDY}", f"uid={SOP}", "uid=association-77", "uid=1.2.3", "ae_title=MODALITY7",
    "ae_title=NOBODY", "ae_title=DRAW_SCP&outcome=failure", "outcome=failure",
    "outcome=cancelled", "kind=rejection", "kind=management&kind=c-get", "actor=operator1",
    "actor=nobody", "action=study.delete", "peer_address=192.0.2.1", "status=1",
    "kind=c-store&status=1",
    f"until={LONG_AGO}",
)  # fmt: skip
ASSOCIATIONS = (
    "trouble=any", "trouble=refused", "activity=stored", "activity=queried", "activity=retrieved",
    "activity=verified", "peer=MODALITY7", "peer=NOBODY", "peer=192.0.2.1",
    "peer=MODALITY7&trouble=any", f"until={LONG_AGO}", f"until={LONG_AGO}&trouble=any",
)  # fmt: skip
FILTERS = {
    "associations": ASSOCIATIONS,
    "transactions": FILTERS_OF_LINES,
    "lines": FILTERS_OF_LINES,
    "audit": (
        "group=deleted", "group=configuration", "group=viewed", "user=operator1", "user=nobody",
        "patient_id=P00000007", "patient_id=nobody", "group=deleted&user=operator1",
        "group=deleted&patient_id=P00000007", f"until={LONG_AGO}",
    ),
    "studies": (
        "patient_id=P00000007", "patient_name=SMITH", "accession_number=A000000077",
        "date_from=2025-12-01&date_to=2025-12-03", "modality=CT", "patient_name=Q'x",
        "patient_name=37693CFC", "search=37693CFC", "search=P00000007", "search=37693CFC+j+knee",
        "search=an+j", "search=thorax+without", "search=A-000.000-077", "search=e&sort=patient",
        "search=knee+an&modality=CT", "search=smith&sort=study_date", "held=true",
        "conflicting=true", "referring_physician=nobody",
        *(f"sort={sort}&order={order}" for order in ("asc", "desc") for sort in (
            "received", "study_date", "patient", "description", "size")),
    ),
    "patients": (
        "patient_id=P00000007", "name=SM", "name=Q'x", "name=37693CFC", "ambiguous=true",
        "ambiguous=true&name=AND", "search=37693CFC", "search=smith+j", "search=an",
        "sort=patient", "sort=patient&order=desc",
    ),
    "conflicts": (
        f"study_instance_uid={STUDY}", "kind=another_study", "kind=another_patient",
        f"kind=another_object&study_instance_uid={STUDY}",
    ),
    "retrieves": ("state=failed", "node_id=99", f"parent_id={BATCH}"),
    "jobs": ("state=failed", "node_id=99", "state=queued"),
    "changes": ("since=0&kind=study.deleted",),
}  # fmt: skip
WHOLE = {
    "/api/v1/transactions/export.csv": "an export of everything",
    "/api/v1/transactions/audit.csv": "an export of everything",
    "/api/v1/patients/export.csv": "an export of everything",
    "/api/v1/studies/export.csv": "an export of everything",
}


def requests():
    """Yield every GET of page and REST, lists also with what one may filter by."""
    for context in iter_route_contexts(offline_application().routes):
        route = context.original_route
        if not isinstance(route, APIRoute) or "GET" not in route.methods:
            continue
        path = re.sub(r"\{(\w+)\}", lambda found: EXAMPLES.get(found[1], "1"), route.path)
        if path in WHOLE:
            continue
        yield path
        for words in FILTERS.get(path.rpartition("/")[2], ()):
            yield f"{path}?{words}"


@pytest.fixture(scope="module")
def browser(large_url, tmp_path_factory):
    """An administrator at an API in front of that database, and the plans of what it asks."""
    with (
        plans.watching() as seen,
        ApiHarness(large_url, tmp_path_factory.mktemp("storage")) as api,
    ):
        yield api.signed_in("admin"), seen


ALLOWED = {plans.normal(str(CONSTANTS[name].compile())) for name in EXCEPTIONS}


@pytest.mark.parametrize("path", list(requests()))
def test_no_page_or_route_scans_what_grows(browser, path):
    client, seen = browser
    seen.clear()
    with client.stream("GET", path) as answer:
        # There is no broker to look into.
        without_broker = "/dead-letters" in path
        assert answer.status_code not in {401, 403, 500} | ({503} - {503 * without_broker})
        if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            answer.read()
    asked = [plan for plan in list(seen) if plans.normal(plan.statement) not in ALLOWED]
    walk = re.search("/transactions|/conflicts.*kind=", path)
    listed = re.search(r"/(studies|patients)\?", path)
    queued = path.endswith("/jobs?state=queued")
    most = LOG_ROWS if walk else LIST_ROWS if listed else QUEUE_ROWS if queued else MOST_ROWS
    assert not faults(path, asked, most_rows=most)


def test_a_rare_value_is_found_by_an_index_after_many_usual_ones(browser):
    client, seen = browser
    for title in ["MODALITY7"] * 15 + ["NOBODY"]:
        seen.clear()
        assert client.get(f"/api/v1/transactions?ae_title={title}").status_code == 200
    assert not faults("a rare AE title", list(seen))
