"""What an administrator sets, tells and sees, on a running suite with real associations.

Every live setting is seen by the next association within two seconds. Not covered here:
clean-up and deliveries, which have files of their own, and the broker being
down, when the configuration is found by polling each second.
"""

import json

import pytest
from pydicom.dataset import Dataset
from pynetdicom import build_context

from draw_shared.contracts.instance import instance_event_id
from support import datasets, service_finder
from support.operating import VERIFICATION, operating, self_signed, soon, trusting
from support.steady_stores import SteadyStores
from support.suite import Suite
from tools.processes import free_port

pytestmark = pytest.mark.e2e

CT = "1.2.840.10008.5.1.4.1.1.2"
ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
OUT_OF_RESOURCES = 0xA700
STORES = 300
SOP_CLASS_NOT_SUPPORTED = 0x0122


@pytest.fixture(scope="module")
def running(tmp_path_factory, postgres_url, template, broker):
    """A suite whose document alone says where the receiver listens."""
    with (
        service_finder.cloned_database(postgres_url, template) as database_url,
        broker.vhost() as broker_url,
    ):
        suite = Suite(
            tmp_path_factory.mktemp("operation"), database_url, broker_url, DRAW_SCP_PROCESSES="2"
        )
        suite.seed()
        suite.services["scp"].environment.pop("DRAW_SCP_PORT")
        _fill(suite.storage / "objects" / "bulk")
        try:
            suite.start()
            yield suite
        finally:
            suite.end()


def _fill(path):
    """Let a file count as 3 GiB of the quota without taking them from the disk."""
    path.parent.mkdir(parents=True)
    with path.open("wb") as sparse:
        sparse.truncate(3 * 1024**3)


@pytest.fixture(scope="module")
def signed_in_operator(running):
    with operating(running) as operator:
        yield operator


@pytest.fixture
def operator(signed_in_operator):
    """An administrator who afterwards rolls back whatever he has changed."""
    operator = signed_in_operator
    soon(operator.accepts, 60)
    before = operator.client.get("/api/v1/config").json()["version"]
    yield operator
    answer = operator.client.post(
        f"/api/v1/config/versions/{before}/restore", headers={"If-Match": "*"}
    )
    answer.raise_for_status()
    operator.port = answer.json()["document"]["network"]["port"]
    soon(operator.accepts)


def store(operator, made):
    """Send one object and return the status, or None when the association was aborted."""
    syntax = str(made.file_meta.TransferSyntaxUID)
    with operator.association(build_context(str(made.SOPClassUID), syntax)) as association:
        assert association.accepted_contexts
        return association.send_c_store(made).get("Status")


def test_calling_ae_titles(operator):
    operator.configure({"security": {"validate_calling_ae": True}})
    soon(lambda: operator.refuses(calling="CT_ROOM_2"))
    client = operator.client
    made = client.post("/api/v1/ae-titles", json={"ae_title": "CT_ROOM_2"}).raise_for_status()
    soon(lambda: operator.accepts(calling="CT_ROOM_2"))
    path = f"/api/v1/ae-titles/{made.json()['id']}"
    elsewhere = {"ae_title": "CT_ROOM_2", "expected_ip": "192.0.2.9"}
    client.put(path, json=elsewhere).raise_for_status()
    soon(lambda: operator.refuses(calling="CT_ROOM_2"))
    client.put(path, json=elsewhere | {"expected_ip": "127.0.0.1"}).raise_for_status()
    soon(lambda: operator.accepts(calling="CT_ROOM_2"))
    client.put(path, json={"ae_title": "CT_ROOM_2", "active": False}).raise_for_status()
    soon(lambda: operator.refuses(calling="CT_ROOM_2"))
    client.delete(path).raise_for_status()


def test_a_rejected_peer_is_listed_and_let_in_by_one_request(operator):
    operator.configure({"security": {"validate_calling_ae": True}})
    soon(lambda: operator.refuses(calling="NEW_CT"))
    found = []

    def listed():
        peers = operator.client.get("/api/v1/access/rejected-peers").json()["items"]
        found[:] = [peer for peer in peers if peer["calling_ae"] == "NEW_CT"]
        return bool(found)

    soon(listed, 60)
    assert found[0]["can_be_allowed"]
    body = {"calling_ae": "NEW_CT", "address": found[0]["peer_address"]}
    answer = operator.client.post("/api/v1/access/rejected-peers/allow", json=body)
    assert answer.json()["accepted"]
    soon(lambda: operator.accepts(calling="NEW_CT"))


def test_a_right_that_a_peer_lacked_is_listed_and_given_by_one_request(operator):
    client = operator.client
    made = client.post("/api/v1/ae-titles", json={"ae_title": "READER", "rights": ["echo"]})
    found = []

    def queries():
        """Return whether READER gets an answer to a query."""
        contexts = (build_context(VERIFICATION), build_context(STUDY_ROOT_FIND))
        with operator.association(*contexts, calling="READER") as association:
            if len(association.accepted_contexts) < len(contexts):
                return False
            answers = association.send_c_find(_any_study(), STUDY_ROOT_FIND)
            return [status.Status for status, _ in answers][-1] == 0

    def listed():
        peers = client.get("/api/v1/access/rejected-peers").json()["items"]
        found[:] = [peer for peer in peers if peer["calling_ae"] == "READER"]
        return bool(found)

    soon(lambda: not queries())
    soon(listed)
    assert found[0]["denied_rights"] == ["query"]
    assert found[0]["can_be_allowed"]
    peer = {"calling_ae": "READER", "address": found[0]["peer_address"], "rights": ["query"]}
    client.post("/api/v1/access/rejected-peers/allow", json=peer).raise_for_status()
    soon(queries)
    client.delete(f"/api/v1/ae-titles/{made.json()['id']}").raise_for_status()


def _any_study():
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    asked.StudyInstanceUID = ""
    return asked


def test_allowed_addresses(operator):
    operator.configure({"security": {"allowed_ips": ["192.0.2.0/24"]}})
    soon(operator.refuses)
    operator.configure({"security": {"allowed_ips": ["192.0.2.0/24", "127.0.0.0/8"]}})
    soon(operator.accepts)


def test_the_called_ae_title_and_our_own(operator):
    operator.configure({"security": {"check_called_ae": True}, "network": {"ae_title": "ARCHIVE"}})
    soon(operator.refuses)
    soon(lambda: operator.accepts(called="ARCHIVE"))


def test_the_number_of_associations(operator):
    operator.configure({"network": {"max_associations": 1}})
    with operator.association() as held:
        assert held.is_established
        soon(operator.refuses)
        operator.configure({"network": {"max_associations": 2}})
        soon(operator.accepts)


def test_the_size_of_pdus(operator):
    operator.configure({"network": {"max_pdu_bytes": 65536}})
    soon(lambda: operator.largest_pdu() == 65536)


@pytest.mark.parametrize(
    ("service", "sop_class"),
    [("c_echo", "1.2.840.10008.1.1"), ("c_find", STUDY_ROOT_FIND)],
)
def test_dimse_services(operator, service, sop_class):
    soon(lambda: operator.takes(sop_class))
    operator.configure({"services": {service: False}})
    soon(lambda: not operator.takes(sop_class))
    operator.configure({"services": {service: True}})
    soon(lambda: operator.takes(sop_class))


def test_sop_classes(operator):
    private = "1.2.840.113619.4.26"
    assert operator.takes(private)
    few = {"all_storage_classes": False, "promiscuous": False, "ct_image": False}
    operator.configure({"sop_classes": few})
    soon(lambda: not operator.takes(CT) and not operator.takes(private))
    assert not operator.takes(ULTRASOUND)
    operator.configure({"sop_classes": {"ct_image": True, "further": [ULTRASOUND]}})
    soon(lambda: operator.takes(CT) and operator.takes(ULTRASOUND))


def test_transfer_syntaxes(operator):
    off = {"all_transfer_syntaxes": False, "jpeg_2000_lossless": False}
    operator.configure({"transfer_syntaxes": off})
    soon(lambda: not operator.takes(CT, JPEG_2000))
    assert operator.takes(CT, EXPLICIT_LITTLE)
    operator.configure({"transfer_syntaxes": {"further": [JPEG_2000]}})
    soon(lambda: operator.takes(CT, JPEG_2000))


@pytest.mark.parametrize(
    ("structure", "naming", "place"),
    [
        ("flat", "sop_uid", "{0.SOPInstanceUID}.dcm"),
        ("study", "instance_number", "{0.StudyInstanceUID}/{0.InstanceNumber:04d}.dcm"),
    ],
)
def test_the_layout_of_new_objects(operator, running, structure, naming, place):
    operator.configure({"storage": {"structure": structure, "naming": naming}})

    def lies_there():
        made = datasets.build()
        assert store(operator, made) == 0
        return (running.storage / "objects" / place.format(made)).is_file()

    soon(lies_there)


def test_the_quota_and_none(operator, running):
    operator.configure({"storage": {"max_storage_gb": 1}})
    soon(lambda: store(operator, datasets.build()) == OUT_OF_RESOURCES)
    operator.configure({"storage": {"max_storage_gb": 0}})
    soon(lambda: store(operator, datasets.build()) == 0)
    assert "draw_scp_storage_quota_bytes +Inf\n" in running.services["scp"].answer("/metrics")[1]


def test_changes_hold_on_associations_that_are_open_in_both_receiving_processes(operator, running):
    context = build_context(CT, EXPLICIT_LITTLE)

    def both(status):
        answers = [one.send_c_store(datasets.build()).get("Status") for one in (first, second)]
        return answers == [status, status]

    def metrics():
        return running.services["scp"].answer("/metrics")[1]

    # Started when two send at once; of the next two associations each process has one.
    with operator.association(context), operator.association(context):
        soon(lambda: "draw_scp_receiving_processes 2.0" in metrics(), 60)
    with operator.association(context) as first, operator.association(context) as second:
        assert both(0)
        operator.configure({"storage": {"max_storage_gb": 1}})
        soon(lambda: both(OUT_OF_RESOURCES))
        operator.configure({"storage": {"max_storage_gb": 10}})
        soon(lambda: both(0))
        operator.configure({"services": {"c_store": False}})
        soon(lambda: both(SOP_CLASS_NOT_SUPPORTED))
        operator.configure({"services": {"c_store": True}})
        soon(lambda: both(0))


def test_the_largest_object(operator):
    large = datasets.build(size_bytes=2 * 1024**2)
    operator.configure({"storage": {"max_object_bytes": 1024**2}})
    soon(lambda: store(operator, large) != 0)
    operator.configure({"storage": {"max_object_bytes": None}})
    soon(lambda: store(operator, large) == 0)


def test_what_is_logged(operator, running):
    def logged(calling):
        assert operator.accepts(calling=calling)
        return calling in running.log("scp")

    soon(lambda: logged("LOGGED"))
    operator.configure({"logging": {"connection_attempts": False}})
    soon(lambda: not logged(f"SILENT{free_port()}"))
    operator.configure({"logging": {"connection_attempts": True, "level": "ERROR"}})
    soon(lambda: not logged(f"SILENT{free_port()}"))


def test_another_port_is_open_before_the_old_one_has_drained(operator):
    port = free_port()
    with operator.association() as running_on:
        operator.configure({"network": {"port": port}})
        soon(lambda: operator.accepts(port=port))
        soon(lambda: not operator.accepts())
        assert running_on.send_c_echo().Status == 0
    assert operator.service("scp")["replicas"][0]["last_error"] == ""


def shown(operator):
    """Return what is said of the receiver: where it listens, its problem, tile and notices."""
    [replica] = operator.service("scp")["replicas"]
    page = operator.client.get("/").raise_for_status().text
    return replica["dicom"], replica["last_error"], page


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"host": "192.0.2.1"}, "192.0.2.1 is no address of this machine"),
        ({"host": "198.51.100.7", "port": 11113}, "198.51.100.7 is no address of this machine"),
        (
            {"tls": {"enabled": True, "certificate_file": "/no/c.pem", "key_file": "/no/k.pem"}},
            "the certificate /no/c.pem is not there",
        ),
    ],
)
def test_what_cannot_be_had_leaves_the_old_listener_and_the_page_says_why(
    operator, running, network, words
):
    stores = SteadyStores(operator.port, STORES, ("127.0.0.1", "127.0.0.2"))
    stores.start()
    operator.configure({"network": network})
    soon(lambda: words in shown(operator)[1], 60)
    bound, problem, page = shown(operator)
    assert bound == {"host": "0.0.0.0", "port": operator.port, "tls": False}
    assert problem == f"still on 0.0.0.0:{operator.port} without TLS, because {words}"
    assert f">0.0.0.0:{operator.port}<" in page
    assert f"is not as configured: {problem}." in page
    receiver = running.services["scp"]
    assert "draw_scp_listener_as_configured 0.0" in receiver.answer("/metrics")[1]
    assert receiver.ready(), "Kubernetes and HAProxy go on sending"
    assert operator.accepts()
    stores.wait(60)
    assert (stores.failures, stores.reopened) == ([], 0)


def test_a_receiver_that_starts_without_its_certificate_accepts_nothing_until_it_is_there(
    operator, running, tmp_path
):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    files = {"certificate_file": str(certificate), "key_file": str(key)}
    operator.configure({"network": {"tls": {"enabled": True, "port": 0, **files}}})
    soon(lambda: shown(operator)[1], 60)
    receiver = running.services["scp"]
    running.stop("scp")
    receiver.start()
    why = f"not listening, because the certificate {certificate} is not there"
    soon(lambda: receiver.answer("/readyz") == (503, f"listener: {why}\n"), 60)
    soon(lambda: shown(operator)[:2] == (None, why), 60)
    assert operator.states("scp") == ["starting"]
    assert "not receiving" in shown(operator)[2]
    assert not operator.accepts()
    self_signed(tmp_path)
    soon(lambda: operator.accepts(tls=trusting(certificate)), 60)
    soon(
        lambda: shown(operator)[:2] == ({"host": "0.0.0.0", "port": operator.port, "tls": True}, "")
    )
    assert not operator.accepts()


def test_tls(operator, tmp_path):
    certificate, key = self_signed(tmp_path)
    files = {"certificate_file": str(certificate), "key_file": str(key)}
    port = free_port()
    operator.configure({"network": {"tls": {"enabled": True, "port": port, **files}}})
    soon(lambda: operator.accepts(port=port, tls=trusting(certificate)))
    assert operator.accepts(), "devices move one by one"
    ports = [
        {"host": "0.0.0.0", "port": operator.port, "tls": False},
        {"host": "0.0.0.0", "port": port, "tls": True},
    ]
    soon(lambda: operator.service("scp")["replicas"][0]["dicom_ports"] == ports)
    assert shown(operator)[0] == ports[0]
    page = shown(operator)[2]
    assert f">0.0.0.0:{operator.port}<" in page
    assert f">0.0.0.0:{port}, TLS<" in page
    operator.configure({"network": {"tls": {"keep_plain_port": False}}})
    soon(lambda: not operator.accepts())
    assert operator.accepts(port=port, tls=trusting(certificate))


def test_the_receiver_stops_drains_and_starts(operator, running):
    with operator.association() as held:
        operator.tell("scp", "stop")
        soon(lambda: not operator.accepts())
        soon(lambda: operator.states("scp") == ["draining"], 60)
        assert held.send_c_echo().Status == 0
    soon(lambda: operator.states("scp") == ["stopped"], 60)
    assert running.services["scp"].ready()
    running.stop("scp")
    soon(lambda: operator.states("scp") == ["ended"])
    running.start("scp")
    assert not operator.accepts()
    operator.tell("scp", "start")
    soon(operator.accepts)
    soon(lambda: operator.states("scp") == ["ready"], 60)


def test_the_receiver_restarts_without_turning_anybody_away_for_long(operator):
    replica = operator.service("scp")["replicas"][0]
    with operator.association() as held:
        operator.tell("scp", "restart", replica=replica["replica"])

        def began_anew():
            return operator.service("scp")["replicas"][0]["started_at"] > replica["started_at"]

        soon(began_anew, 60)
        soon(operator.accepts)
        assert held.send_c_echo().Status == 0


def test_without_auto_start_the_receiver_waits_to_be_told(operator, running):
    operator.configure({"services": {"auto_start": False}})
    assert operator.accepts()
    running.stop("scp")
    running.start("scp")
    assert not operator.accepts()
    operator.tell("scp", "start")
    soon(operator.accepts)


def test_the_receiver_can_be_switched_off(operator):
    operator.configure({"services": {"enabled": False}})
    soon(lambda: not operator.accepts())


@pytest.mark.parametrize("service", ["qr-worker", "indexer"])
def test_the_others_stop_and_start(operator, service):
    operator.tell(service, "stop")
    soon(lambda: operator.states(service) == ["stopped"], 60)
    operator.tell(service, "start")
    soon(lambda: operator.states(service) == ["ready"], 60)


def test_the_api_cannot_stop_itself(operator):
    assert operator.client.post("/api/v1/services/api/stop").status_code == 409


def test_one_object_is_followed_from_the_socket_to_the_index(operator, running):
    """By the identifiers and in the steps of docs/operations.md."""
    quiet = datasets.build()
    assert store(operator, quiet) == 0
    # An object is accounted for, and its line written or not, after the answer.
    uid = str(quiet.SOPInstanceUID)
    accounted = "SELECT id FROM transactions WHERE sop_instance_uid = :uid"
    assert running.wait_for_rows(1, accounted, seconds=30, uid=uid)
    before = operator.client.get("/api/v1/config").json()["document"]["logging"]["level"]
    changes = running.log("scp").count('"config.changed"')
    operator.configure({"logging": {"level": "DEBUG"}})
    try:
        soon(lambda: running.log("scp").count('"config.changed"') > changes, 60)
        _follow_one_object(operator, running)
    finally:
        operator.configure({"logging": {"level": before}})
    assert uid not in running.log("scp"), "unless asked, one line for all"


def _follow_one_object(operator, running):
    made = datasets.build()
    uid = str(made.SOPInstanceUID)
    assert store(operator, made) == 0
    client = operator.client

    def transactions(of):
        return client.get("/api/v1/transactions", params={"uid": of}).json()["items"]

    def lines(service, word):
        return [json.loads(line) for line in running.log(service).splitlines() if word in line]

    soon(lambda: transactions(uid), 60)
    [stored] = transactions(uid)
    association = stored["association_id"]
    [accepted] = lines("scp", uid)
    assert (accepted["event"], accepted["association_id"]) == ("store.accepted", association)
    soon(lambda: len(transactions(association)) == 2, 60)
    assert {line["kind"] for line in transactions(association)} == {"association", "c-store"}
    events = [line["event"] for line in lines("scp", association)]
    assert sorted(events) == ["association.closed", "association.opened", "store.accepted"]
    soon(lambda: client.get(f"/api/v1/instances/{uid}").status_code == 200, 60)
    instance = client.get(f"/api/v1/instances/{uid}").json()
    assert instance["association_id"] == association
    assert instance["event_id"] == str(instance_event_id(uid, instance["content_sha256"]))
    soon(lambda: lines("indexer", association))
    [indexed] = lines("indexer", instance["event_id"])
    assert (indexed["event"], indexed["association_id"]) == ("instances.indexed", association)
    assert client.get("/api/v1/instances/1.2.3").status_code == 404


def test_everything_is_in_the_transaction_log(operator, running):
    made = datasets.build()
    assert operator.accepts(calling="LOGGED_AE")
    syntax = str(made.file_meta.TransferSyntaxUID)
    with operator.association(build_context(CT, syntax), calling="LOGGED_AE") as association:
        assert association.send_c_store(made).Status == 0
    operator.configure({"security": {"allowed_ips": ["192.0.2.1"]}})
    soon(lambda: operator.refuses(calling="LOGGED_AE"))
    kinds = {"association", "c-echo", "c-store", "rejection"}

    def lines(**criteria):
        answer = operator.client.get("/api/v1/transactions", params={"limit": 500, **criteria})
        return answer.raise_for_status().json()["items"]

    soon(lambda: {line["kind"] for line in lines(ae_title="LOGGED_AE")} == kinds, 60)
    (stored,) = lines(uid=made.SOPInstanceUID)
    assert (stored["outcome"], stored["peer_address"]) == ("success", "127.0.0.1")
    assert stored["rate_bytes_per_second"] > 0
    assert lines(kind="management", action="config.update")
    export = operator.client.get("/api/v1/transactions/export.csv", params={"kind": "c-store"})
    assert str(made.SOPInstanceUID) in export.text
    soon(lambda: operator.client.post("/api/v1/transactions/verify").json()["lines"] > 0, 60)
    assert operator.client.post("/api/v1/transactions/verify").json()["intact"]
