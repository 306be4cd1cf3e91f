"""What leaves the archive leaves a line of the transaction log, also when the receiver is killed.

Passwords, tokens and sign-ins are in tests/integration/api.
"""

import threading
from contextlib import contextmanager

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    PatientRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from support import phantom, senders
from support.suite import ADMIN_PASSWORD, signed_in

pytestmark = [pytest.mark.e2e, pytest.mark.security]

PATIENT = "CANARY-4711"
LINES = """
    SELECT kind, outcome, action, status, study_instance_uid, objects, detail FROM transactions
    WHERE association_id IN (SELECT association_id FROM transactions
        WHERE action = 'retrieve.begin' AND calling_ae = :calling_ae)
        AND kind IN ('c-get', 'c-move') ORDER BY occurred_at, id
"""
VIEWS = """
    SELECT actor, action, detail, sop_instance_uid, study_instance_uid, outcome FROM transactions
    WHERE action LIKE 'instance.%' AND actor = :actor ORDER BY id
"""


@pytest.fixture(scope="module")
def studies(running_suite):
    """Two studies of one patient, by Study Instance UID, with the objects of each."""
    made = [phantom.study(slices=2, PatientID=PATIENT, PatientName="Canary^Bird") for _ in "ab"]
    objects = [one for study in made for one in study]
    assert set(senders.send_objects(running_suite.dicom_port, objects)) == {0}
    running_suite.wait_for_rows(len(objects), "SELECT id FROM instances", 60)
    return {str(study[0].StudyInstanceUID): study for study in made}


def lines(suite, calling_ae, count):
    return suite.wait_for_rows(count, LINES, 60, calling_ae=calling_ae)


def identifier(level, **keys):
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(asked, keyword, value)
    return asked


@contextmanager
def getter(suite, calling_ae, model, on_store):
    """Yield an association that takes CT images back."""
    contexts = [build_context(model), build_context(CTImageStorage, ExplicitVRLittleEndian)]
    with senders.association(
        suite.dicom_port,
        contexts,
        calling=calling_ae,
        ext_neg=[build_role(CTImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, on_store)],
    ) as made:
        yield made


def test_a_get_is_on_record_study_by_study_before_the_first_object_and_at_its_end(
    running_suite, studies
):
    model = PatientRootQueryRetrieveInformationModelGet
    with getter(running_suite, "GETS", model, lambda _: 0) as made:
        *_, (last, _) = made.send_c_get(identifier("PATIENT", PatientID=PATIENT), model)
    assert last.NumberOfCompletedSuboperations == 4
    *begun, end = lines(running_suite, "GETS", 3)
    assert {line["study_instance_uid"] for line in begun} == set(studies)
    assert {line["detail"] for line in begun} == {"begun: 5 objects to GETS"}
    assert {(line["outcome"], line["status"]) for line in begun} == {("success", 0xFF00)}
    assert (end["action"], end["objects"]) == (None, 4)


def test_a_get_whose_receiver_is_killed_at_the_first_object_is_on_record(running_suite, studies):
    model, (study, _) = StudyRootQueryRetrieveInformationModelGet, studies
    taken = []

    def kill(event):
        taken.append(event.request.AffectedSOPInstanceUID)
        running_suite.kill("scp")
        return 0

    try:
        with getter(running_suite, "KILLS-GET", model, kill) as made:
            list(made.send_c_get(identifier("STUDY", StudyInstanceUID=study), model))
    finally:
        running_suite.start("scp")
    assert len(taken) == 1
    (line,) = lines(running_suite, "KILLS-GET", 1)
    assert (line["kind"], line["action"]) == ("c-get", "retrieve.begin")
    assert line["study_instance_uid"] == study


def test_a_move_whose_receiver_is_killed_at_the_first_object_is_on_record(running_suite, studies):
    model, (study, _) = StudyRootQueryRetrieveInformationModelMove, studies
    taken = []

    def kill(event):
        taken.append(event.request.AffectedSOPInstanceUID)
        running_suite.kill("scp")
        return 0

    destination = AE("KILLER")
    destination.supported_contexts = [build_context(CTImageStorage, ExplicitVRLittleEndian)]
    server = destination.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, kill)]
    )
    node = {
        "name": "killer",
        "ae_title": "KILLER",
        "host": "127.0.0.1",
        "port": server.server_address[1],
        "max_associations": 1,
    }
    try:
        with signed_in(running_suite.web_url) as admin:
            admin.post("/api/v1/nodes", json=node).raise_for_status()
        contexts = [build_context(model)]
        with senders.association(running_suite.dicom_port, contexts, calling="KILLS-MOVE") as made:
            list(made.send_c_move(identifier("STUDY", StudyInstanceUID=study), "KILLER", model))
    finally:
        server.shutdown()
        running_suite.start("scp")
    assert taken
    (line,) = lines(running_suite, "KILLS-MOVE", 1)
    assert (line["kind"], line["action"]) == ("c-move", "retrieve.begin")
    assert (line["study_instance_uid"], line["detail"]) == (study, "begun: 5 objects to KILLER")


@pytest.fixture
def viewer(running_suite):
    """A browser of somebody who may only look, and its CSRF token."""
    made = {"name": "viewer", "role": "viewer", "password": ADMIN_PASSWORD}
    with signed_in(running_suite.web_url) as admin:
        answer = admin.post("/api/v1/users", json=made)
        assert answer.status_code in {201, 409}
    with httpx.Client(base_url=running_suite.web_url, timeout=60) as client:
        started = client.post(
            "/api/v1/session", json={"name": "viewer", "password": ADMIN_PASSWORD}
        ).raise_for_status()
        client.headers["X-CSRF-Token"] = started.json()["csrf_token"]
        yield client


def test_looking_at_images_and_elements_is_on_record(running_suite, studies, viewer):
    study, objects = next(iter(studies.items()))
    ct, other, plan = objects[0], objects[1], objects[-2]
    series = f"/studies/{study}/series/{ct.SeriesInstanceUID}"
    api = "/api/v1/instances"
    for path in (
        f"{api}/{ct.SOPInstanceUID}/rendered",
        f"{api}/{ct.SOPInstanceUID}/rendered?center=0&width=100",
        f"{api}/{ct.SOPInstanceUID}/elements",
        f"{api}/{plan.SOPInstanceUID}/facts",
        f"{series}?object=2",
        f"/instances/{other.SOPInstanceUID}/picture",
        f"/instances/{other.SOPInstanceUID}/elements",
        f"{api}/1.2.3/rendered",
    ):
        assert viewer.get(path).status_code in {200, 404}, path
    found = running_suite.rows(VIEWS, actor="viewer")
    seen = [(line["sop_instance_uid"], line["detail"]) for line in found]
    assert seen == [
        (str(ct.SOPInstanceUID), "images and tables"),
        (str(ct.SOPInstanceUID), "elements"),
        (str(plan.SOPInstanceUID), "images and tables"),
        (str(other.SOPInstanceUID), "images and tables"),
        (str(other.SOPInstanceUID), "elements"),
    ]
    assert {line["study_instance_uid"] for line in found} == {study}


def test_a_thumbnail_is_a_look_at_its_object(running_suite, studies, viewer):
    objects = list(studies.values())[1]
    assert viewer.get(f"/series/{objects[0].SeriesInstanceUID}/thumbnail").status_code == 200
    *_, last = running_suite.rows(VIEWS, actor="viewer")
    assert last["sop_instance_uid"] == str(objects[1].SOPInstanceUID)


def test_a_stream_of_events_says_nothing_after_the_end_of_its_session(running_suite, viewer):
    heard, opened = [], threading.Event()

    def listen():
        with viewer.stream("GET", "/api/v1/retrieves/events") as answer:
            opened.set()
            heard.extend(answer.iter_lines())

    listener = threading.Thread(target=listen)
    listener.start()
    assert opened.wait(60)
    with signed_in(running_suite.web_url) as admin:
        sessions = admin.get("/api/v1/sessions?all_users=true").json()["items"]
        node = {"name": "away", "ae_title": "AWAY", "host": "127.0.0.1", "port": 1}
        made = admin.post("/api/v1/nodes", json=node).raise_for_status().json()
        for session in sessions:
            if session["user_name"] == "viewer":
                admin.delete(f"/api/v1/sessions/{session['id']}").raise_for_status()
        wanted = {"node_id": made["id"], "items": [{"study_instance_uid": "1.2.3"}]}
        admin.post("/api/v1/retrieves", json=wanted).raise_for_status()
    listener.join(60)
    assert not listener.is_alive()
    assert [line for line in heard if line.startswith("event:")] == []
