"""An administrator at work on a running suite, and what peers then see on real associations."""

import ssl
import subprocess
import time
from contextlib import contextmanager

import httpx
from pynetdicom import AE, build_context

from draw_shared.dicom.encoding.uids import IMPLICIT_LITTLE, VERIFICATION
from draw_shared.dicom.network.associate import ProposedContext
from draw_shared.dicom.network.peer_failures import (
    PeerBusy,
    PeerCongested,
    PeerRejected,
    PeerTrouble,
)
from draw_shared.dicom.network.requestor import Remote, open_association
from support.suite import AE_TITLE, Suite, signed_in

SOON_SECONDS = 60.0
"""How long a change may take until every replica has it."""


class Operator:
    """Changes a suite over REST and asks its receiver what came of it."""

    def __init__(self, suite: Suite, client: httpx.Client):
        self.suite = suite
        self.client = client
        self.port = suite.dicom_port

    def configure(self, patch: dict) -> dict:
        """Change settings and return the document."""
        answer = self.client.patch("/api/v1/config", json=patch, headers={"If-Match": "*"})
        answer.raise_for_status()
        return answer.json()["document"]

    def tell(self, service: str, action: str, **parameters) -> dict:
        """Start, stop or restart a service."""
        answer = self.client.post(f"/api/v1/services/{service}/{action}", params=parameters)
        answer.raise_for_status()
        return answer.json()

    def service(self, name: str) -> dict:
        """Return how a service is doing."""
        return self.client.get(f"/api/v1/services/{name}").raise_for_status().json()

    def states(self, name: str) -> list[str]:
        """Return the states of a service's replicas."""
        return [replica["state"] for replica in self.service(name)["replicas"]]

    @contextmanager
    def association(self, *contexts, calling="TESTER", called=AE_TITLE, port=None, tls=None):
        """Yield an association, established or not."""
        client = AE(calling)
        client.acse_timeout = client.dimse_timeout = client.network_timeout = 10
        client.connection_timeout = 2
        made = client.associate(
            "127.0.0.1",
            port or self.port,
            contexts=list(contexts) or [build_context(VERIFICATION)],
            ae_title=called,
            tls_args=tls,
        )
        try:
            yield made
        finally:
            if made.is_established:
                made.release()

    def accepts(self, **how) -> bool:
        """Return whether an association for C-ECHO is accepted and answered."""
        with self.association(**how) as made:
            return bool(made.is_established and made.send_c_echo().get("Status") == 0)

    def refuses(self, *, calling="TESTER", called=AE_TITLE, port=None) -> bool:
        """Return whether an association is rejected, by words and not by a closed port.

        Not pynetdicom: it takes some rejections for aborts.
        """
        remote = Remote("127.0.0.1", port or self.port, called, calling)
        proposed = [ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE,))]
        try:
            with open_association(remote, proposed):
                return False
        except (PeerRejected, PeerBusy, PeerCongested):
            return True
        except PeerTrouble:
            return False

    def takes(self, sop_class: str, *syntaxes: str) -> bool:
        """Return whether a presentation context is accepted."""
        with self.association(build_context(sop_class, list(syntaxes) or None)) as made:
            return bool(made.is_established and made.accepted_contexts)

    def largest_pdu(self) -> int:
        """Return the maximum length that the receiver announces."""
        with self.association() as made:
            return made.acceptor.maximum_length if made.is_established else 0


def soon(seen, seconds: float = SOON_SECONDS) -> None:
    """Return once `seen()` is true."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, "not seen in time"
        time.sleep(0.02)


def self_signed(folder):
    """Return the paths of a certificate for this machine and of its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    words += ["-keyout", key, "-out", certificate]
    subprocess.run(words, check=True, capture_output=True)
    return certificate, key


def trusting(certificate):
    """Return how a client speaks TLS with the owner of a certificate."""
    context = ssl.create_default_context(cafile=str(certificate))
    return context, "localhost"


@contextmanager
def operating(suite: Suite):
    """Yield an administrator signed in to a running suite."""
    with signed_in(suite.web_url) as client:
        yield Operator(suite, client)
