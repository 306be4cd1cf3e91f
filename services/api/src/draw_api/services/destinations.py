"""Shows how destinations do, and holds them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from draw_api.models.destinations import DestinationMode, DestinationSummary
from draw_api.ports.destinations import (
    DestinationHealth,
    DestinationQueue,
    DestinationRepository,
)
from draw_api.ports.wakeups import WakeUps
from draw_api.services.routing import RoutingService
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.control import ControlSubject, ControlV1
from draw_shared.contracts.failures import Conflict, NotFound
from draw_shared.routing.destinations import (
    CeleryDestination,
    Destination,
    FolderDestination,
    GroupDestination,
    NodeDestination,
    PriorsDestination,
    WebhookDestination,
)
from draw_shared.wording import message

ACTIONS: Final[Mapping[DestinationMode, str]] = {
    "active": "destination.resume",
    "paused": "destination.pause",
    "draining": "destination.drain",
}


class DestinationService:
    """The destinations of the rules in force."""

    def __init__(
        self,
        table: DestinationRepository,
        routing: RoutingService,
        wakeups: WakeUps,
        audit: AuditTrail,
    ) -> None:
        self._table = table
        self._routing = routing
        self._wakeups = wakeups
        self._audit = audit

    def all(self) -> list[DestinationSummary]:
        """Return every destination, in the order of the document.

        Raises:
            Conflict: this release cannot read the rules in force.
        """
        return self._summaries(self._routing.current().document.destinations)

    def held(self) -> list[DestinationSummary]:
        """Return the destinations that somebody has paused or lets drain.

        Raises:
            Conflict: this release cannot read the rules in force.
        """
        if all(one.mode == "active" for one in self._table.health().values()):
            return []
        return [one for one in self.all() if one.mode != "active"]

    def one(self, name: str) -> DestinationSummary:
        """Return one destination.

        Raises:
            NotFound: the rules in force have none of this name.
            Conflict: this release cannot read them.
        """
        found = [one for one in self._routing.current().document.destinations if one.name == name]
        if not found:
            raise NotFound(message("The rules in force have no such destination."))
        return self._summaries(found)[0]

    def set_mode(self, by: Principal, name: str, mode: DestinationMode) -> DestinationSummary:
        """Hold what a destination gets, let it drain, or go on; what is running goes on.

        Raises:
            NotFound: the rules in force have none of this name.
            Conflict: this release cannot read them, or it stands for each of its members.
        """
        before = self.one(name)
        if before.mode == mode:
            return before
        if before.members_get == "all" and mode != "active":
            raise Conflict(
                message(
                    "%(name)s stands for each of its members, so it is these that are held:"
                    " %(members)s.",
                    name=name,
                    members=", ".join(before.members),
                )
            )
        self._table.set_mode(name, mode, by.actor)
        self._audit.record(by, ACTIONS[mode], name)
        self._wakeups.after_commit(ControlV1(subject=ControlSubject.DELIVERY))
        return self.one(name)

    def _summaries(self, destinations: Sequence[Destination]) -> list[DestinationSummary]:
        health = self._table.health()
        queues = self._table.queues()
        arrived = self._table.delivered_last_hour()
        addresses = self._table.node_addresses()
        # What is kept of successes is kept of the members of a group.
        groups = [one.name for one in destinations if isinstance(one, GroupDestination)]
        of_groups = self._table.last_delivered(groups)
        return [
            _summary(
                one,
                health.get(one.name, DestinationHealth()),
                queues.get(one.name, ()),
                arrived.get(one.name, 0),
                of_groups.get(one.name),
                _goes_to(one, addresses),
            )
            for one in destinations
        ]


def _summary(
    one: Destination,
    health: DestinationHealth,
    queues: Sequence[DestinationQueue],
    arrived: int,
    last_of_group: datetime | None,
    goes_to: str,
) -> DestinationSummary:
    number = {queue.state: queue.number for queue in queues}
    return DestinationSummary(
        name=one.name,
        kind=one.kind,
        goes_to=goes_to,
        members=list(one.members) if isinstance(one, GroupDestination) else [],
        members_get=one.mode if isinstance(one, GroupDestination) else "",
        give_up_after_days=one.give_up_after_days,
        mode=health.mode,
        mode_since=health.mode_since if health.mode_by else None,
        mode_by=health.mode_by,
        pending=number.get("pending", 0),
        running=number.get("running", 0),
        waiting=number.get("waiting", 0),
        oldest_seconds=max((queue.oldest_seconds for queue in queues), default=None),
        delivered_last_hour=arrived,
        last_success_at=health.last_success_at or last_of_group,
        last_error_at=health.last_error_at,
        last_error=health.last_error,
        failures=health.failures,
        failing_since=health.failing_since,
        in_force=health.in_force,
    )


def _goes_to(one: Destination, addresses: Mapping[str, str]) -> str:
    match one:
        case NodeDestination():
            return _node(one.remote_node, addresses)
        case PriorsDestination():
            node = _node(one.remote_node, addresses)
            return message("has earlier studies retrieved from %(node)s", node=node)
        case FolderDestination():
            return message("the folder %(path)s", path=one.path)
        case CeleryDestination():
            return message(
                "the task %(task)s in the queue %(queue)s", task=one.task, queue=one.queue
            )
        case WebhookDestination():
            return message("the webhook %(number)s", number=one.webhook_id)
        case GroupDestination():
            members = ", ".join(one.members)
            return message(GROUPS[one.mode], members=members)


def _node(name: str, addresses: Mapping[str, str]) -> str:
    address = addresses.get(name)
    if address is None:
        return message("the remote node %(name)s, which there is not", name=name)
    return message("the remote node %(name)s (%(address)s)", name=name, address=address)


GROUPS: Final = {
    "failover": message("the first that works of %(members)s"),
    "any": message("the one with the least to do of %(members)s"),
    "all": message("each of %(members)s"),
}
