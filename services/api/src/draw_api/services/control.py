"""Starts, stops and restarts services, all replicas or a single one.

The desired state is a row. Replicas poll for it every second, and sooner after a wake-up. It
remains when processes end and start again.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from draw_api.models.control import (
    Control,
    ControlAction,
    ControlledReplica,
    DesiredState,
    ServiceName,
    ServiceState,
)
from draw_api.models.status import Replica
from draw_api.ports.control import ControlRepository, ReplicaRepository
from draw_api.ports.wakeups import WakeUps
from draw_api.services.status import describe_replica
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.control import ControlSubject, ControlV1
from draw_shared.contracts.failures import Conflict, NotFound
from draw_shared.wording import message

ALL: Final = ""
NOT_CONTROLLED: Final = {
    ServiceName.API: message("The API serves this request and cannot stop or restart itself."),
    ServiceName.DICOMWEB: message(
        "DICOMweb takes no orders from here; whoever started its process stops or restarts it."
    ),
}
"""Services that do not look at their desired state, and what is said to an order for them."""
RUNNING: Final[DesiredState] = "running"
WANTED: Final[Mapping[ControlAction, DesiredState]] = {
    ControlAction.START: "running",
    ControlAction.STOP: "stopped",
    ControlAction.RESTART: "running",
}


class ControlService:
    """Controls services for operators."""

    def __init__(
        self,
        table: ControlRepository,
        replicas: ReplicaRepository,
        wakeups: WakeUps,
        audit: AuditTrail,
    ) -> None:
        self._table = table
        self._replicas = replicas
        self._wakeups = wakeups
        self._audit = audit

    def services(self) -> list[ServiceState]:
        """Return every service with its replicas."""
        controls = {(c.service, c.replica): c for c in self._table.controls()}
        seen = [describe_replica(row) for row in self._replicas.replicas()]
        return [_state(service, controls, seen) for service in ServiceName]

    def service(self, service: ServiceName) -> ServiceState:
        """Return one service with its replicas."""
        return next(state for state in self.services() if state.service is service)

    def tell(
        self, by: Principal, service: ServiceName, action: ControlAction, replica: str | None
    ) -> ServiceState:
        """Order one replica, or all, of a service to start, stop or restart.

        Raises:
            Conflict: the service takes no orders, like the API, which cannot control itself.
            NotFound: the service has no such replica.
        """
        if service in NOT_CONTROLLED:
            raise Conflict(NOT_CONTROLLED[service])
        if replica is not None and not self._has(service, replica):
            raise NotFound(message("The service has no such replica."))
        self._table.put(
            service,
            replica or ALL,
            WANTED[action],
            by.actor,
            restart=action is ControlAction.RESTART,
        )
        self._audit.record(by, f"service.{action}", f"{service} {replica or 'all'}")
        self._wakeups.after_commit(ControlV1(subject=ControlSubject.DESIRED_STATE))
        return self.service(service)

    def _has(self, service: ServiceName, replica: str) -> bool:
        return any(
            row.service == service and row.replica == replica for row in self._replicas.replicas()
        )


def _state(
    service: ServiceName, controls: Mapping[tuple[str, str], Control], seen: Sequence[Replica]
) -> ServiceState:
    own = [replica for replica in seen if replica.service == service]
    overall = controls.get((service, ALL))
    wanted = overall.desired_state if overall else RUNNING
    told = [control for (name, _), control in controls.items() if name == service]
    last = max(told, key=lambda control: control.updated_at, default=None)
    replicas = []
    for replica in own:
        control = controls.get((service, replica.replica))
        replicas.append(
            ControlledReplica(
                **replica.model_dump(),
                desired_state=control.desired_state if control else wanted,
            )
        )
    return ServiceState(
        service=service,
        desired_state=wanted,
        controllable=service not in NOT_CONTROLLED,
        changed_at=last.updated_at if last else None,
        changed_by=last.updated_by if last else "",
        active_associations=sum(replica.active_associations for replica in own),
        replicas=replicas,
    )
