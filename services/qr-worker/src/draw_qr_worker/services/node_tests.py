"""Tests a node: C-ECHO, and the probe of its capabilities."""

import time
from collections.abc import Callable
from typing import Any

from typing_extensions import override

from draw_qr_worker.models import (
    ClaimedJob,
    InvalidJob,
    JobOutcome,
    JobState,
    NodeTestStep,
    RemoteNode,
    StepOutcome,
)
from draw_qr_worker.ports.node_tests import EchoPeers, NodeFindings, NodeTestSteps
from draw_qr_worker.services.jobs import ExecutionControl
from draw_shared.dicom.network.peer_trust import NotTrusted
from draw_shared.errors import DrawError
from draw_shared.wording import message


def node_of(job: ClaimedJob) -> RemoteNode:
    """Return the node that the job is about.

    Raises:
        InvalidJob: the job names no node, or the node was deleted.
    """
    if job.node is None:
        raise InvalidJob(message("the job names no remote node, or the node was deleted"))
    return job.node


def planned_steps(node: RemoteNode) -> tuple[NodeTestStep, ...]:
    """Return the steps of the test of a node."""
    left_out = {NodeTestStep.TLS: not node.tls, NodeTestStep.FIND: not node.supports_find}
    return tuple(step for step in NodeTestStep if not left_out.get(step, False))


class Checklist(NodeTestSteps):
    """What became of each planned step of a test, and how long it took."""

    def __init__(
        self, planned: tuple[NodeTestStep, ...], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._planned = planned
        self._clock = clock
        self._since = clock()
        self._ended: dict[NodeTestStep, dict[str, Any]] = {}

    @override
    def passed(self, step: NodeTestStep, words: str = "") -> None:
        self._end(step, StepOutcome.PASSED, words)

    @override
    def failed(self, step: NodeTestStep, words: str) -> None:
        self._end(step, StepOutcome.FAILED, words)

    def stopped(self, words: str) -> None:
        """Record that the step after the last one has failed, and ended the test."""
        step = next((one for one in self._planned if one not in self._ended), None)
        if step is not None:
            self.failed(step, words)

    def rows(self) -> list[dict[str, Any]]:
        """Return each planned step with its outcome."""
        skipped = {"outcome": StepOutcome.SKIPPED, "milliseconds": None, "words": ""}
        return [{"step": step, **self._ended.get(step, skipped)} for step in self._planned]

    def _end(self, step: NodeTestStep, outcome: StepOutcome, words: str) -> None:
        now = self._clock()
        milliseconds = round((now - self._since) * 1000, 1)
        self._ended[step] = {"outcome": outcome, "milliseconds": milliseconds, "words": words}
        self._since = now


class EchoTask:
    """Sends one C-ECHO; reports a failure at once instead of retrying for minutes."""

    def __init__(self, peers: EchoPeers, findings: NodeFindings) -> None:
        self._peers = peers
        self._findings = findings

    def run(self, job: ClaimedJob, control: ExecutionControl) -> JobOutcome:
        """Return complete with the measured times, or failed with the reason in words."""
        node = node_of(job)
        checklist = Checklist(planned_steps(node))
        try:
            found = {"reachable": True, **self._peers.echo(node, control, checklist)}
        except DrawError as error:
            control.check()
            checklist.stopped(str(error))
            failure = {**_describe_failure(error), "error": str(error)}
            self._findings.record_test(node.id, failure | {"steps": checklist.rows()})
            raise
        found["steps"] = checklist.rows()
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
