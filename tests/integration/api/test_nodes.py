"""Remote nodes over REST and on the page: their query model, and the limit that queries found.

The worker's side is covered in tests/unit/qr_worker and tests/integration/qr_worker.
"""

import json

import pytest
from sqlalchemy import text

pytestmark = pytest.mark.integration

NODE = {"name": "limited", "ae_title": "LIMITED", "host": "127.0.0.1", "port": 104}


@pytest.fixture(scope="module")
def operator(shared_api):
    return shared_api.of_role("operator")


def learn(api, node_id):
    """Keep a limit as a worker does."""
    with api.database.session() as session:
        found = json.dumps({"find_limit": 50, "study_find": True})
        session.connection().execute(
            text("UPDATE remote_nodes SET capabilities = CAST(:found AS jsonb) WHERE id = :id"),
            {"id": node_id, "found": found},
        )
        session.commit()


def test_the_limit_that_queries_found_is_shown_and_can_be_forgotten(shared_api, operator):
    node = operator.post("/api/v1/nodes", json=NODE).json()
    assert node["find_limit"] is None
    path = f"/api/v1/nodes/{node['id']}"
    learn(shared_api, node["id"])
    assert operator.get(path).json()["find_limit"] == 50
    assert "Stops queries after" in operator.get(f"/nodes/{node['id']}").text
    answer = operator.delete(f"{path}/find-limit")
    assert (answer.status_code, answer.json()["find_limit"]) == (200, None)
    assert answer.json()["capabilities"] == {"study_find": True}
    assert shared_api.actions()[-1][1] == "node.forget_find_limit"
    learn(shared_api, node["id"])
    form = {"csrf_token": operator.headers["X-CSRF-Token"]}
    page = operator.post(f"/nodes/{node['id']}/forget-limit", data=form)
    assert "Stops queries after" not in page.text
    assert operator.get(path).json()["find_limit"] is None
    assert operator.delete("/api/v1/nodes/999999/find-limit").status_code == 404


@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        ("patient_study", 201, "Patient/Study Only"),
        ("patient", 201, "Patient Root"),
        ("x", 422, ""),
    ],
)
def test_a_node_has_one_of_three_query_models(operator, model, status, words):
    body = NODE | {"name": f"model {model}", "query_model": model}
    answer = operator.post("/api/v1/nodes", json=body)
    assert answer.status_code == status, answer.text
    if words:
        assert words in operator.get(f"/nodes/{answer.json()['id']}").text
