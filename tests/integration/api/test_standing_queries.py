"""Standing queries over REST, and the scheduler on a real database.

What the worker does is written by the test here; with a real node and the real worker it is seen
in tests/e2e/test_standing_queries.py.
"""

import json
import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from draw_api.adapters.standing_query_queries import PostgresStandingRunRepository
from draw_api.handlers.standing_queries import StandingQueryScheduler
from draw_api.metrics import ApiMetrics
from draw_api.models.schedules import latest_run
from draw_shared.errors import Transient
from draw_shared.runtime.metrics import service_registry
from support.api import ApiHarness

pytestmark = pytest.mark.integration

HERE = "/api/v1/standing-queries"
NIGHTLY = "0 2 * * *"
BERLIN = "Europe/Berlin"


def scheduler_of(api, registry=None):
    """Return the scheduler of another replica."""
    registry = registry or service_registry(service="api", replica="test", version="1")
    return StandingQueryScheduler(api.work, ApiMetrics(registry))


class Standing:
    """Standing queries of one API, whose clock and worker are the test."""

    def __init__(self, api):
        self.api = api
        self.operator = api.of_role("operator")
        self.registry = service_registry(service="api", replica="test", version="1")
        self.scheduler = scheduler_of(api.api, self.registry)
        settings = {"ae_title": "PACS", "host": "127.0.0.1", "port": 104}
        self.node = self.post("/api/v1/nodes", settings | {"name": "PACS"})["id"]
        self.other = self.post("/api/v1/nodes", settings | {"name": "OTHER"})["id"]

    def post(self, path, body=None):
        answer = self.operator.post(path, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def add(self, *nodes, **given):
        query = {"node_ids": list(nodes or (self.node,)), "study_dates": "yesterday"}
        body = {"name": "nightly", "query": query, "schedule": NIGHTLY, "zone": BERLIN} | given
        return self.post(HERE, body)["id"]

    def execute(self, statement, **values):
        with self.api.database.session() as session:
            session.connection().execute(text(statement), values)
            session.commit()

    def make_due(self, number, ago=timedelta(days=3)):
        self.execute(
            "UPDATE standing_queries SET next_run_at = :then WHERE id = :id",
            then=datetime.now(UTC) - ago,
            id=number,
        )

    def runs(self, number):
        return self.operator.get(f"{HERE}/{number}/runs").json()["items"]

    def answer(self, query_id, studies, *, node=None, state="complete", error=""):
        """Let a node answer a query as the worker writes it: UIDs with their number of images."""
        node = node or self.node
        for uid, day, images in studies:
            attributes = {"StudyInstanceUID": uid, "StudyDate": day}
            if images is not None:
                attributes["NumberOfStudyRelatedInstances"] = images
            self.execute(
                "INSERT INTO query_results (query_id, node_id, unique_key, attributes)"
                " VALUES (:q, :n, :k, CAST(:a AS jsonb))",
                q=query_id, n=node, k=uid, a=json.dumps(attributes),
            )  # fmt: skip
        self.execute(
            "UPDATE jobs SET state = :state, finished_at = now(), error = :error,"
            " progress = jsonb_build_object('matches', CAST(:number AS int)),"
            " result = '{\"completeness\": \"complete\"}'"
            " WHERE parent_id = :q AND node_id = :n",
            state=state, error=error, q=query_id, n=node, number=len(studies),
        )  # fmt: skip

    def conclude(self, batch_id, state):
        self.execute(
            "UPDATE jobs SET state = :state, finished_at = now() WHERE id = :id",
            state=state,
            id=batch_id,
        )

    def finish_children(self, job_id, state):
        self.execute(
            "UPDATE jobs SET state = :state, finished_at = now() WHERE parent_id = :id OR id = :id",
            state=state,
            id=job_id,
        )

    def asked(self, number):
        """Begin a due run and return its query."""
        self.make_due(number)
        self.scheduler.look()
        [run] = [run for run in self.runs(number) if run["finished_at"] is None]
        assert run["state"] == "asking"
        return run["query_id"]


@pytest.fixture
def standing(shared_api):
    made = Standing(shared_api)
    yield made
    for table in ("standing_queries", "jobs", "studies", "patients", "remote_nodes"):
        made.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names


@pytest.fixture(scope="module")
def second(shared_api, tmp_path_factory):
    """A second replica on the same database."""
    url = shared_api.settings.database_url.get_secret_value()
    with ApiHarness(url, tmp_path_factory.mktemp("second")) as other:
        yield scheduler_of(other.api)


def study(number, day="20261129", images="2"):
    return (f"1.2.3.{number}", day, images)


def die_after_requesting(api, run_id):
    """Request what a run retrieves, and die before that is committed."""
    with api.work() as work:
        assert work.standing_runs.advance(run_id) == "retrieving"
        raise KeyError


# --- over REST ---------------------------------------------------------------------------


def test_a_standing_query_says_when_it_runs_next(standing, shared_api):
    made = standing.operator.get(f"{HERE}/{standing.add()}").json()
    assert (made["schedule"], made["zone"], made["active"]) == (NIGHTLY, BERLIN, True)
    coming = [datetime.fromisoformat(moment) for moment in made["next_runs"]]
    assert len(coming) == 3
    assert coming[0] > datetime.now(UTC)
    assert coming == sorted(coming)
    assert made["last_run"] is None
    assert (
        "operator",
        "standing-query.create",
        f"standing query {made['id']}: {NIGHTLY} {BERLIN}",
    ) in (shared_api.actions())


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"schedule": "0 25 * * *"}, "schedule", "25 is no hour"),
        ({"schedule": "* * * * *"}, "schedule", "every 5 minutes at most"),
        ({"zone": "Europe/Atlantis"}, "zone", "time zone such as"),
        ({"zone": ""}, "zone", "time zone such as"),
        ({"most": 0}, "most", "at least 1"),
        ({"name": ""}, "name", "must not be empty"),
        ({"query": {"node_ids": [99]}}, "query.node_ids.0", "no such remote node"),
        ({"query": {"node_ids": [1], "level": "PATIENT"}}, "query", "asks for studies"),
        ({"query": {"node_ids": [1], "keys": {"StudyDate": "03/04/2026"}}}, "query.keys", "April"),
    ],
)
def test_what_cannot_be_asked_is_said_beside_its_field(standing, given, field, words):
    body = {
        "name": "n",
        "query": {"node_ids": [standing.node]},
        "schedule": NIGHTLY,
        "zone": BERLIN,
    }
    answer = standing.operator.post(HERE, json=body | given)
    assert answer.status_code == 422
    [problem] = answer.json()["errors"]
    assert problem["field"].startswith(field)
    assert words in problem["message"]


def test_a_name_is_given_once(standing):
    standing.add()
    body = {"name": "nightly", "query": {"node_ids": [standing.node]}, "schedule": NIGHTLY}
    answer = standing.operator.post(HERE, json=body)
    assert answer.status_code == 422
    other = standing.add(name="other")
    renamed = standing.operator.patch(f"{HERE}/{other}", json={"name": "nightly"})
    assert renamed.status_code == 422
    assert standing.operator.patch(f"{HERE}/{other}", json={"name": "other"}).status_code == 200


def test_a_paused_one_does_not_run_and_goes_on_from_now(standing):
    number = standing.add()
    paused = standing.operator.patch(f"{HERE}/{number}", json={"active": False}).json()
    assert paused["next_runs"] == []
    standing.make_due(number)
    standing.scheduler.look()
    assert standing.runs(number) == []
    again = standing.operator.patch(f"{HERE}/{number}", json={"active": True}).json()
    assert len(again["next_runs"]) == 3
    standing.scheduler.look()
    assert standing.runs(number) == []


def test_a_change_of_the_name_does_not_lose_a_due_run(standing):
    number = standing.add()
    standing.make_due(number)
    standing.operator.patch(f"{HERE}/{number}", json={"most": 5}).raise_for_status()
    standing.scheduler.look()
    assert len(standing.runs(number)) == 1


def test_who_only_reads_may_not_change_or_run(standing, shared_api):
    number = standing.add()
    viewer = shared_api.of_role("viewer")
    assert viewer.get(f"{HERE}/{number}").status_code == 200
    assert viewer.get(f"{HERE}/{number}/runs").status_code == 200
    assert viewer.post(f"{HERE}/{number}/run").status_code == 403
    assert viewer.patch(f"{HERE}/{number}", json={}).status_code == 403
    assert viewer.delete(f"{HERE}/{number}").status_code == 403


def test_one_that_is_not_there_is_said(standing):
    for method, path in (
        ("get", ""),
        ("patch", ""),
        ("delete", ""),
        ("post", "/run"),
        ("get", "/runs"),
    ):
        more = {"json": {}} if method == "patch" else {}
        answer = getattr(standing.operator, method)(f"{HERE}/99{path}", **more)
        assert answer.status_code == 404


def test_its_runs_are_pages_and_go_with_it(standing):
    number = standing.add()
    for hours in range(5):
        standing.execute(
            "INSERT INTO standing_query_runs (standing_query_id, scheduled_for, state,"
            " finished_at) VALUES (:id, now() - make_interval(hours => :hours), 'complete', now())",
            id=number,
            hours=hours,
        )
    first = standing.operator.get(f"{HERE}/{number}/runs", params={"limit": 3}).json()
    cursor = first["next_cursor"]
    rest = standing.operator.get(f"{HERE}/{number}/runs", params={"cursor": cursor}).json()
    assert [len(first["items"]), len(rest["items"]), rest["next_cursor"]] == [3, 2, None]
    foreign = standing.operator.get(f"{HERE}/{number}/runs", params={"cursor": "WyJ4Il0"})
    assert foreign.status_code == 422
    assert standing.operator.delete(f"{HERE}/{number}").status_code == 204
    assert standing.api.rows("SELECT id FROM standing_query_runs") == []


# --- when it runs ------------------------------------------------------------------------


def test_of_the_missed_runs_the_latest_is_run_once_for_its_own_day(standing):
    number = standing.add()
    query = standing.asked(number)
    [run] = standing.runs(number)
    scheduled = datetime.fromisoformat(run["scheduled_for"])
    assert scheduled == latest_run(NIGHTLY, BERLIN, datetime.now(UTC))
    before = (scheduled + timedelta(hours=3)).date() - timedelta(days=1)
    asked = standing.operator.get(f"/api/v1/queries/{query}").json()
    assert asked["keys"]["StudyDate"] == f"{before:%Y%m%d}"
    assert asked["created_by"] == f"schedule {number}"
    standing.scheduler.look()
    assert len(standing.runs(number)) == 1
    [coming, *_] = standing.operator.get(f"{HERE}/{number}").json()["next_runs"]
    assert datetime.fromisoformat(coming) > datetime.now(UTC)


def test_two_replicas_make_one_run_and_one_query(standing, second):
    numbers = [standing.add(name=f"nightly {n}") for n in range(8)]
    for number in numbers:
        standing.make_due(number)
    schedulers = (standing.scheduler, second)
    barrier = threading.Barrier(2)

    def look(scheduler):
        barrier.wait(10)
        for _ in range(5):
            scheduler.look()

    threads = [threading.Thread(target=look, args=(one,)) for one in schedulers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [len(standing.runs(number)) for number in numbers] == [1] * 8
    assert len(standing.api.rows("SELECT id FROM queries")) == 8


def test_a_clock_that_was_put_back_neither_repeats_a_run_nor_loses_the_next(standing):
    number = standing.add()
    query = standing.asked(number)
    standing.answer(query, [])
    standing.conclude(query, "complete")
    standing.scheduler.look()
    # As computed while the clock was a year ahead.
    standing.execute("UPDATE standing_queries SET next_run_at = now() + interval '1 year'")
    standing.scheduler.look()
    [row] = standing.api.rows("SELECT next_run_at FROM standing_queries")
    assert row["next_run_at"] < datetime.now(UTC) + timedelta(days=2)
    # As computed again after a step of some seconds: this moment has had its run.
    [run] = standing.runs(number)
    standing.execute("UPDATE standing_queries SET next_run_at = :m", m=run["scheduled_for"])
    standing.scheduler.look()
    assert len(standing.runs(number)) == 1


def test_a_run_that_still_goes_has_the_next_one_skipped(standing):
    number = standing.add(schedule="*/5 * * * *")
    standing.asked(number)
    standing.execute(
        "UPDATE standing_query_runs SET scheduled_for = scheduled_for - interval '1 h'"
    )
    standing.make_due(number)
    standing.scheduler.look()
    last, first = standing.runs(number)
    assert (last["state"], first["state"]) == ("skipped", "asking")
    assert "was still going" in last["error"]
    assert standing.operator.post(f"{HERE}/{number}/run").status_code == 409


def test_run_now_is_a_run_beside_the_schedule(standing, shared_api):
    number = standing.add(active=False)
    answer = standing.post(f"{HERE}/{number}/run")
    assert answer["last_run"]["run_by"] == "operator"
    standing.scheduler.look()
    [run] = standing.runs(number)
    assert run["query_id"]
    assert ("operator", "standing-query.run", f"standing query {number}") in shared_api.actions()


def test_a_zone_that_this_machine_no_longer_knows_is_said_once(standing):
    number = standing.add()
    standing.execute("UPDATE standing_queries SET zone = 'Europe/Atlantis'")
    standing.make_due(number)
    standing.scheduler.look()
    standing.scheduler.look()
    [run] = standing.runs(number)
    assert (run["state"], run["error"]) == ("failed", "there is no time zone Europe/Atlantis")


def test_old_runs_are_forgotten(standing, monkeypatch):
    monkeypatch.setattr("draw_api.adapters.standing_query_queries.KEPT_RUNS", 3)
    number = standing.add()
    with standing.api.database.session() as session:
        table = PostgresStandingRunRepository(session)
        for day in range(1, 7):
            table.add_run(number, datetime(2026, 1, day, tzinfo=UTC), "")
            session.connection().execute(text("UPDATE standing_query_runs SET finished_at = now()"))
        session.commit()
    assert [run["scheduled_for"][:10] for run in standing.runs(number)] == [
        "2026-01-06",
        "2026-01-05",
        "2026-01-04",
    ]


# --- what a run does ---------------------------------------------------------------------


def test_only_what_is_not_here_is_requested_the_newest_first_and_at_most_n(standing):
    number = standing.add(most=2)
    query = standing.asked(number)
    standing.execute("INSERT INTO patients (patient_id, name) VALUES ('P', 'P')")
    standing.execute(
        "INSERT INTO studies (study_instance_uid, patient_pk, instance_count)"
        " SELECT uid, (SELECT max(id) FROM patients), 2"
        " FROM unnest(ARRAY['1.2.3.1', '1.2.3.2']) AS uid"
    )
    found = [
        study(1),  # here
        study(2, images="3"),  # one image is missing
        study(3, "20261128"),
        study(4, "20261127", images=None),
        study(5, "20261126"),
    ]
    standing.answer(query, found)
    standing.scheduler.look()
    assert standing.runs(number)[0]["state"] == "asking"  # the batch is not concluded yet
    standing.conclude(query, "complete")
    standing.scheduler.look()
    [run] = standing.runs(number)
    assert run["state"] == "retrieving"
    counts = [run[n] for n in ("found", "already_here", "requested", "on_the_way", "left_out")]
    assert counts == [5, 1, 2, 0, 2]
    [job_id] = run["retrieve_ids"]
    jobs = standing.operator.get("/api/v1/retrieves", params={"parent_id": job_id}).json()["items"]
    assert {job["item"]["study_instance_uid"] for job in jobs} == {"1.2.3.2", "1.2.3.3"}
    assert {(job["priority"], job["created_by"]) for job in jobs} == {(7, f"schedule {number}")}
    standing.scheduler.look()
    assert standing.runs(number)[0]["state"] == "retrieving"
    standing.finish_children(job_id, "complete")
    standing.scheduler.look()
    [run] = standing.runs(number)
    assert run["state"] == "partial"
    assert run["error"] == "studies left out, because a run retrieves at most 2: 2"
    counted = [
        standing.registry.get_sample_value(
            "draw_api_standing_query_runs_total", {"outcome": outcome}
        )
        for outcome in ("complete", "partial", "failed", "skipped")
    ]
    assert counted == [0, 1, 0, 0]
    assert run["finished_at"]


def test_a_replica_that_dies_in_the_middle_leaves_the_run_to_another(standing, second):
    number = standing.add()
    standing.make_due(number)
    with standing.api.api.work() as work:
        assert work.standing_runs.begin(number) == "asking"
    # The process died here: nothing was asked yet.
    second.look()
    [run] = standing.runs(number)
    standing.answer(run["query_id"], [study(1), study(2)])
    standing.conclude(run["query_id"], "complete")
    with pytest.raises(KeyError):
        die_after_requesting(standing.api.api, run["id"])
    assert standing.api.rows("SELECT id FROM jobs WHERE kind = 'retrieve'") == []
    second.look()
    [run] = standing.runs(number)
    assert run["requested"] == 2
    assert len(standing.api.rows("SELECT id FROM jobs WHERE kind = 'retrieve'")) == 2


def test_nodes_that_cannot_be_asked_are_said_and_the_others_are_asked(standing):
    number = standing.add(standing.node, standing.other)
    off = {"name": "OTHER", "ae_title": "PACS", "host": "127.0.0.1", "port": 104, "active": False}
    standing.operator.put(f"/api/v1/nodes/{standing.other}", json=off).raise_for_status()
    query = standing.asked(number)
    assert standing.operator.get(f"/api/v1/queries/{query}").json()["node_ids"] == [standing.node]
    standing.answer(query, [])
    standing.conclude(query, "complete")
    standing.scheduler.look()
    [run] = standing.runs(number)
    assert (run["state"], run["error"]) == ("partial", "OTHER: this remote node is switched off")


def test_a_run_without_any_node_fails_in_words_and_the_next_one_tries_again(standing):
    number = standing.add()
    assert standing.operator.delete(f"/api/v1/nodes/{standing.node}").status_code == 204
    standing.make_due(number)
    standing.scheduler.look()
    [run] = standing.runs(number)
    assert run["state"] == "failed"
    assert run["error"] == f"remote node {standing.node} was removed"
    query = {"node_ids": [standing.other]}
    standing.operator.patch(f"{HERE}/{number}", json={"query": query}).raise_for_status()
    standing.post(f"{HERE}/{number}/run")
    standing.scheduler.look()
    assert standing.runs(number)[0]["query_id"]


def test_a_node_that_does_not_answer_fails_the_run_in_its_own_words(standing):
    number = standing.add()
    query = standing.asked(number)
    standing.answer(query, [], state="failed", error="the peer cannot be reached")
    standing.conclude(query, "failed")
    standing.scheduler.look()
    [run] = standing.runs(number)
    assert (run["state"], run["error"]) == ("failed", "PACS: the peer cannot be reached")


def test_one_node_of_two_answers(standing):
    number = standing.add(standing.node, standing.other)
    query = standing.asked(number)
    standing.answer(query, [study(1, images="2")])
    # The other one has more of it.
    standing.answer(query, [study(1, images="5")], node=standing.other, state="failed", error="cut")
    standing.conclude(query, "partial")
    standing.scheduler.look()
    [run] = standing.runs(number)
    [job] = standing.api.rows(
        "SELECT node_id FROM jobs WHERE id = :id", id=UUID(run["retrieve_ids"][0])
    )
    assert job["node_id"] == standing.other
    standing.finish_children(run["retrieve_ids"][0], "unproved")
    standing.scheduler.look()
    [run] = standing.runs(number)
    assert run["state"] == "partial"
    assert run["error"] == "OTHER: cut; 1 of 1 studies are not proved to be complete"


def test_a_query_that_somebody_deletes_or_cancels_is_said(standing):
    number = standing.add()
    query = standing.asked(number)
    standing.operator.post(f"/api/v1/queries/{query}/cancel").raise_for_status()
    standing.answer(query, [], state="cancelled")
    standing.conclude(query, "cancelled")
    standing.operator.delete(f"/api/v1/queries/{query}").raise_for_status()
    standing.scheduler.look()
    [run] = standing.runs(number)
    assert (run["state"], run["error"]) == ("failed", "its query was deleted")


def test_what_is_on_the_way_is_not_requested_again(standing):
    number = standing.add()
    items = [{"study_instance_uid": uid} for uid in ("1.2.3.1", "1.2.3.2")]
    standing.post("/api/v1/retrieves", {"node_id": standing.node, "items": items})
    query = standing.asked(number)
    standing.answer(query, [study(1), study(2)])
    standing.conclude(query, "complete")
    standing.scheduler.look()
    [run] = standing.runs(number)
    assert (run["state"], run["requested"], run["on_the_way"]) == ("partial", 0, 2)
    assert run["error"] == "studies that had been requested before: 2"


def test_all_retrieves_fail(standing):
    number = standing.add()
    query = standing.asked(number)
    standing.answer(query, [study(1), study(2), ("no uid", "20261129", "1")])
    standing.conclude(query, "complete")
    standing.scheduler.look()
    [run] = standing.runs(number)
    standing.finish_children(run["retrieve_ids"][0], "failed")
    standing.scheduler.look()
    [run] = standing.runs(number)
    assert run["state"] == "failed"
    assert run["error"] == (
        "studies without a valid Study Instance UID: 1; 2 of 2 studies were not retrieved"
    )


def test_what_no_node_sends_is_said(standing):
    number = standing.add()
    query = standing.asked(number)
    standing.answer(query, [study(1)])
    standing.conclude(query, "complete")
    node = {"name": "PACS", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    silent = node | {"supports_move": False}
    standing.operator.put(f"/api/v1/nodes/{standing.node}", json=silent).raise_for_status()
    standing.scheduler.look()
    [run] = standing.runs(number)
    assert (run["state"], run["error"]) == ("partial", "studies on nodes that send nothing: 1")


def test_one_that_only_asks_retrieves_nothing(standing):
    number = standing.add(retrieve=False)
    query = standing.asked(number)
    standing.answer(query, [study(1)])
    standing.conclude(query, "complete")
    standing.scheduler.look()
    [run] = standing.runs(number)
    assert (run["state"], run["found"], run["requested"]) == ("complete", 1, 0)
    assert standing.api.rows("SELECT id FROM jobs WHERE kind = 'retrieve'") == []


def test_an_unforeseen_failure_of_one_does_not_stop_the_others(standing):
    broken, sound = standing.add(name="a broken one"), standing.add(name="sound")
    # As nothing foresees it: the database refuses the query of one.
    standing.execute(
        "ALTER TABLE standing_query_runs ADD CONSTRAINT test CHECK"
        f" (standing_query_id <> {broken} OR query_id IS NULL)"
    )
    standing.make_due(broken)
    standing.make_due(sound)
    standing.scheduler.look()
    standing.execute("ALTER TABLE standing_query_runs DROP CONSTRAINT test")
    assert standing.runs(broken)[0]["state"] == "failed"
    assert standing.runs(sound)[0]["state"] == "asking"


def test_a_database_that_is_away_changes_nothing(standing):
    number = standing.add()
    standing.make_due(number)
    away = ApiHarness("postgresql://nobody@127.0.0.1:1/none", standing.api.settings.storage_root)
    with pytest.raises(Transient):
        scheduler_of(away.api).look()
    away.database.dispose()
    standing.scheduler.look()
    assert len(standing.runs(number)) == 1
