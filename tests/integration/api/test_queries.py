"""Asking queries; how nodes are asked is the workers' tests' matter."""

import pytest
from sqlalchemy import text

pytestmark = pytest.mark.integration

OLD = text('UPDATE queries SET keys = \'{"StudyDate": "03/04/2026"}\' WHERE id = :id')


@pytest.fixture(scope="module")
def operator(shared_api):
    return shared_api.of_role("operator")


@pytest.fixture(scope="module")
def node_id(operator):
    settings = {"name": "asked", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    return operator.post("/api/v1/nodes", json=settings).json()["id"]


@pytest.fixture
def submit(operator, node_id):
    """Return what sends the form of a query."""
    form = {"csrf_token": operator.headers["X-CSRF-Token"], "node_id": node_id}
    return lambda **keys: operator.post("/queries/new", data=form | keys, follow_redirects=True)


def test_the_form_says_beside_each_key_why_it_cannot_be_sent(submit):
    page = submit(StudyDate="03/04/2026", PatientName="John Smith")
    assert page.status_code == 422
    assert "3 April or 4 March" in page.text
    assert "Smith, John or Smith^John" in page.text
    assert 'value="03/04/2026"' in page.text


def test_the_page_shows_what_was_sent_and_the_same_meaning_is_the_same_query(submit):
    page = submit(StudyDate="01.11.2026", PatientName="Smith, J")
    assert page.status_code == 200
    assert "<bdi>20261101</bdi>" in page.text
    assert "<bdi>Smith^J*</bdi>" in page.text
    again = submit(StudyDate="2026-11-01", PatientName="Smith,J*")
    assert again.url.path == page.url.path
    assert "<bdi>20261101</bdi>" in submit(StudyDate="20261101").text


def test_an_old_query_that_would_find_nothing_is_not_asked_again(operator, node_id, shared_api):
    body = {"keys": {"StudyDate": "2026"}, "node_ids": [node_id]}
    query = operator.post("/api/v1/queries", json=body).json()
    assert query["keys"] == {"StudyDate": "20260101-20261231"}
    with shared_api.database.session() as session:
        session.connection().execute(OLD, {"id": query["id"]})
        session.commit()
    answer = operator.post(f"/api/v1/queries/{query['id']}/rerun")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "keys.StudyDate"
    form = {"csrf_token": operator.headers["X-CSRF-Token"]}
    assert operator.post(f"/queries/{query['id']}/again", data=form).status_code == 422


def test_identifiers_of_retrieves_lose_the_blanks_around_them(operator, node_id):
    body = {"node_id": node_id, "items": [{"patient_id": " P 1 "}]}
    answer = operator.post("/api/v1/retrieves", json=body)
    assert answer.json()["item"] == {"patient_id": "P 1"}
    body = {"node_id": node_id, "items": [{"patient_id": "P*"}]}
    [problem] = operator.post("/api/v1/retrieves", json=body).json()["errors"]
    assert "no wildcard" in problem["message"]
