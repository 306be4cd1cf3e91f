"""Looking at a node: C-ECHO and the probe of its abilities."""

from collections.abc import Mapping
from typing import Any, Protocol

from draw_qr_worker.models import ClaimedJob, InvalidJob, JobState, Node, Outcome, Supervision
from draw_qr_worker.services.jobs import Control
from draw_shared.dicom.network.peer_trust import NotTrusted
from draw_shared.errors import DrawError


class Peers(Protocol):
    """Remote nodes, as a test sees them."""

    def echo(self, node: Node, supervision: Supervision) -> Mapping[str, Any]:
        """Send C-ECHO and return how long it took."""

    def probe(self, node: Node, supervision: Supervision) -> Mapping[str, Any]:
        """Return what the node accepts and says of itself."""


class Findings(Protocol):
    """Where the last test of each node is kept."""

    def tested(self, node_id: int, found: Mapping[str, Any]) -> None:
        """Keep what a C-ECHO found."""

    def learned(self, node_id: int, found: Mapping[str, Any]) -> None:
        """Keep what a probe found."""


def node_of(job: ClaimedJob) -> Node:
    """Return the node that the job is about.

    Raises:
        InvalidJob: there is none, or no longer.
    """
    if job.node is None:
        raise InvalidJob("the job names no remote node, or the node was deleted")
    return job.node


class EchoTask:
    """Sends one C-ECHO; a test says at once what is wrong instead of trying for minutes."""

    def __init__(self, peers: Peers, findings: Findings) -> None:
        self._peers = peers
        self._findings = findings

    def run(self, job: ClaimedJob, control: Control) -> Outcome:
        """Return complete with the times taken, or failed with the reason in words."""
        node = node_of(job)
        try:
            found = {"reachable": True, **self._peers.echo(node, control)}
        except DrawError as error:
            control.check()
            self._findings.tested(node.id, {**_failed(error), "error": str(error)})
            raise
        self._findings.tested(node.id, found)
        return Outcome(JobState.COMPLETE, found)

    def give_up(self, _job: ClaimedJob, error: DrawError) -> Outcome:
        """Return failed with the reason."""
        return Outcome(JobState.FAILED, _failed(error), str(error))


def _failed(error: DrawError) -> dict[str, Any]:
    """Return what a failed test found: over TLS also the certificate that is not trusted."""
    certificate = error.certificate if isinstance(error, NotTrusted) else None
    if certificate is None:
        return {"reachable": False}
    ends = certificate.not_after
    return {
        "reachable": False,
        "certificate": {
            "fingerprint": certificate.fingerprint,
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "names": list(certificate.names),
            "valid_until": ends.isoformat() if ends is not None else None,
        },
    }


class ProbeTask:
    """Finds out which services and models a node accepts."""

    def __init__(self, peers: Peers, findings: Findings) -> None:
        self._peers = peers
        self._findings = findings

    def run(self, job: ClaimedJob, control: Control) -> Outcome:
        """Return complete with what was found."""
        node = node_of(job)
        found = self._peers.probe(node, control)
        self._findings.learned(node.id, found)
        return Outcome(JobState.COMPLETE, found)

    def give_up(self, _job: ClaimedJob, error: DrawError) -> Outcome:
        """Return failed with the reason."""
        return Outcome(JobState.FAILED, {}, str(error))
