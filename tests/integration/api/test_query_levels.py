"""What a query found, level by level: opened, retrieved and named; saved queries; reasons to wait.

How nodes answer at each level, and that everything arrives, is seen in tests/e2e.
"""

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from draw_api.services.relative_dates import study_date_of
from draw_api.services.wider_keys import with_wildcards, without_dates

pytestmark = pytest.mark.integration

QUERIES = "/api/v1/queries"
SAVED = "/api/v1/saved-queries"
ADD_RESULT = text(
    "INSERT INTO query_results (query_id, node_id, unique_key, attributes)"
    " VALUES (:query_id, :node_id, :key, CAST(:attributes AS jsonb)) RETURNING id"
)
STUDY = {
    "PatientName": "Grün^Anna",
    "PatientID": "0042",
    "StudyInstanceUID": "1.2.3",
    "StudyDate": "20261101",
    "StudyDescription": "Thorax",
}
LEVELS = {
    "PATIENT": {"PatientName": "Grün^Anna", "PatientID": "0042"},
    "STUDY": STUDY,
    "SERIES": {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4", "Modality": "CT"},
    "IMAGE": {
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "SOPInstanceUID": "1.2.3.4.5",
        "InstanceNumber": "1",
    },
}


@pytest.fixture(scope="module")
def admin(shared_api):
    return shared_api.with_session("admin")


@pytest.fixture(scope="module")
def node(admin):
    """Return what adds a node and returns its id."""

    def added(name, **settings):
        body = {"name": name, "ae_title": name.upper(), "host": "127.0.0.1", "port": 104}
        answer = admin.post("/api/v1/nodes", json=body | settings)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    return added


def execute(shared_api, statement, **values):
    with shared_api.database.session() as session:
        found = session.connection().execute(
            text(statement) if isinstance(statement, str) else statement, values
        )
        answer = found.scalar() if found.returns_rows else None
        session.commit()
    return answer


def answered(shared_api, query, *matches):
    """Let the query's node have answered these matches; return their ids."""
    return [
        execute(
            shared_api,
            ADD_RESULT,
            query_id=query["id"],
            node_id=query["node_ids"][0],
            key=json.dumps(match),
            attributes=json.dumps(match),
        )
        for match in matches
    ]


def posted(client, path, body=None, status=201):
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.parametrize(("model", "names_patient"), [("study", False), ("patient", True)])
def test_each_level_is_opened_and_retrieved_with_its_names(
    shared_api, admin, node, model, names_patient
):
    where = node(f"levels {model}", query_model=model)
    asked = {"level": "PATIENT", "keys": {"PatientID": "00*"}, "node_ids": [where]}
    query = posted(admin, QUERIES, asked)
    opened = [query]
    for level, below in (("PATIENT", "STUDY"), ("STUDY", "SERIES"), ("SERIES", "IMAGE")):
        [match] = answered(shared_api, opened[-1], LEVELS[level])
        opened.append(posted(admin, f"{QUERIES}/{opened[-1]['id']}/results/{match}/open"))
        assert opened[-1]["level"] == below
        assert opened[-1]["node_ids"] == [where]
        same = posted(admin, f"{QUERIES}/{opened[-2]['id']}/results/{match}/open", status=200)
        assert same["id"] == opened[-1]["id"]
    keys = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4"}
    assert opened[-1]["keys"] == keys | ({"PatientID": "0042"} if names_patient else {})
    origin = opened[-1]["opened_from"]
    assert origin["query_id"] == opened[-2]["id"]
    assert origin["attributes"]["PatientName"] == "Grün^Anna"
    again = posted(admin, f"{QUERIES}/{opened[-1]['id']}/rerun")
    assert again["opened_from"]["attributes"] == origin["attributes"]

    images = [LEVELS["IMAGE"] | {"SOPInstanceUID": f"1.2.3.4.{n}"} for n in (5, 6)]
    two = answered(shared_api, opened[-1], *images)
    begun = posted(admin, f"{QUERIES}/{opened[-1]['id']}/retrieve", {"result_ids": two})
    assert begun["new"] == 1
    [job] = begun["retrieves"]
    assert job["item"]["sop_instance_uids"] == ["1.2.3.4.5", "1.2.3.4.6"]
    for level, each in zip(("PATIENT", "STUDY", "SERIES"), opened, strict=False):
        [found] = answered(shared_api, each, LEVELS[level] | {"again": level})
        [job] = posted(admin, f"{QUERIES}/{each['id']}/retrieve", {"result_ids": [found]})[
            "retrieves"
        ]
        assert job["patient_name"] == "Grün^Anna"
        assert job["patient_id"] == "0042"
        if level != "PATIENT":
            assert (job["study_date"], job["study_description"]) == ("2026-11-01", "Thorax")
    assert job["series_description"] == "CT"
    listed = admin.get("/api/v1/jobs", params={"node_id": where}).json()["items"]
    assert {one["patient_name"] for one in listed if one["kind"] == "retrieve"} == {"Grün^Anna"}
    assert {one["batch_of"] for one in listed if one["kind"] == "batch"} <= {"find", "retrieve"}


def test_a_match_that_is_not_there_or_identifies_nothing_is_refused(shared_api, admin, node):
    query = posted(admin, QUERIES, {"node_ids": [node("nameless")], "keys": {"PatientID": "7"}})
    here = f"{QUERIES}/{query['id']}"
    posted(admin, f"{here}/results/1/open", status=404)
    posted(admin, f"{here}/retrieve", {"result_ids": [1]}, status=404)
    [nameless, several] = answered(
        shared_api, query, {"PatientName": "X"}, {"StudyInstanceUID": ["1.2", "1.3"]}
    )
    for match in (nameless, several):
        posted(admin, f"{here}/results/{match}/open", status=409)
        posted(admin, f"{here}/retrieve", {"result_ids": [match]}, status=422)


def test_queries_are_saved_shared_run_and_deleted(shared_api, admin, node):
    where = node("saved")
    operator, viewer = shared_api.of_role("operator"), shared_api.of_role("viewer")
    query = {
        "keys": {"ModalitiesInStudy": "ct"},
        "node_ids": [where],
        "study_dates": "last_7_days",
        "zone": "Pacific/Kiritimati",
    }
    own = posted(operator, SAVED, {"name": "mine", "query": query})
    shared = posted(operator, SAVED, {"name": "everybody's", "shared": True, "query": query})
    assert shared["keys"] == {"ModalitiesInStudy": "CT"}
    assert shared["study_dates"] == "last_7_days"
    replaced = posted(operator, SAVED, {"name": "mine", "query": query | {"level": "PATIENT"}})
    assert (replaced["id"], replaced["level"]) == (own["id"], "PATIENT")
    assert [one["name"] for one in operator.get(SAVED).json()["items"]] == ["everybody's", "mine"]
    assert [one["name"] for one in admin.get(SAVED).json()["items"]] == ["everybody's"]
    first = operator.get(SAVED, params={"limit": 1}).json()
    second = operator.get(SAVED, params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [one["name"] for one in second["items"]] == ["mine"]
    assert viewer.get(SAVED).status_code == 403
    assert admin.get(f"{SAVED}/{own['id']}").status_code == 404

    before = datetime.now(UTC) + timedelta(hours=14)
    run = posted(admin, f"{SAVED}/{shared['id']}/run")
    after = datetime.now(UTC) + timedelta(hours=14)
    spans = {study_date_of("last_7_days", moment.date()) for moment in (before, after)}
    assert run["keys"]["StudyDate"] in spans
    assert posted(admin, QUERIES, query | {"zone": "Nowhere/Land"}, status=422)

    assert admin.delete(f"{SAVED}/{own['id']}").status_code == 404
    assert operator.delete(f"{SAVED}/{own['id']}").status_code == 204
    of_admin = posted(admin, SAVED, {"name": "admin's", "shared": True, "query": query})
    assert operator.delete(f"{SAVED}/{of_admin['id']}").status_code == 403
    assert admin.delete(f"{SAVED}/{shared['id']}").status_code == 204
    execute(
        shared_api,
        "UPDATE saved_queries SET query = jsonb_set(query, '{keys}',"
        ' \'{"StudyDate": "03/04/2026"}\')',
    )
    posted(admin, f"{SAVED}/{of_admin['id']}/run", status=422)
    admin.delete(f"/api/v1/nodes/{where}")


def test_a_job_says_why_it_waits(shared_api, admin, node):
    where = node("waited for", max_associations=1)

    def job(**changed):
        values = {"id": first["id"]} | changed
        if changed:
            names = ", ".join(f"{name} = :{name}" for name in changed)
            execute(shared_api, f"UPDATE jobs SET {names} WHERE id = :id", **values)  # noqa: S608
        wait = admin.get(f"/api/v1/retrieves/{first['id']}").json()["wait"]
        [listed] = [
            one
            for one in admin.get("/api/v1/retrieves", params={"node_id": where}).json()["items"]
            if one["id"] == first["id"]
        ]
        assert listed["wait"] == wait
        return wait and {name: value for name, value in wait.items() if value}

    def retrieve(uid, **options):
        items = [{"study_instance_uid": uid}]
        return posted(admin, "/api/v1/retrieves", {"node_id": where, "items": items} | options)

    ahead = retrieve("1.1", priority=1)
    first = retrieve("1.2")
    assert job() == {"reason": "no_worker"}
    execute(
        shared_api,
        "INSERT INTO service_replicas (replica, service, state) VALUES ('q', 'qr-worker', 'ready')",
    )
    assert job() == {"reason": "others", "ahead": 1}
    admin.post(f"/api/v1/retrieves/{ahead['id']}/cancel")
    assert job() == {"reason": "soon"}
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=5)
    until = soon.isoformat().replace("+00:00", "Z")
    assert job(state="scheduled", not_before=soon) == {"reason": "start_time", "until": until}
    assert job(state="waiting") == {"reason": "job_window", "until": until}
    execute(
        shared_api,
        "INSERT INTO job_attempts (job_id, number, fence, worker, outcome)"
        " VALUES (:id, 1, 1, 'w', 'retry')",
        id=first["id"],
    )
    assert job() == {"reason": "retry", "until": until, "failures": 1}
    later = soon + timedelta(hours=1)
    execute(
        shared_api,
        "UPDATE remote_nodes SET circuit = CAST(:circuit AS jsonb) WHERE id = :id",
        circuit=json.dumps({"failures": 5, "open_until": later.isoformat()}),
        id=where,
    )
    assert job() == {
        "reason": "node_failing",
        "until": later.isoformat().replace("+00:00", "Z"),
        "failures": 5,
    }
    admin.post(f"/api/v1/nodes/{where}/pause")
    assert job(state="queued", not_before=None) == {"reason": "node_paused"}
    [query] = posted(admin, QUERIES, {"node_ids": [where], "keys": {"PatientID": "1"}})["nodes"]
    assert query["wait"]["reason"] == "node_paused"
    batch = posted(
        admin,
        "/api/v1/retrieves",
        {"node_id": where, "items": [{"study_instance_uid": uid} for uid in ("2.1", "2.2")]},
    )
    assert batch["wait"]["reason"] == "node_paused"
    assert job(state="running", lease_until=soon) is None


def test_wider_keys_have_wildcards_around_what_was_asked_for():
    asked = {"PatientName": "Müller^Eva*", "PatientID": "12", "StudyDate": "20261101"}
    assert with_wildcards(asked) == asked | {"PatientName": "*M*ller*Eva*", "PatientID": "*12*"}
    assert with_wildcards({"PatientName": "山田^太郎*"}) == {"PatientName": "*山田*太郎*"}
    assert with_wildcards({"PatientName": "*A*"}) is None
    assert with_wildcards({"StudyDate": "20261101", "PatientID": "*12*"}) is None
    assert without_dates(asked) == {"PatientName": "Müller^Eva*", "PatientID": "12"}
    assert without_dates({"StudyDate": "20261101"}) is None
    assert without_dates({"PatientID": "12"}) is None


def test_every_node_can_be_chosen_by_its_name_however_many_there_are(shared_api, admin, node):
    execute(
        shared_api,
        "INSERT INTO remote_nodes (name, ae_title, host, port)"
        " SELECT CASE n % 2 WHEN 0 THEN 'Many' ELSE 'many' END || lpad(n::text, 4, '0'), 'MANY',"
        " '127.0.0.1', 104 FROM generate_series(1, 250) n",
    )
    try:
        shown = admin.get("/queries/new").text
        places = [shown.index(f"any{number:04d}") for number in range(1, 251)]
        assert places == sorted(places)
    finally:
        execute(shared_api, "DELETE FROM remote_nodes WHERE ae_title = 'MANY'")
