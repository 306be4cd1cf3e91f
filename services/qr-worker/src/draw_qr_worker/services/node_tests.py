"""Tests a node: C-ECHO, and the probe of its capabilities."""

from typing import Any

from draw_qr_worker.models import ClaimedJob, InvalidJob, JobOutcome, JobState, RemoteNode
from draw_qr_worker.ports.node_tests import EchoPeers, NodeFindings
from draw_qr_worker.services.jobs import ExecutionControl
from draw_shared.dicom.network.peer_trust import NotTrusted
from draw_shared.errors import DrawError


def node_of(job: ClaimedJob) -> RemoteNode:
    """Return the node that the job is about.

    Raises:
        InvalidJob: the job names no node, or the node was deleted.
    """
    if job.node is None:
        raise InvalidJob("the job names no remote node, or the node was deleted")
    return job.node


class EchoTask:
    """Sends one C-ECHO; reports a failure at once instead of retrying for minutes."""

    def __init__(self, peers: EchoPeers, findings: NodeFindings) -> None:
        self._peers = peers
        self._findings = findings

    def run(self, job: ClaimedJob, control: ExecutionControl) -> JobOutcome:
        """Return complete with the measured times, or failed with the reason in words."""
        node = node_of(job)
        try:
            found = {"reachable": True, **self._peers.echo(node, control)}
        except DrawError as error:
            control.check()
            self._findings.record_test(node.id, {**_describe_failure(error), "error": str(error)})
            raise
        self._findings.record_test(node.id, found)
        return JobOutcome(JobState.COMPLETE, found)

    def give_up(self, _job: ClaimedJob, error: DrawError) -> JobOutcome:
        """Return failed with the reason."""
        return JobOutcome(JobState.FAILED, _describe_failure(error), str(error))


def _describe_failure(error: DrawError) -> dict[str, Any]:
    """Return a failed test's findings, including the certificate that TLS did not trust."""
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

    def __init__(self, peers: EchoPeers, findings: NodeFindings) -> None:
        self._peers = peers
        self._findings = findings

    def run(self, job: ClaimedJob, control: ExecutionControl) -> JobOutcome:
        """Return complete with the findings."""
        node = node_of(job)
        found = self._peers.probe(node, control)
        self._findings.remember(node.id, found)
        return JobOutcome(JobState.COMPLETE, found)

    def give_up(self, _job: ClaimedJob, error: DrawError) -> JobOutcome:
        """Return failed with the reason."""
        return JobOutcome(JobState.FAILED, {}, str(error))
