"""Batch queries over REST and on the page: asked, watched, taken away as CSV, retrieved from.

What workers answer is put into the tables here; that they answer so is covered by
tests/integration/qr_worker/test_batch_querying.py.
"""

import csv
import io
import json
import re

import pytest
from sqlalchemy import text

from draw_api.services.retrieve_lists import list_of_csv

pytestmark = pytest.mark.integration

URL = "/api/v1/batch-queries"
CSV = "sep=;\nName;Patient ID;Modality\nGrün;0042;CT\nX;0043;\nY;=1;\n"
HERE = {"2.25.1": 10, "2.25.2": 4, "2.25.5": 3}


@pytest.fixture(scope="module")
def operator(shared_api):
    return shared_api.of_role("operator")


@pytest.fixture(scope="module")
def nodes(shared_api):
    token = {"Authorization": f"Bearer {shared_api.token()}"}
    made = []
    for name, finds in (("alpha", True), ("beta", True), ("mute", False)):
        node = {"name": name, "ae_title": name.upper(), "host": "127.0.0.1", "port": 104}
        answer = shared_api.client().post(
            "/api/v1/nodes", json=node | {"supports_find": finds}, headers=token
        )
        made.append(answer.json()["id"])
    return made


@pytest.fixture(scope="module")
def index(shared_api):
    """Studies of which some objects are here."""
    with shared_api.database.session() as session:
        connection = session.connection()
        connection.execute(text("INSERT INTO patients (patient_id) VALUES ('0042')"))
        for uid, number in HERE.items():
            connection.execute(
                text(
                    "INSERT INTO studies (patient_pk, study_instance_uid, instance_count)"
                    " SELECT id, :uid, :number FROM patients WHERE patient_id = '0042'"
                ),
                {"uid": uid, "number": number},
            )
        session.commit()


def study(uid, there, **attributes):
    return {"attributes": {"StudyInstanceUID": uid, **attributes}, "instances": there}


class Worker:
    """Answers as a worker does."""

    def __init__(self, api, query_id):
        self._api, self._id = api, query_id

    def _do(self, statement, **values):
        with self._api.database.session() as session:
            session.connection().execute(text(statement), values)
            session.commit()

    def answer(self, number, node_id, *studies, state="complete", error=""):
        self._do(
            "INSERT INTO batch_query_answers (line_id, node_id, state, found, studies, error)"
            " SELECT id, :node, :state, :found, CAST(:studies AS jsonb), :error"
            " FROM batch_query_lines WHERE batch_query_id = :id AND number = :number",
            node=node_id, state=state, found=len(studies), studies=json.dumps(studies),
            error=error, id=self._id, number=number,
        )  # fmt: skip

    def end(self, node_id, state, error=""):
        self._do(
            "UPDATE jobs SET state = :state, error = :error, finished_at = now(),"
            """ progress = '{"answered": 3, "found": 2, "failed": 0}'"""
            " WHERE parent_id = :id AND node_id = :node",
            id=self._id, node=node_id, state=state, error=error,
        )  # fmt: skip
        self._do(
            "UPDATE jobs SET state = 'partial', finished_at = now() WHERE id = :id AND NOT EXISTS"
            " (SELECT FROM jobs c WHERE c.parent_id = :id AND c.finished_at IS NULL)",
            id=self._id,
        )


@pytest.fixture
def asked(shared_api, operator, nodes, index):
    """A list that two nodes have answered: everything that can come of a line."""
    answer = operator.post(
        f"{URL}/csv", params={"node_id": nodes[:2]}, files={"file": ("l.csv", CSV.encode())}
    )
    assert answer.status_code == 201, answer.text
    made = answer.json()
    worker = Worker(shared_api, made["id"])
    alpha, beta = nodes[:2]
    worker.answer(3, alpha, study("2.25.1", 10, PatientID="0042", StudyDate="20260102"))
    worker.answer(4, alpha, study("2.25.2", 9), study("2.25.3", None, StudyDescription="@SUM(A1)"))
    worker.answer(5, alpha, state="failed", error="the node refused the line")
    worker.answer(3, beta, study("2.25.4", 20, ModalitiesInStudy=["CT", "RTPLAN"]))
    worker.answer(4, beta)
    return made, worker


def lines(operator, query_id, **params):
    return operator.get(f"{URL}/{query_id}/lines", params=params).json()["items"]


def test_a_list_is_asked_of_each_node(shared_api, operator, nodes):
    answer = operator.post(
        f"{URL}/csv",
        params={"node_id": nodes[:2]},
        content=CSV,
        headers={"Content-Type": "text/csv"},
    )
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["Location"] == f"{URL}/{made['id']}"
    assert (made["state"], made["lines"], made["answered"]) == ("running", 3, 0)
    assert made["columns"] == ["PatientID", "ModalitiesInStudy"]
    assert made["lines_by_state"] == {"waiting": 6}
    jobs = shared_api.rows("SELECT * FROM jobs WHERE parent_id = :id", id=made["id"])
    assert {job["node_id"] for job in jobs} == set(nodes[:2])
    assert {(job["kind"], job["state"]) for job in jobs} == {("batch_find", "queued")}
    assert jobs[0]["parameters"] == {"batch_query_id": made["id"], "limit": 100}
    assert shared_api.actions()[-1][1] == "batch-query.create"
    assert "0042" not in shared_api.actions()[-1][2]


def test_a_program_asks_by_keys(operator, nodes):
    body = {"node_ids": nodes[:1], "lines": [{"PatientID": "1"}, {"AccessionNumber": "A*"}]}
    answer = operator.post(URL, json=body)
    assert answer.status_code == 201
    found = lines(operator, answer.json()["id"])
    assert [(line["number"], line["keys"], line["state"]) for line in found] == [
        (1, {"PatientID": "1"}, "waiting"),
        (2, {"AccessionNumber": "A*"}, "waiting"),
    ]


@pytest.mark.parametrize(
    ("chosen", "words"),
    [([], ""), (["mute"], "answers no queries"), (["nobody"], "no such remote node")],
)
def test_nodes_that_cannot_be_asked_are_refused(operator, nodes, chosen, words):
    ids = {"mute": nodes[2], "nobody": 999_999}
    body = {"node_ids": [ids[name] for name in chosen], "lines": [{"PatientID": "1"}]}
    answer = operator.post(URL, json=body)
    assert answer.status_code == 422
    assert words in answer.text


def test_the_table_says_what_each_node_has_and_what_is_here(operator, asked, nodes):
    made, worker = asked
    found = {(line["number"], line["node_id"]): line for line in lines(operator, made["id"])}
    alpha, beta = nodes[:2]
    states = {key: line["state"] for key, line in found.items()}
    assert states == {
        (3, alpha): "found", (4, alpha): "several", (5, alpha): "failed",
        (3, beta): "found", (4, beta): "not_found", (5, beta): "waiting",
    }  # fmt: skip
    [whole] = found[3, alpha]["studies"]
    assert (whole["instances_there"], whole["instances_here"], whole["here"]) == (
        10,
        10,
        "complete",
    )
    assert [s["here"] for s in found[4, alpha]["studies"]] == ["partial", "no"]
    assert found[5, alpha]["error"] == "the node refused the line"
    whole = operator.get(f"{URL}/{made['id']}").json()
    assert whole["lines_by_state"] == {
        "found": 2, "several": 1, "failed": 1, "not_found": 1, "waiting": 1,
    }  # fmt: skip
    assert (whole["studies"], whole["studies_missing"]) == (4, 3)
    worker.end(beta, "failed", "the node is gone")
    [line] = lines(operator, made["id"], node_id=beta, state="failed")
    assert (line["number"], line["error"]) == (5, "the node is gone")
    assert len(lines(operator, made["id"], here="missing")) == 2
    assert [line["number"] for line in lines(operator, made["id"], here="complete")] == [3]


def test_some_here_of_an_unknown_number_is_unknown(operator, asked, nodes):
    made, worker = asked
    worker.answer(5, nodes[1], study("2.25.5", None))
    [line] = lines(operator, made["id"], node_id=nodes[1], state="found", here="missing")[1:]
    assert line["studies"][0]["here"] == "unknown"


def test_lines_are_read_page_by_page(operator, asked):
    made, _ = asked
    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = operator.get(f"{URL}/{made['id']}/lines", params=params).json()
        seen += [(line["number"], line["node_id"]) for line in page["items"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert len(seen) == len(set(seen)) == 6
    assert [number for number, _ in seen] == [3, 3, 4, 4, 5, 5]


def test_the_table_goes_out_as_csv_without_formulas(shared_api, operator, asked):
    made, _ = asked
    path = f"{URL}/{made['id']}/export.csv"
    answer = operator.get(path, params={"bom": True, "separator": "semicolon"})
    assert answer.content.startswith(b"\xef\xbb\xbfLine;Asked;Node;State;Here;StudyInstanceUID;")
    table = list(csv.DictReader(io.StringIO(operator.get(path).text)))
    assert len(table) == 7
    by_uid = {row["StudyInstanceUID"]: row for row in table}
    assert by_uid["2.25.1"]["Here"] == "complete"
    assert by_uid["2.25.1"]["Asked"] == "PatientID=0042 ModalitiesInStudy=CT"
    assert by_uid["2.25.3"]["StudyDescription"] == "'@SUM(A1)"
    assert by_uid["2.25.4"]["ModalitiesInStudy"] == "CT\\RTPLAN"
    assert by_uid["2.25.2"]["InstancesThere"] == "9"
    assert {row["State"] for row in table if not row["StudyInstanceUID"]} == {
        "failed", "waiting", "not_found",
    }  # fmt: skip
    assert shared_api.actions()[-1][1] == "batch-query.export"
    missing = operator.get(path, params={"here": "missing"}).text
    rows = list(csv.DictReader(io.StringIO(missing)))
    assert rows
    assert all(row["StudyInstanceUID"] for row in rows)
    assert {row["StudyInstanceUID"] for row in rows} == {
        item.study_instance_uid for item in list_of_csv(missing.encode()).items
    }


def retrieved(shared_api, answer):
    """Return node and studies of the retrieves that began."""
    assert answer.status_code == 201, answer.text
    found = []
    for begun in answer.json()["retrieves"]:
        rows = shared_api.rows(
            "SELECT node_id, parameters FROM jobs WHERE kind = 'retrieve'"
            " AND (id = :id OR parent_id = :id) ORDER BY created_at",
            id=begun["id"],
        )
        found += [(row["node_id"], row["parameters"]["study_instance_uid"]) for row in rows]
    return found


def test_everything_missing_is_retrieved_from_where_most_of_it_is(
    shared_api, operator, asked, nodes
):
    made, worker = asked
    alpha, beta = nodes[:2]
    worker.answer(5, beta, study("2.25.2", 12))
    path = f"{URL}/{made['id']}/retrieve"
    answer = operator.post(path, json={"several": True, "method": "get", "priority": 2})
    assert set(retrieved(shared_api, answer)) == {
        (alpha, "2.25.3"), (beta, "2.25.4"), (beta, "2.25.2"),
    }  # fmt: skip
    assert (answer.json()["studies"], answer.json()["on_the_way"]) == (3, 0)
    again = operator.post(path, json={"several": True})
    assert again.status_code in {201, 409}
    if again.status_code == 201:
        assert (again.json()["studies"], again.json()["on_the_way"]) == (0, 3)


def test_lines_with_several_studies_are_not_retrieved_unasked(shared_api, operator, asked, nodes):
    made, _ = asked
    answer = operator.post(f"{URL}/{made['id']}/retrieve", json={})
    begun = answer.json()
    assert begun["studies"] + begun["on_the_way"] == 1
    assert {uid for _, uid in retrieved(shared_api, answer)} == {"2.25.4"}


def test_what_was_not_found_there_cannot_be_chosen(operator, asked, nodes):
    made, _ = asked
    chosen = [{"node_id": nodes[0], "study_instance_uid": "2.25.4"}]
    answer = operator.post(f"{URL}/{made['id']}/retrieve", json={"studies": chosen})
    assert answer.status_code == 422
    assert "did not answer" in answer.text


def test_a_list_is_called_off_asked_again_and_forgotten(shared_api, operator, nodes):
    made = operator.post(URL, json={"node_ids": nodes[:1], "lines": [{"PatientID": "1"}]}).json()
    path = f"{URL}/{made['id']}"
    assert operator.delete(path).status_code == 409
    assert operator.post(f"{path}/cancel").json()["state"] == "cancelling"
    assert [line["state"] for line in lines(operator, made["id"])] == ["cancelled"]
    Worker(shared_api, made["id"]).end(nodes[0], "cancelled")
    again = operator.post(f"{path}/rerun")
    assert (again.status_code, again.json()["lines"]) == (201, 1)
    listed = operator.get(URL).json()["items"]
    assert again.json()["id"] in {one["id"] for one in listed}
    assert operator.delete(path).status_code == 204
    assert operator.get(path).status_code == 404
    assert not shared_api.rows(
        "SELECT id FROM batch_query_lines WHERE batch_query_id = :id", id=made["id"]
    )


def test_the_page_shows_the_list_before_anybody_is_asked(operator, nodes):
    form = {"csrf_token": operator.headers["X-CSRF-Token"], "node_id": str(nodes[0])}
    answer = operator.post(
        "/batch-queries/preview", data=form, files={"file": CSV.encode("utf-16")}
    )
    assert answer.status_code == 200, answer.text
    assert "3 lines to query" in answer.text
    assert "not sent: Name" in answer.text
    begun = operator.post("/batch-queries/new", data=form | {"text": CSV})
    assert begun.status_code == 303
    page = operator.get(begun.headers["Location"])
    assert "0 of 3 answers" in page.text
    wrong = operator.post("/batch-queries/preview", data=form | {"text": "PatientID\n1.2E+14\n"})
    assert wrong.status_code == 422
    assert "Line 2, column PatientID" in wrong.text
    nobody = operator.post("/batch-queries/preview", data=form | {"text": CSV, "node_id": ""})
    assert "choose at least one node" in nobody.text


def test_the_page_retrieves_what_is_ticked(operator, asked, nodes):
    made, _ = asked
    path = f"/batch-queries/{made['id']}"
    page = operator.get(path, params={"state": "", "here": "nonsense", "node_id": ""})
    assert page.status_code == 200
    [value] = set(re.findall(r'value="(\d+ 2\.25\.4)"', page.text))
    form = {"csrf_token": operator.headers["X-CSRF-Token"], "selected": value, "priority": "3"}
    answer = operator.post(f"{path}/retrieve", data=form)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/jobs/")
    form.pop("selected")
    assert "Nothing is selected" in operator.post(f"{path}/retrieve", data=form).text
