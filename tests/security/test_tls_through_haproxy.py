"""TLS through Compose's HAProxy: passed on as it is, with the address of whoever connects."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network

import pytest

from draw_shared.dicom.encoding.uids import IMPLICIT_LITTLE, VERIFICATION
from draw_shared.dicom.network.associate import ProposedContext
from draw_shared.dicom.network.limits import AcceptorLimits
from draw_shared.dicom.network.peer_failures import PeerTrouble
from draw_shared.dicom.network.requestor import Remote, open_association
from draw_shared.dicom.network.tls import ServerTls, TlsFiles
from support.certificates import Authority, trust
from support.engine import listening
from support.replicas import configuration, running_haproxy
from support.waiting import wait_until
from tools.processes import free_port

pytestmark = [pytest.mark.integration, pytest.mark.security, pytest.mark.needs("haproxy")]


class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def ready():
    """Yield a port where `/readyz` is answered."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Ready)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def echo(port, how):
    remote = Remote("127.0.0.1", port, "DRAW_SCP", "TESTER", 10.0, tls=how)
    try:
        with open_association(remote, (ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE,)),)) as a:
            return a.echo() == 0
    except PeerTrouble:
        return False


def test_the_receiver_s_own_certificate_and_the_peer_s_own_address(tmp_path):
    authority = Authority(tmp_path)
    tls = ServerTls(TlsFiles(**authority.sign("receiver").tls))
    limits = AcceptorLimits(trusted_proxies=(ip_network("127.0.0.1/32"),))
    port = free_port()
    with ready() as http_port, listening(limits=limits, tls=tls) as (acceptor, provider):
        text = configuration(free_port(), (), port, [(acceptor.port, http_port)])
        with running_haproxy(tmp_path, text, port):
            assert wait_until(lambda: echo(port, trust(authority.file)))
            assert not echo(port, None)
    assert {(info.tls, info.peer_address) for info in provider.infos} == {("TLSv1.3", "127.0.0.1")}
