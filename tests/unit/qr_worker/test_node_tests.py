"""The test of a node as a checklist, against real servers of many kinds on this machine.

That the checklist reaches the row of the node is not covered here but in e2e/test_page_devices.
"""

import contextlib
import http.server
import socket
import ssl
import threading

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from draw_qr_worker.adapters.remote_node import RemoteNodes
from draw_qr_worker.models import ClaimedJob, Lease, RemoteNode
from draw_qr_worker.services.node_tests import EchoTask
from draw_shared.connection_words import NAMES
from draw_shared.dicom.network.peer_trust import PeerTrusts
from draw_shared.errors import DrawError
from support.asking import Going
from support.certificates import Authority
from support.lying_nodes import SCRIPTS, lying

ALL = ("dns", "tcp", "association", "echo", "find")


class Findings:
    """Keeps what was found."""

    def __init__(self):
        self.test = {}

    def record_test(self, _node_id, found):
        self.test = dict(found)


@contextlib.contextmanager
def listening(server_of):
    """Yield the port of a socket server that runs in a thread."""
    server = server_of(("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextlib.contextmanager
def web_server(tls=None):
    def made(address):
        server = http.server.ThreadingHTTPServer(address, http.server.SimpleHTTPRequestHandler)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        return server

    with listening(made) as port:
        yield port


@contextlib.contextmanager
def pacs(*, find=None):
    """Yield the port of an SCP of pynetdicom; `find` is the status of its answers to C-FIND."""
    ae = AE("PACS")
    ae.add_supported_context(Verification)
    handlers = []
    if find is not None:
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        handlers = [(evt.EVT_C_FIND, lambda _event: iter([(find, None)]))]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def outcome_of(port, host="127.0.0.1", **settings):
    """Return what the test of a node has found, and its steps by name."""
    node = RemoteNode(1, "node", "PACS", host, port, timeout_seconds=5, **settings)
    findings = Findings()
    task = EchoTask(RemoteNodes(lambda: "DRAW", PeerTrusts()), findings)
    job = ClaimedJob(Lease(None, 1), "echo", 1, 0, node)
    with contextlib.suppress(DrawError):
        task.run(job, Going())
    found = findings.test
    return found, {row["step"]: row for row in found["steps"]}


def outcomes(steps):
    return [row["outcome"] for row in steps.values()]


def test_a_pacs_passes_every_step_with_its_time():
    with pacs(find=0) as port:
        found, steps = outcome_of(port, host="localhost")
    assert found["reachable"] is True
    assert tuple(steps) == ALL
    assert outcomes(steps) == ["passed"] * 5
    assert steps["dns"]["words"]
    assert all(row["milliseconds"] >= 0 for row in steps.values())
    assert {"association_ms", "echo_ms"} <= found.keys()


def test_without_c_find_it_is_reachable_and_the_checklist_says_so():
    with pacs() as port:
        found, steps = outcome_of(port)
        _, unasked = outcome_of(port, supports_find=False)
    assert found["reachable"] is True
    assert (steps["echo"]["outcome"], steps["find"]["outcome"]) == ("passed", "failed")
    assert "not this service" in steps["find"]["words"]
    assert tuple(unasked) == ALL[:-1]
    with pacs(find=0xA700) as port:
        found, steps = outcome_of(port)
    assert found["reachable"] is True
    assert steps["find"]["outcome"] == "failed"


def test_a_name_that_nobody_has_fails_at_dns_and_a_closed_port_at_tcp():
    found, steps = outcome_of(104, host="nobody.invalid")
    assert found["reachable"] is False
    assert outcomes(steps) == ["failed", "skipped", "skipped", "skipped", "skipped"]
    assert steps["dns"]["words"].rpartition(": ")[2] in NAMES.values()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found, steps = outcome_of(port)
    assert outcomes(steps)[:3] == ["passed", "failed", "skipped"]
    assert "Connection refused" in steps["tcp"]["words"]


@pytest.mark.parametrize("kind", ["waits for a line", "answers at once"])
def test_a_web_server_is_called_a_web_server(kind):
    script, _ = SCRIPTS["speaks HTTP"]
    with web_server() if kind == "waits for a line" else lying(script) as port:
        found, steps = outcome_of(port)
    assert found["error"] == "this is a web server (HTTP), not DICOM"
    assert outcomes(steps)[:4] == ["passed", "passed", "failed", "skipped"]
    assert steps["association"]["words"] == found["error"]
    assert steps["association"]["milliseconds"] < 4000


def test_tls_is_named_where_plain_was_expected_and_plain_where_tls_was(tmp_path):
    certificate = Authority(tmp_path).self_signed("device")
    with web_server(certificate) as port:
        found, steps = outcome_of(port)
    assert found["error"] == "this port speaks TLS, and was called without TLS"
    assert steps["association"]["outcome"] == "failed"
    with pacs() as port:
        found, steps = outcome_of(port, tls=True)
    assert tuple(steps)[:3] == ("dns", "tcp", "tls")
    assert steps["tls"]["outcome"] == "failed"
    assert "it speaks no TLS there" in found["error"]
    with web_server(certificate) as port:
        _, steps = outcome_of(port, tls=True, tls_fingerprint=certificate.fingerprint)
    assert steps["tls"]["outcome"] == "passed"
    assert steps["association"]["outcome"] == "failed"


def test_a_rejection_and_a_silent_node_are_told_as_they_are():
    with lying(SCRIPTS["aborts"][0]) as port:
        found, _ = outcome_of(port)
    assert "aborted the association" in found["error"]
