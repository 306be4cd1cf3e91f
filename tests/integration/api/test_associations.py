"""The transaction log by association, and who did what to whom, over REST."""

import csv
import io
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from draw_shared.db.deletion import delete_study
from draw_shared.storage.removal import StorageFiles
from support.suite import all_pages

pytestmark = pytest.mark.integration

LOG = "/api/v1/transactions"
AT = datetime(2026, 3, 31, 23, 0, tzinfo=UTC)
INSERT = text(
    "INSERT INTO transactions (record_id, occurred_at, kind, outcome, replica, association_id,"
    " calling_ae, called_ae, peer_address, status, duration_seconds, size_bytes, objects,"
    " study_instance_uid, actor, action, detail) VALUES (:record_id, :occurred_at, :kind,"
    " :outcome, 'scp', :association_id, :calling_ae, 'DRAW_SCP', '192.0.2.7', :status,"
    " :duration_seconds, :size_bytes, :objects, :study_instance_uid, :actor, :action, :detail)"
)
NOTHING = dict.fromkeys(
    ("association_id", "calling_ae", "status", "duration_seconds", "size_bytes", "objects",
     "study_instance_uid", "actor", "action", "detail")
)  # fmt: skip
PATIENT = text(
    "INSERT INTO patients (patient_id, name, name_search) VALUES (:id, :name, '') RETURNING id"
)
STUDY = text(
    "INSERT INTO studies (patient_pk, study_instance_uid, description, study_date, modalities)"
    " VALUES (:patient, :uid, :description, '2024-12-24', '{US}')"
)


class Log:
    """Writes lines of the log, four seconds apart."""

    def __init__(self, connection, at=AT):
        self._connection = connection
        self.at = at

    def line(self, kind, outcome="success", **columns):
        self.at += timedelta(seconds=4)
        values = NOTHING | {"record_id": uuid4(), "occurred_at": self.at} | columns
        self._connection.execute(INSERT, values | {"kind": kind, "outcome": outcome})

    def association(self, name, *operations, outcome="success", ae="CT_1", ends=True):
        """Write an association of such operations, each with its outcome."""
        peer = {"association_id": name, "calling_ae": ae}
        stored = 0
        for kind, ended in operations:
            stored += kind == "c-store" and ended == "success"
            status = 0 if ended == "success" else 0xA700
            self.line(
                kind, ended, status=status, study_instance_uid="1.2.3", size_bytes=500, **peer
            )
        if ends:
            self.line(
                "association", outcome, duration_seconds=2.0, size_bytes=500 * stored,
                objects=stored, **peer,
            )  # fmt: skip


STORE, REFUSED, ECHO, FIND = (
    ("c-store", "success"), ("c-store", "failure"), ("c-echo", "success"), ("c-find", "success"),
)  # fmt: skip


@pytest.fixture(scope="module")
def logged(shared_api):
    """Five associations, one of which is open, and a study that their images belong to."""
    with shared_api.database.session() as session:
        connection = session.connection()
        patient = connection.execute(PATIENT, {"id": "KN1", "name": "Thorax^Tina"}).scalar_one()
        connection.execute(STUDY, {"patient": patient, "uid": "1.2.3", "description": "CT Thorax"})
        connection.execute(
            text("INSERT INTO allowed_ae_titles (ae_title, description) VALUES ('CT_1', 'Room 2')")
        )
        log = Log(connection)
        log.association("stored", STORE, STORE, STORE)
        log.association("echoed", ECHO, ae="MR_1")
        log.association("refused", STORE, REFUSED, REFUSED)
        log.association("aborted", FIND, FIND, outcome="warning", ae="MR_1")
        log.association("many", *[FIND] * 420, ae="PACS_1")
        log.association("fewer", *[FIND] * 300, ae="PACS_2")
        connection.execute(
            text(
                "UPDATE transactions SET duration_seconds = 3600"
                " WHERE kind = 'association' AND association_id IN ('many', 'fewer')"
            )
        )
        log.at = datetime.now(UTC) - timedelta(minutes=1)
        log.association("open", STORE, STORE, ends=False)
        session.commit()
    return shared_api.of_role("viewer")


def names(viewer, limit=2, **criteria):
    found = all_pages(viewer, f"{LOG}/associations", limit=limit, **criteria)
    return [one["association_id"] for one in found]


def test_an_association_is_one_line_that_says_what_was_done(logged):
    found = {
        one["association_id"]: one for one in logged.get(f"{LOG}/associations").json()["items"]
    }
    stored = found["stored"]
    assert (stored["objects"], stored["size_bytes"], stored["rate_bytes_per_second"]) == (
        3, 1500, 750,
    )  # fmt: skip
    assert stored["description"] == "Room 2"
    assert (stored["number_of_studies"], stored["study"]["patient_name"]) == (1, "Thorax^Tina")
    refused = found["refused"]
    assert [one["unsuccessful"] for one in refused["operations"]] == [2]
    assert (refused["operations"][0]["status"], refused["outcome"]) == (0xA700, "success")
    assert (found["open"]["open"], found["open"]["objects"], found["open"]["line_id"]) == (
        True, 2, None,
    )  # fmt: skip


def test_an_association_of_more_operations_than_are_counted_says_so(logged):
    for peer, words in (("PACS_1", "at least 400 queries"), ("PACS_2", ">300 queries")):
        assert words in logged.get("/transactions", params={"peer": peer}).text


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({}, ["open", "fewer", "many", "aborted", "refused", "echoed", "stored"]),
        ({"trouble": "any"}, ["aborted", "refused"]),
        ({"trouble": "refused"}, ["refused"]),
        ({"activity": "stored"}, ["open", "refused", "stored"]),
        ({"activity": "queried"}, ["fewer", "many", "aborted"]),
        ({"activity": "verified", "peer": "CT_1"}, []),
        ({"peer": "MR_1"}, ["aborted", "echoed"]),
        ({"peer": "192.0.2.7", "until": (AT + timedelta(seconds=18)).isoformat()}, ["stored"]),
    ],
)
def test_each_association_is_on_one_page(logged, criteria, expected):
    for limit in (1, 2, 50):
        assert names(logged, limit, **criteria) == expected


def test_who_deleted_the_study_of_a_patient_is_one_search_for_those_who_may(
    shared_api, logged, tmp_path
):
    admin = shared_api.of_role("admin")
    with shared_api.database.session() as session:
        connection = session.connection()
        patient = connection.execute(PATIENT, {"id": "KN100234", "name": "A"}).scalar_one()
        study = {"patient": patient, "uid": "1.2.77", "description": "=US Abdomen"}
        connection.execute(STUDY, study)
        Log(connection, datetime.now(UTC)).line(
            "management", actor="eva", action="series.view", study_instance_uid="1.2.77"
        )
        delete_study(connection, "1.2.77", StorageFiles(tmp_path), by="eva")
        Log(connection, datetime.now(UTC)).line(
            "management", actor="eva", action="study.delete", study_instance_uid="1.2.77",
            detail="wrong patient",
        )  # fmt: skip
        session.commit()
    asked = {"patient_id": "KN100234"}
    deletion, view = admin.get(f"{LOG}/audit", params=asked).json()["items"]
    assert (deletion["actor"], deletion["detail"]) == ("eva", "wrong patient")
    assert deletion["study"] | {"modalities": 0} == {
        "study_instance_uid": "1.2.77", "deleted": True, "patient_id": "KN100234",
        "patient_name": "", "study_date": "2024-12-24", "description": "=US Abdomen",
        "modalities": 0,
    }  # fmt: skip
    assert view["action"] == "series.view"
    found = admin.get(f"{LOG}/audit", params=asked | {"group": "deleted"}).json()["items"]
    assert [one["id"] for one in found] == [deletion["id"]]
    assert logged.get(f"{LOG}/audit", params=asked).json()["items"] == []
    seen = logged.get(f"{LOG}/audit", params={"group": "deleted", "user": "eva"}).json()["items"]
    assert [one["study"] for one in seen] == [None]
    table = csv.DictReader(io.StringIO(admin.get(f"{LOG}/audit.csv", params=asked).text))
    assert [row["description"] for row in table] == ["'=US Abdomen"] * 2
    assert ("admin", "audit.export", None) in shared_api.actions()


def test_the_lines_of_a_user_are_also_those_of_the_tokens(shared_api, logged):
    client = shared_api.client()
    client.headers["Authorization"] = f"Bearer {shared_api.token()}"
    client.get(f"{LOG}/audit.csv").raise_for_status()
    found = client.get(f"{LOG}/audit", params={"user": "token-owner"}).json()["items"]
    assert {line["actor"] for line in found} >= {"token-owner (token test)"}
    assert {line["actor"].partition(" ")[0] for line in found} == {"token-owner"}
