"""Asks one node the lines of a list, over as few associations as the node allows.

Each line is a query for studies with its own answer, complete or truncated. The answer is stored at
once, so a worker that takes over continues with the remaining lines. A line that the node refuses
fails alone; it is asked once more after the others, because the refusal may be temporary. A line on
which the association breaks is asked again on a new association. It is to blame only if the node
answers other lines; otherwise the node itself is in trouble.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from draw_qr_worker.models import (
    ClaimedJob,
    InvalidJob,
    JobOutcome,
    JobState,
    Lease,
    LineAnswer,
    ListLine,
    ListTally,
    Match,
    RemoteNode,
    StatusTransient,
)
from draw_qr_worker.ports.querying import Finder, ListAnswerRepository, NodeMemory, QueryPeers
from draw_qr_worker.services.asking import Asker
from draw_qr_worker.services.jobs import ExecutionControl
from draw_qr_worker.services.lookup import number_of, text_of
from draw_qr_worker.services.node_tests import node_of
from draw_qr_worker.services.querying import MatchCollector, NodeQuery, require_queries
from draw_shared.dicom.network.peer_failures import PeerTrouble
from draw_shared.dicom.query.answer_fits import has_meant_name, has_value, misfit
from draw_shared.errors import DrawError, Permanent
from draw_shared.wording import message

LEVEL: Final = "STUDY"
NUMBER: Final = "NumberOfStudyRelatedInstances"
MAX_BREAKS_IN_A_ROW: Final = 3
"""If this many lines each break an association of their own, the node is to blame."""
REFUSAL_PAUSE_SECONDS: Final = 0.1
MAX_REFUSAL_PAUSE_SECONDS: Final = 1.0
"""The pause grows to this while a node refuses line after line."""


class BatchFindTask:
    """Asks one node every line of a list."""

    def __init__(
        self, finders: QueryPeers, answers: ListAnswerRepository, memory: NodeMemory
    ) -> None:
        self._finders = finders
        self._answers = answers
        self._memory = memory

    def run(self, job: ClaimedJob, control: ExecutionControl) -> JobOutcome:
        """Return complete, or partial when a line failed or its answer is incomplete.

        Raises:
            InvalidJob | NotSupported: the node cannot be asked.
            PeerTrouble: the node does not work at the moment.
        """
        node = require_queries(node_of(job))
        list_id, most = _parse_parameters(job.parameters)
        asking = _ListRun(job.lease, control, node, most, self._answers, self._memory)
        asking.tally = self._answers.tally(list_id, node.id)
        asking.left.extend(self._answers.unanswered(list_id, node.id))
        while asking.left or asking.refused:
            with self._finders.finder(node, control) as finder:
                asking.ask(finder)
            if not asking.left:
                asking.settle()
        return _conclude(asking.tally)

    def give_up(self, _job: ClaimedJob, error: DrawError) -> JobOutcome:
        """Return failed with the reason; stored answers remain."""
        return JobOutcome(JobState.FAILED, {}, str(error))


@dataclass(slots=True)
class _ListRun:
    """The progress of one list at one node."""

    lease: Lease
    control: ExecutionControl
    node: RemoteNode
    most: int
    answers: ListAnswerRepository
    memory: NodeMemory
    left: deque[ListLine] = field(default_factory=deque)
    refused: deque[ListLine] = field(default_factory=deque)
    """Lines to ask once more."""
    suspects: list[tuple[ListLine, PeerTrouble]] = field(default_factory=list)
    tally: ListTally = field(default_factory=ListTally)
    again: bool = False

    def ask(self, finder: Finder) -> None:
        """Ask lines until none is left or the association breaks.

        Raises:
            PeerTrouble: the association broke and no line is to blame.
        """
        asker = Asker(finder, self.node)
        asked, refusals = 0, 0
        line: ListLine | None = None
        try:
            while (line := self._next_line()) is not None:
                try:
                    answer = self._ask_line(asker, line)
                except (Permanent, StatusTransient) as error:
                    self.control.check()
                    refusals += 1
                    self._refuse(line, error)
                    pause = min(refusals * REFUSAL_PAUSE_SECONDS, MAX_REFUSAL_PAUSE_SECONDS)
                    self.control.pause(pause)
                else:
                    refusals = 0
                    self._keep(line, answer)
                asked += 1
        except PeerTrouble as error:
            self.control.check()
            self._handle_break(line, error, first=asked == 0)
        finally:
            asker.record_limit(self.memory)

    def settle(self) -> None:
        """Repeat the lines that broke an association while others succeeded, then fail them.

        Raises:
            PeerTrouble: the node has answered no line.
        """
        if self.suspects and not self.tally.answered:
            raise self.suspects[-1][1]
        for line, error in self.suspects:
            if self.again:
                self._write(line, LineAnswer("failed", error=str(error)))
            else:
                self.refused.append(line)
        self.suspects = []

    def _next_line(self) -> ListLine | None:
        if not self.left and not self.again:
            self.left, self.refused, self.again = self.refused, deque(), True
        return self.left.popleft() if self.left else None

    def _ask_line(self, asker: Asker, line: ListLine) -> LineAnswer:
        found: dict[str, Match] = {}
        catch = MatchCollector(LEVEL, self.most, found.update)
        NodeQuery(asker, self.node, catch, lambda _: self.control.check()).ask(LEVEL, line.keys)
        catch.write()
        return _judge(line.keys, list(found.values()), catch.doubt)

    def _keep(self, line: ListLine, answer: LineAnswer) -> None:
        self._write(line, answer)
        self.settle()

    def _refuse(self, line: ListLine, error: DrawError) -> None:
        if isinstance(error, StatusTransient) and not self.again:
            self.refused.append(line)
        else:
            self._write(line, LineAnswer("failed", error=str(error)))

    def _handle_break(self, line: ListLine | None, error: PeerTrouble, *, first: bool) -> None:
        if line is None:
            raise error
        if not first:
            # An old association may simply have ended: ask the line first on the next one.
            self.left.appendleft(line)
            return
        self.suspects.append((line, error))
        if len(self.suspects) >= MAX_BREAKS_IN_A_ROW:
            raise error

    def _write(self, line: ListLine, answer: LineAnswer) -> None:
        self.answers.add(self.lease, self.node.id, line.id, answer)
        self.tally.count(answer)
        told = self.tally
        self.control.report(answered=told.answered, found=told.found, failed=told.failed)


def _judge(keys: Mapping[str, Any], found: Sequence[Match], doubt: str) -> LineAnswer:
    """Return a line's answer; never show or fetch other patients' studies."""
    named = [match for match in found if text_of(match, "StudyInstanceUID")]
    misfits = [(match, misfit(keys, match)) for match in named]
    studies = [
        {
            "attributes": dict(match),
            "instances": number_of(match, NUMBER),
            "meant": has_meant_name(keys, match),
        }
        for match, wrong in misfits
        if not wrong
    ]
    unfit = len(named) - len(studies)
    untold = {wrong for match, wrong in misfits if wrong and not has_value(match, wrong)}
    if untold and not studies:
        return LineAnswer("failed", error=say_untold(untold))
    said = [
        doubt,
        message("the node named %(unfit)s studies that do not fit", unfit=unfit) if unfit else "",
    ]
    if not all(study["meant"] for study in studies):
        said.append(message("the name continues after the one asked for: choose what to retrieve"))
    error = "; ".join(filter(None, said))
    return LineAnswer("truncated" if doubt else "complete", studies, error)


def say_untold(keywords: Collection[str]) -> str:
    """Return in words that a node's matches lack what shows whether they fit."""
    return message(
        "the node does not tell %(words)s of its matches: nothing shows which of them fit",
        words=" and ".join(sorted(keywords)),
    )


def _conclude(tally: ListTally) -> JobOutcome:
    result = {
        "answered": tally.answered,
        "found": tally.found,
        "truncated": tally.truncated,
        "failed": tally.failed,
    }
    if tally.failed and tally.failed == tally.answered:
        return JobOutcome(JobState.FAILED, result, message("the node refused every line"))
    if not tally.failed and not tally.truncated:
        return JobOutcome(JobState.COMPLETE, result)
    return JobOutcome(JobState.PARTIAL, result, _describe_lacking(tally))


def _describe_lacking(tally: ListTally) -> str:
    if not tally.truncated:
        return message(
            "of %(answered)s lines %(failed)s failed", answered=tally.answered, failed=tally.failed
        )
    if not tally.failed:
        return message(
            "of %(answered)s lines %(truncated)s not answered whole",
            answered=tally.answered,
            truncated=tally.truncated,
        )
    return message(
        "of %(answered)s lines %(failed)s failed and %(truncated)s not answered whole",
        answered=tally.answered,
        failed=tally.failed,
        truncated=tally.truncated,
    )


def _parse_parameters(parameters: Mapping[str, Any]) -> tuple[UUID, int]:
    try:
        return UUID(parameters["batch_query_id"]), int(parameters["limit"])
    except (KeyError, ValueError, TypeError) as error:
        raise InvalidJob(message("the list of questions cannot be understood")) from error
