"""Sends C-ECHO, capability probes, C-FIND and C-MOVE to remote nodes (PS3.4 A, C).

Every failure has a type: refused, busy, unreachable, timeout, aborted, or the final status in
words. The type is Transient if another try could succeed, else Permanent.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from typing_extensions import override

from draw_qr_worker.adapters.identifiers import (
    decode_identifier,
    encode_identifier,
    read_failed_uids,
)
from draw_qr_worker.adapters.other_protocols import ImpatientSupervision, name_other_protocol
from draw_qr_worker.models import (
    FindEnd,
    Keys,
    Match,
    NodeTestStep,
    RemoteNode,
    RemoteRetrieveEnd,
    StatusPermanent,
    StatusTransient,
    SubOperationCounts,
)
from draw_qr_worker.ports.node_tests import EchoPeers, NodeTestSteps
from draw_qr_worker.ports.querying import Finder, QueryPeers
from draw_qr_worker.ports.retrieving import MovePeers
from draw_qr_worker.ports.supervision import Supervision
from draw_shared.dicom.encoding import uids
from draw_shared.dicom.encoding.identity import IMPLEMENTATION_CLASS_UID
from draw_shared.dicom.network.associate import Roles
from draw_shared.dicom.network.contexts import number_contexts
from draw_shared.dicom.network.message import US_LENGTH, CommandElement, CommandSet, Operation
from draw_shared.dicom.network.peer_failures import (
    PeerAborted,
    PeerBrokeProtocol,
    PeerCongested,
    PeerTimeout,
    PeerTurnedAway,
    Unreachable,
)
from draw_shared.dicom.network.peer_trust import PeerTrusts
from draw_shared.dicom.network.requestor import (
    Reached,
    Remote,
    RequestorAssociation,
    Response,
    SentRequest,
    Serve,
    open_association,
)
from draw_shared.dicom.network.service import PresentationContext
from draw_shared.dicom.network.statuses import PENDING, DimseStatus, describe, is_warning
from draw_shared.dicom.network.tls import TlsUnusable
from draw_shared.errors import DrawError
from draw_shared.wording import message

SETTLE_TIMEOUT_SECONDS: Final = 0.5
"""How long a congested node may need to free the place of our previous association."""
CANCEL_TIMEOUT_SECONDS: Final = 1.2
"""How long a peer may take to obey a C-CANCEL before we abort the association."""

IDENTIFIER_SYNTAXES: Final = (uids.EXPLICIT_LITTLE, uids.IMPLICIT_LITTLE)
MODELS: Final[Mapping[str, Mapping[Operation, str]]] = {
    "study": {
        Operation.C_FIND: uids.STUDY_ROOT_FIND,
        Operation.C_MOVE: uids.STUDY_ROOT_MOVE,
        Operation.C_GET: uids.STUDY_ROOT_GET,
    },
    "patient": {
        Operation.C_FIND: uids.PATIENT_ROOT_FIND,
        Operation.C_MOVE: uids.PATIENT_ROOT_MOVE,
        Operation.C_GET: uids.PATIENT_ROOT_GET,
    },
    "patient_study": {
        Operation.C_FIND: uids.PATIENT_STUDY_ONLY_FIND,
        Operation.C_MOVE: uids.PATIENT_STUDY_ONLY_MOVE,
        Operation.C_GET: uids.PATIENT_STUDY_ONLY_GET,
    },
}
Proposal = tuple[str, tuple[str, ...]]
"""Abstract syntax and transfer syntaxes of one proposed presentation context."""

NOBODY: Final[tuple[str, Keys]] = ("PATIENT", {"PatientID": "DRAW-CONNECTION-TEST"})
NOTHING: Final[Mapping[str, tuple[str, Keys]]] = {
    "study": ("STUDY", {"StudyInstanceUID": f"{IMPLEMENTATION_CLASS_UID}.0"}),
    "patient": NOBODY,
    "patient_study": NOBODY,
}
"""Level and keys of a query that matches nothing, by query model."""

CUT_SHORT: Final = frozenset({DimseStatus.OUT_OF_RESOURCES, DimseStatus.CANCELLED, 0xB001})
"""Final C-FIND statuses that mean that more matches exist (PS3.4 C.4.1.1.4)."""

NEVER_AGAIN: Final = frozenset(
    {
        DimseStatus.SOP_CLASS_NOT_SUPPORTED,
        DimseStatus.NOT_AUTHORIZED,
        DimseStatus.UNRECOGNIZED_OPERATION,
        DimseStatus.MISTYPED_ARGUMENT,
        DimseStatus.MOVE_DESTINATION_UNKNOWN,
        DimseStatus.DATA_SET_DOES_NOT_MATCH,
    }
)
"""Final statuses that the same request will always get."""


class CancelWatch:
    """Runs between reads: sends C-CANCEL when the job must stop; aborts if the peer ignores it."""

    def __init__(
        self, association: RequestorAssociation, supervision: Supervision, alive: Callable[[], bool]
    ) -> None:
        self._association = association
        self._supervision = supervision
        self._alive = alive
        self._cancelled_at: float | None = None
        self.request: SentRequest | None = None

    def __call__(self) -> None:
        if not self._supervision.ended():
            if self._alive():
                self._association.still_alive()
            return
        if self.request is None:
            self._supervision.check()
        elif self._cancelled_at is None:
            self._cancelled_at = time.monotonic()
            self._association.cancel(self.request)
        elif time.monotonic() - self._cancelled_at > CANCEL_TIMEOUT_SECONDS:
            self._supervision.check()


class AssociationFinder(Finder):
    """Sends C-FIND requests over one association."""

    def __init__(
        self,
        association: RequestorAssociation,
        node: RemoteNode,
        supervision: Supervision,
        watch: CancelWatch,
    ) -> None:
        self._association = association
        self._supervision = supervision
        self._watch = watch
        self._model = node.query_model
        # Fails when the node does not accept the model in its settings.
        association.context(model_of(node, Operation.C_FIND))

    @override
    @property
    def models(self) -> frozenset[str]:
        accepted = {context.abstract_syntax for context in self._association.contexts.values()}
        return frozenset(
            model for model, uid in MODELS.items() if uid[Operation.C_FIND] in accepted
        )

    @override
    def find(
        self,
        level: str,
        keys: Keys,
        take: Callable[[Match], None],
        *,
        model: str = "",
        enough: Callable[[], bool] = lambda: False,
    ) -> FindEnd:
        if not self._association.is_open:
            raise PeerAborted(message("the node did not stop sending matches and was cut off"))
        context = self._association.context(MODELS[model or self._model][Operation.C_FIND])
        identifier = encode_identifier(level, keys, context.transfer_syntax)
        request = self._association.request(Operation.C_FIND, context, identifier=identifier)
        self._watch.request = request
        matches, stopped = 0, 0.0
        while True:
            response = self._association.response(request)
            status = response.status
            if status not in PENDING:
                break
            if stopped and time.monotonic() - stopped > CANCEL_TIMEOUT_SECONDS:
                self._association.abort()
                break
            if stopped:
                continue
            matches += 1
            take(decode_identifier(response.identifier, context.transfer_syntax))
            if enough():
                stopped = time.monotonic()
                self._association.cancel(request)
        self._watch.request = None
        self._supervision.check()
        cut_short = bool(stopped) or (status in CUT_SHORT and matches > 0)
        if status != DimseStatus.SUCCESS and not cut_short:
            raise refusal("C-FIND", status)
        return FindEnd(matches, cut_short, describe(status))


class RemoteNodes(EchoPeers, QueryPeers, MovePeers):
    """Sends requests to nodes; every call opens and closes one association."""

    def __init__(self, own_ae: Callable[[], str], trusts: PeerTrusts) -> None:
        self._own_ae = own_ae
        self._trusts = trusts

    @override
    def echo(
        self, node: RemoteNode, supervision: Supervision, steps: NodeTestSteps | None = None
    ) -> Mapping[str, Any]:
        began = time.monotonic()
        proposals = [_propose_plain(uids.VERIFICATION)]
        if steps is not None and node.supports_find:
            proposals.append(_propose_plain(model_of(node, Operation.C_FIND)))
        with self._associate_to_test(node, supervision, proposals, steps) as (peer, watch):
            associated = time.monotonic()
            status = peer.echo()
            answered = time.monotonic()
            if status != DimseStatus.SUCCESS:
                raise refusal("C-ECHO", status)
            if steps is not None:
                steps.passed(NodeTestStep.ECHO)
                if node.supports_find:
                    _ask_for_nothing(peer, node, supervision, watch, steps)
        return {
            "association_ms": round((associated - began) * 1000, 1),
            "echo_ms": round((answered - associated) * 1000, 1),
        }

    @contextmanager
    def _associate_to_test(
        self,
        node: RemoteNode,
        supervision: Supervision,
        proposals: Sequence[Proposal],
        steps: NodeTestSteps | None,
    ) -> Iterator[tuple[RequestorAssociation, CancelWatch]]:
        """Yield an association; if there is none, name what answers instead of a node."""
        impatient = ImpatientSupervision(supervision, node.host, node.port, tls=node.tls)
        reached: Reached | None = None
        if steps is not None:
            told = steps

            def reached(stage: str, words: str) -> None:
                told.passed(NodeTestStep(stage), words)

        associated = False
        try:
            with self.associate(node, impatient, proposals, reached=reached) as found:
                associated = True
                impatient.associated()
                yield found
        except (PeerTurnedAway, PeerTimeout) as error:
            supervision.check()
            words = "" if associated else name_other_protocol(node.host, node.port, tls=node.tls)
            if words:
                raise PeerBrokeProtocol(words) from error
            raise

    @override
    def probe(self, node: RemoteNode, supervision: Supervision) -> Mapping[str, Any]:
        services = {
            f"{model}_{operation.name[2:].lower()}": uid
            for model, operations in MODELS.items()
            for operation, uid in operations.items()
        } | {"echo": uids.VERIFICATION}
        proposals = [_propose_plain(uid) for uid in services.values()]
        with self.associate(node, supervision, proposals) as (peer, _):
            accepted = {context.abstract_syntax for context in peer.contexts.values()}
            user = peer.accepted.user
        return {name: uid in accepted for name, uid in services.items()} | {
            "max_pdu_bytes": user.max_pdu,
            "implementation_class_uid": user.implementation_class_uid,
            "implementation_version": user.implementation_version,
        }

    @override
    @contextmanager
    def finder(self, node: RemoteNode, supervision: Supervision) -> Iterator[AssociationFinder]:
        models = {node.query_model: None, "study": None}
        proposals = [_propose_plain(MODELS[model][Operation.C_FIND]) for model in models]
        with self.associate(node, supervision, proposals) as (peer, watch):
            yield AssociationFinder(peer, node, supervision, watch)

    @override
    def move(
        self,
        node: RemoteNode,
        level: str,
        keys: Keys,
        *,
        destination: str,
        supervision: Supervision,
        progress: Callable[[SubOperationCounts], None],
        alive: Callable[[], bool],
    ) -> RemoteRetrieveEnd:
        proposals = [_propose_plain(model_of(node, Operation.C_MOVE))]
        with self.associate(node, supervision, proposals, alive=alive) as (peer, watch):
            context = peer.context(model_of(node, Operation.C_MOVE))
            identifier = encode_identifier(level, keys, context.transfer_syntax)
            watch.request = request = peer.request(
                Operation.C_MOVE, context, identifier=identifier, move_destination=destination
            )
            response = read_final_response(peer, request, progress)
        supervision.check()
        return end_of("retrieve", response, context)

    def own_ae(self, node: RemoteNode) -> str:
        """Return the calling AE title for this node."""
        return node.calling_ae or self._own_ae()

    @contextmanager
    def associate(
        self,
        node: RemoteNode,
        supervision: Supervision,
        proposals: Sequence[Proposal],
        *,
        roles: Mapping[str, Roles] | None = None,
        alive: Callable[[], bool] = lambda: False,
        reached: Reached | None = None,
    ) -> Iterator[tuple[RequestorAssociation, CancelWatch]]:
        """Yield an association, and the watch that must know the request in progress on it."""
        supervision.check()

        def connect() -> RequestorAssociation:
            return open_association(
                remote_of(node, self.own_ae(node), self._trusts),
                number_contexts(proposals),
                roles=roles,
                between=supervision.check,
                reached=reached,
            )

        try:
            association = connect()
        except PeerCongested:
            supervision.pause(SETTLE_TIMEOUT_SECONDS)
            association = connect()
        with association:
            watch = CancelWatch(association, supervision, alive)
            association.between = watch
            yield association, watch


def _ask_for_nothing(
    peer: RequestorAssociation,
    node: RemoteNode,
    supervision: Supervision,
    watch: CancelWatch,
    steps: NodeTestSteps,
) -> None:
    """Ask by C-FIND for what nobody has: only whether the node answers is of interest."""
    level, keys = NOTHING[node.query_model]
    try:
        AssociationFinder(peer, node, supervision, watch).find(level, keys, lambda _match: None)
    except DrawError as error:
        supervision.check()
        steps.failed(NodeTestStep.FIND, str(error))
    else:
        steps.passed(NodeTestStep.FIND)


def remote_of(node: RemoteNode, calling_ae: str, trusts: PeerTrusts) -> Remote:
    """Return the address and settings with which to call a node.

    Raises:
        Unreachable: our own TLS files cannot be used.
    """
    try:
        tls = trusts.of(node.tls_fingerprint) if node.tls else None
    except TlsUnusable as error:
        raise Unreachable(
            message(
                "no TLS with %(host)s:%(port)s: %(error)s",
                host=node.host,
                port=node.port,
                error=error,
            )
        ) from error
    return Remote(
        node.host,
        node.port,
        node.ae_title,
        calling_ae,
        timeout_seconds=node.timeout_seconds,
        tls=tls,
        max_pdu_bytes=node.max_pdu_bytes,
    )


def refusal(operation: str, status: int) -> StatusPermanent | StatusTransient:
    """Return the exception for a final status.

    The peer's own comment is left out because it may name a patient.
    """
    words = message(
        "the node ended the %(operation)s with: %(status)s",
        operation=operation,
        status=describe(status),
    )
    return StatusPermanent(words) if status in NEVER_AGAIN else StatusTransient(words)


def counts_of(response: CommandSet) -> SubOperationCounts:
    """Return the sub-operation counts in a response (PS3.7 9.1.4.1)."""

    def count(field: CommandElement) -> int | None:
        raw = response.get(field, b"")
        return int.from_bytes(raw, "little") if len(raw) == US_LENGTH else None

    return SubOperationCounts(
        count(CommandElement.REMAINING),
        count(CommandElement.COMPLETED),
        count(CommandElement.FAILED),
        count(CommandElement.WARNING),
    )


def read_final_response(
    peer: RequestorAssociation,
    request: SentRequest,
    progress: Callable[[SubOperationCounts], None],
    serve: Serve | None = None,
) -> Response:
    """Return the final response to a C-MOVE or C-GET; pass each response's counts to `progress`."""
    while True:
        response = peer.response(request, serve)
        progress(counts_of(response.command))
        if response.status not in PENDING:
            return response


def end_of(operation: str, response: Response, context: PresentationContext) -> RemoteRetrieveEnd:
    """Return how a retrieve ended, from its final response.

    Raises:
        StatusPermanent | StatusTransient: the node refused the whole retrieve.
    """
    status, raw = response.status, response.identifier
    if status != DimseStatus.SUCCESS and not is_warning(status):
        raise refusal(operation, status)
    failed = read_failed_uids(raw, context.transfer_syntax) if raw else ()
    return RemoteRetrieveEnd(status, describe(status), counts_of(response.command), failed)


def model_of(node: RemoteNode, operation: Operation) -> str:
    """Return the SOP class of an operation in the node's query/retrieve model."""
    return MODELS[node.query_model][operation]


def _propose_plain(abstract_syntax: str) -> Proposal:
    return abstract_syntax, IDENTIFIER_SYNTAXES
