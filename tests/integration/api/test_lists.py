"""Lists over REST and on the page: as a body, as the file of a form, with a limit of size.

What is in a list is covered by unit tests.
"""

import re

import pytest

from draw_api.services.csv_lists import MAX_LIST_BYTES

pytestmark = pytest.mark.integration

URL = "/api/v1/retrieves/csv"
UTF_16 = "sep=;\r\nName;Accession Number\r\nGrün;A-1\r\nX;A-2\r\n".encode("utf-16")


@pytest.fixture(scope="module")
def operator(shared_api):
    return shared_api.of_role("operator")


@pytest.fixture(scope="module")
def node_id(shared_api):
    node = {"name": "lists", "ae_title": "LISTS", "host": "127.0.0.1", "port": 104}
    token = {"Authorization": f"Bearer {shared_api.token()}"}
    answer = shared_api.client().post("/api/v1/nodes", json=node, headers=token)
    return answer.json()["id"]


def ask(operator, node_id, **sent):
    return operator.post(URL, params={"node_id": node_id, "force": True}, **sent)


def accessions(shared_api, answer):
    assert answer.status_code == 201, answer.text
    children = shared_api.rows(
        "SELECT parameters FROM jobs WHERE parent_id = :id ORDER BY created_at",
        id=answer.json()["id"],
    )
    return [child["parameters"]["accession_number"] for child in children]


@pytest.mark.parametrize(
    "kind", ["text/csv; charset=utf-16", "text/plain", "application/vnd.ms-excel", None]
)
def test_a_list_is_taken_as_a_body(shared_api, operator, node_id, kind):
    headers = {} if kind is None else {"Content-Type": kind}
    answer = ask(operator, node_id, content=UTF_16, headers=headers)
    assert accessions(shared_api, answer) == ["A-1", "A-2"]


def test_a_list_is_taken_as_the_file_of_a_form(shared_api, operator, node_id):
    answer = ask(operator, node_id, files={"file": ("list.csv", UTF_16, "text/csv")})
    assert accessions(shared_api, answer) == ["A-1", "A-2"]


def test_a_form_without_its_file_says_so(operator, node_id):
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    text = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--x--\r\n'
    for answer in (
        ask(operator, node_id, content=text, headers=headers),
        ask(operator, node_id, files={"other": b"x"}),
    ):
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "file"
    assert ask(operator, node_id, content=b"broken", headers=headers).status_code in {400, 422}


def test_what_is_too_large_or_no_list_is_refused(operator, node_id):
    large = b"PatientID\n" + b"1\n" * (MAX_LIST_BYTES // 2)
    assert ask(operator, node_id, content=large).status_code == 413
    assert ask(operator, node_id, content=iter([large])).status_code == 413
    assert ask(operator, node_id, files={"file": large + b"1" * 100_000}).status_code == 413
    answer = ask(operator, node_id, json=["1.2.3"])
    assert answer.status_code == 415
    assert "text/csv" in answer.json()["detail"]
    answer = ask(operator, node_id, content=b"PatientID\n1\n1.2E+14\n")
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["field"] == "line 3, column PatientID"


def test_the_page_shows_what_was_understood_of_a_file(operator, node_id):
    form = {"csrf_token": operator.headers["X-CSRF-Token"], "node_id": node_id}
    answer = operator.post("/batches/preview", data=form, files={"file": UTF_16})
    assert answer.status_code == 200, answer.text
    assert "2 items to retrieve" in answer.text
    text = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", answer.text, re.DOTALL)[1]
    assert "Grün;A-1" in text
    # The second step sends the text back, as a browser does.
    again = operator.post("/batches/preview", data=form | {"text": text}, files={"file": ("", b"")})
    assert "2 items to retrieve" in again.text


def test_the_page_keeps_an_empty_first_column_and_shows_doubts(operator, node_id):
    form = {"csrf_token": operator.headers["X-CSRF-Token"], "node_id": node_id}
    text = "\tPatientID\n" + "".join(f"x\t12345{n}\n" for n in range(6)) + "x\t77\n"
    answer = operator.post("/batches/preview", data=form | {"text": text})
    assert "7 items to retrieve" in answer.text
    assert "Line 8, column PatientID: 77 is shorter" in answer.text
