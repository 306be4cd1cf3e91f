"""Whom we trust over TLS when we call: names, authorities, times, pins, with real certificates.

Requestor and worker ask the same class; C-MOVE's destinations are in
tests/unit/scp/test_sub_associations.py, the page in tests/integration/api/test_node_trust.py.
"""

import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from draw_qr_worker.adapters.remote_node import RemoteNodes
from draw_qr_worker.models import ClaimedJob, JobState, Lease, RemoteNode
from draw_qr_worker.services.node_tests import EchoTask
from draw_shared.dicom.network.peer_failures import Unreachable
from draw_shared.dicom.network.peer_trust import NotTrusted, PeerTrusts
from draw_shared.dicom.network.tls import ServerTls, TlsFiles, TlsUnusable
from support.certificates import HERE, Authority, trust
from support.engine import listening
from support.service_finder import program
from support.waiting import wait_until
from tools.processes import free_port

pytestmark = pytest.mark.security

PIN_OR_SET = "pin it, or set the file of authorities"
PIN_OR_HOST = "pin it, or correct the host"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@contextmanager
def showing(certificate):
    """Yield the port of a peer that shows a certificate."""
    tls = ServerTls(TlsFiles(**certificate.tls))
    with listening(tls=tls) as (acceptor, _):
        yield acceptor.port


def call(port, host, how):
    """Call a peer here as if `host` had led to it; NotTrusted when it is not the one meant."""
    with (
        socket.create_connection(("127.0.0.1", port), 10) as connection,
        how.secure(connection, host) as secured,
    ):
        assert secured.version() == "TLSv1.3"


def why_not(port, host, how):
    with pytest.raises(NotTrusted) as caught:
        call(port, host, how)
    return caught.value


def test_a_certificate_is_for_its_dns_names_addresses_and_wildcards(authority):
    hosts = ("DNS:pacs.example.org", "DNS:*.ct.example.org", "IP:192.0.2.7", "IP:2001:db8::7")
    how = trust(authority.file)
    with showing(authority.sign("pacs", hosts)) as port:
        right = ("pacs.example.org", "PACS.example.org", "one.ct.example.org")
        for host in (*right, "192.0.2.7", "2001:db8::7", "2001:db8::7%eth0"):
            call(port, host, how)
        wrong = ("example.org", "ct.example.org", "one.two.ct.example.org", "pacs.example.com")
        for host in (*wrong, "192.0.2.8", "2001:db8::8"):
            refused = why_not(port, host, how)
            assert str(refused) == (
                "the certificate is for pacs.example.org, *.ct.example.org, 192.0.2.7,"
                f" 2001:db8::7, not for host {host}: {PIN_OR_HOST}"
            )
    assert refused.certificate.names[0] == "pacs.example.org"


def test_the_common_name_names_no_host(authority):
    with showing(authority.sign("pacs.example.org", ())) as port:
        refused = why_not(port, "pacs.example.org", trust(authority.file))
    assert str(refused) == (
        "the certificate is for CN=pacs.example.org without a host's name (subjectAltName),"
        f" not for host pacs.example.org: {PIN_OR_HOST}"
    )


def test_strangers_old_and_self_signed_certificates_are_told_apart(authority, tmp_path):
    how = trust(authority.file)
    stranger = Authority(tmp_path, "stranger").sign("impostor")
    for certificate, words in (
        (
            stranger,
            f"the certificate is signed by CN=stranger, none of our authorities: {PIN_OR_SET}",
        ),
        (
            authority.self_signed("device"),
            f"the certificate is signed by itself and by none of our authorities: {PIN_OR_SET}",
        ),
        (
            authority.expired("old"),
            "the certificate has expired on 2024-02-01: pin it, or give the node a new one",
        ),
    ):
        with showing(certificate) as port:
            refused = why_not(port, "127.0.0.1", how)
            assert str(refused) == words
            assert refused.certificate.fingerprint == certificate.fingerprint
            # Whoever signed it, whatever it names and however old it is.
            call(
                port, "elsewhere.example.org", trust(authority.file, None, certificate.fingerprint)
            )


def test_where_one_is_pinned_no_other_is_trusted_not_even_of_our_authority(authority):
    pinned, ours = authority.self_signed("pinned"), authority.sign("ours")
    with showing(ours) as port:
        refused = why_not(port, "127.0.0.1", trust(authority.file, None, pinned.fingerprint))
    assert str(refused) == (
        f"it shows another certificate than the pinned one, {ours.fingerprint}: if it has a new"
        " one, pin that"
    )


def test_a_private_authority_takes_the_place_of_the_system_s(authority, tmp_path, monkeypatch):
    stranger = Authority(tmp_path, "stranger")
    monkeypatch.setenv("SSL_CERT_FILE", stranger.file)
    with showing(stranger.sign("pacs")) as port:
        call(port, "127.0.0.1", trust())
        assert "none of our authorities" in str(why_not(port, "127.0.0.1", trust(authority.file)))


def test_renewed_authorities_are_taken_up_and_unusable_ones_told(authority, tmp_path):
    file = tmp_path / "authorities.pem"
    trusts = PeerTrusts(file)
    with pytest.raises(TlsUnusable, match=r"the file of authorities .* is not there"):
        trusts.of()
    shutil.copy(authority.file, file)
    with showing(authority.sign("pacs")) as port:
        call(port, "127.0.0.1", trusts.of())
        assert trusts.of().verifying is trusts.of().verifying
        shutil.copy(Authority(tmp_path, "renewed").file, file)
        assert why_not(port, "127.0.0.1", trusts.of()).certificate is not None


def test_where_no_tls_is_spoken_that_is_said(authority):
    with listening() as (acceptor, _):
        nodes = RemoteNodes(lambda: "DRAW", PeerTrusts(Path(authority.file)))
        with pytest.raises(Unreachable, match="it speaks no TLS there"):
            nodes.echo(node(acceptor.port), NoEnd())
        with pytest.raises(Unreachable, match="it speaks no TLS there"):
            nodes.echo(node(acceptor.port, tls_fingerprint="AA"), NoEnd())
    unusable = RemoteNodes(lambda: "DRAW", PeerTrusts(Path("/nowhere/ca.pem")))
    with (
        showing(authority.sign("pacs")) as port,
        pytest.raises(Unreachable, match=r"authorities /nowhere/ca\.pem is not there"),
    ):
        unusable.echo(node(port), NoEnd())


class NoEnd:
    def ended(self):
        return False

    def check(self):
        pass

    def pause(self, seconds):
        pass


class Findings:
    def record_test(self, _node_id, found):
        self.found = found


def node(port, **changes):
    return RemoteNode(1, "node", "NODE", "127.0.0.1", port, tls=True, timeout_seconds=10, **changes)


def test_the_test_of_a_node_says_what_it_shows_and_what_to_do(authority):
    shown = authority.sign("node", ("DNS:pacs.example.org",))
    findings = Findings()
    task = EchoTask(RemoteNodes(lambda: "DRAW", PeerTrusts(Path(authority.file))), findings)
    with showing(shown) as port:
        with pytest.raises(NotTrusted) as caught:
            task.run(ClaimedJob(Lease(None, 1), "echo", 1, 0, node(port)), NoEnd())
        words = (
            f"no TLS with 127.0.0.1:{port}: the certificate is for pacs.example.org, not for host"
            f" 127.0.0.1: {PIN_OR_HOST}"
        )
        assert findings.found["error"] == str(caught.value) == words
        certificate = findings.found["certificate"]
        assert certificate["fingerprint"] == shown.fingerprint
        assert certificate["names"] == ["pacs.example.org"]
        assert certificate["issuer"] == "CN=authority"
        assert certificate["valid_until"]
        ended = task.give_up(None, caught.value)
        assert (ended.state, ended.result["certificate"]) == (JobState.FAILED, certificate)
        pinned = node(port, tls_fingerprint=certificate["fingerprint"])
        task.run(ClaimedJob(Lease(None, 1), "echo", 1, 0, pinned), NoEnd())
        assert findings.found["reachable"]
        assert "certificate" not in findings.found


@contextmanager
def dcmtk_storage(folder, certificate, *options):
    """Yield the port of DCMTK's storescp, which speaks TLS."""
    port = free_port()
    words = [program("storescp", "dcmtk"), "+tls", certificate.key, certificate.certificate]
    process = subprocess.Popen(
        [str(word) for word in (*words, *options, "-od", folder, port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers():
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            return False
        return True

    try:
        assert wait_until(answers)
        yield port
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.needs("storescp")
def test_dcmtk_is_called_with_our_certificate_and_by_its_name_or_its_pin(authority, tmp_path):
    ours = authority.sign("draw")
    asking = ("+cf", authority.file, "-rc")
    trusts = PeerTrusts(Path(authority.file), Path(ours.both))
    nodes = RemoteNodes(lambda: "DRAW", trusts)
    with dcmtk_storage(tmp_path, authority.sign("right", HERE), *asking) as port:
        nodes.echo(node(port), NoEnd())
        with pytest.raises(Unreachable):
            RemoteNodes(lambda: "DRAW", PeerTrusts()).echo(node(port), NoEnd())
    device = authority.self_signed("device", ())
    with dcmtk_storage(tmp_path, device, *asking) as port:
        with pytest.raises(NotTrusted, match="signed by itself"):
            nodes.echo(node(port), NoEnd())
        nodes.echo(node(port, tls_fingerprint=device.fingerprint), NoEnd())
