"""Helps to connect a device: what it must know of us, and how its calls ended."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final

from pydantic import ValidationError

from draw_api.models.devices import DeviceCall, OwnData, PeerLine
from draw_api.models.jobs import NewEcho
from draw_api.models.nodes import Node, NodeSettings
from draw_api.models.peers import Explanation, Proposal, RejectedPeer
from draw_api.models.status import Replica
from draw_api.ports.devices import CallRepository
from draw_api.ports.peers import AccessConfiguration
from draw_api.ports.status import StatusRepository
from draw_api.services.jobs import TEST_PRIORITY, JobService
from draw_api.services.nodes import NodeService
from draw_api.services.peers import PeerService
from draw_api.services.status import describe_replica
from draw_shared.access.permissions import Permission, may
from draw_shared.access.principals import Principal
from draw_shared.contracts.transaction import TransactionKind, TransactionOutcome

RECEIVER: Final = "scp"
OWN_ADDRESSES_DETAIL: Final = "own_addresses"
"""Key of `service_replicas.details` for the addresses of a receiver's machine."""
MAX_CALLS: Final = 20
MAX_AGE: Final = timedelta(days=1)
"""Who waits for a call waits minutes; older calls are in the transaction log."""
LOCAL_NAMES: Final = frozenset({"", "localhost"})


@dataclass(frozen=True, slots=True)
class DeviceUses:
    """The use cases of which connecting a device consists."""

    peers: PeerService
    nodes: NodeService
    jobs: JobService


class DeviceService:
    """Shows what connecting a device needs."""

    def __init__(
        self,
        calls: CallRepository,
        observations: StatusRepository,
        settings: AccessConfiguration,
        uses: DeviceUses,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._calls = calls
        self._observations = observations
        self._settings = settings
        self._peers, self._nodes, self._jobs = uses.peers, uses.nodes, uses.jobs
        self._clock = clock

    def own_data(self, reached_by: str) -> OwnData:
        """Return what the other side must enter; `reached_by` is the host that a caller used."""
        config = self._settings.current().document
        rows = map(describe_replica, self._observations.replicas())
        receivers = [one for one in rows if one.service == RECEIVER and one.dicom_ports]
        bound = [port for receiver in receivers for port in receiver.dicom_ports]
        tls = config.network.tls
        planned = [config.network.port] if not tls.enabled or tls.keep_plain_port else []
        planned_tls = [tls.port or config.network.port] if tls.enabled else []
        return OwnData(
            ae_title=config.network.ae_title,
            addresses=_distinct(filter(_elsewhere, (reached_by, *_addresses(receivers)))),
            ports=sorted({one.port for one in bound if not one.tls}) if bound else planned,
            tls_ports=sorted({one.port for one in bound if one.tls}) if bound else planned_tls,
            receiving=bool(bound),
        )

    def calls(self, since: datetime, ae_title: str, address: str) -> list[DeviceCall]:
        """Return who has called since then, last first, with an explanation of rejections.

        An empty AE title or address means any.
        """
        after = max(since, self._clock() - MAX_AGE)
        found = self._calls.newest_of(ae_title, after) if ae_title else self._calls.newest(after)
        by_peer: dict[tuple[str | None, str], list[PeerLine]] = {}
        for line in found:
            if address in {"", line.peer_address} and line.peer_address:
                by_peer.setdefault((line.calling_ae, line.peer_address), []).append(line)
        calls = [_call(lines) for lines in list(by_peer.values())[:MAX_CALLS]]
        return list(self._explained(calls))

    def connect(self, by: Principal, settings: NodeSettings) -> Node:
        """Add a device as a remote node, and call it at once if the caller may do that.

        Raises:
            Conflict: the name is taken.
        """
        node = self._nodes.add(by, settings)
        if may(by, Permission.RUN_JOBS):
            self._jobs.create(by, NewEcho(kind="echo", node_id=node.id, priority=TEST_PRIORITY))
        return node

    def _explained(self, calls: Sequence[DeviceCall]) -> Iterator[DeviceCall]:
        """Yield the calls, those that were rejected with what would happen now."""
        rejected = [call for call in calls if call.rejection is not None]
        judged = self._peers.judge([_rejected_peer(call) for call in rejected])
        explained = self._peers.explain_each([_proposal(call) for call in rejected])
        told: Mapping[int, tuple[RejectedPeer, Explanation | None]] = {
            id(call): (peer, explanation)
            for call, peer, explanation in zip(rejected, judged, explained, strict=True)
        }
        for call in calls:
            found = told.get(id(call))
            yield call if found is None else call.model_copy(update=_judgement(*found))


def _judgement(peer: RejectedPeer, explanation: Explanation | None) -> dict[str, Any]:
    return {
        "explanation": explanation,
        "can_be_allowed": peer.can_be_allowed,
        "denied_rights": peer.denied_rights,
        "denied_destination": peer.denied_destination,
    }


def _call(lines: Sequence[PeerLine]) -> DeviceCall:
    """Return the calls of one peer; lines are newest first."""
    newest = lines[0]
    last = [line for line in lines if line.association_id == newest.association_id]
    rejections = [line for line in last if line.kind == TransactionKind.REJECTION]
    return DeviceCall(
        calling_ae=newest.calling_ae,
        peer_address=newest.peer_address or "",
        called_ae=newest.called_ae,
        first_seen=lines[-1].occurred_at,
        last_seen=newest.occurred_at,
        associations=len({line.association_id for line in lines}),
        echoed=any(
            line.kind == TransactionKind.C_ECHO and line.outcome == TransactionOutcome.SUCCESS
            for line in last
        ),
        images=sum(line.kind == TransactionKind.C_STORE for line in lines),
        rejection=(rejections[0].detail or "") if rejections else None,
        explanation=None,
        can_be_allowed=False,
    )


def _rejected_peer(call: DeviceCall) -> RejectedPeer:
    return RejectedPeer(
        calling_ae=call.calling_ae,
        peer_address=call.peer_address,
        reason=call.rejection or "",
        count=call.associations,
        first_seen=call.first_seen,
        last_seen=call.last_seen,
        can_be_allowed=False,
    )


def _proposal(call: DeviceCall) -> Proposal | None:
    """Return what the peer would propose again; None if nobody could allow such a peer."""
    try:
        return Proposal(
            calling_ae=call.calling_ae or "",
            address=call.peer_address,
            called_ae=call.called_ae or "",
        )
    except ValidationError:
        return None


def _addresses(receivers: Sequence[Replica]) -> Iterator[str]:
    """Yield what receivers are bound to, then what they know of their machines."""
    for receiver in receivers:
        yield from (port.host for port in receiver.dicom_ports)
    for receiver in receivers:
        known = receiver.details.get(OWN_ADDRESSES_DETAIL, [])
        yield from (str(one) for one in known if isinstance(known, list))


def _distinct(addresses: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(addresses))


def _elsewhere(host: str) -> bool:
    """Return whether another machine may reach us by this name or address."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return host.lower() not in LOCAL_NAMES
    return not (address.is_loopback or address.is_unspecified or address.is_link_local)
