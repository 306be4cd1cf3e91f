"""Decides where a delivery goes now: which member of a group, and whether a target may be used.

A target that fails rests, not each delivery to it: after five failures in a row nothing new is
begun, and the oldest tries every ten seconds until one succeeds. After five tries another one has
its turn, as the fault may be its own.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from draw_qr_worker.models import DestinationState, OpenDelivery, RemoteNode
from draw_qr_worker.services.delivery_places import DeliveryPlaces
from draw_qr_worker.services.node_rules import window_is_open
from draw_shared.routing.destinations import (
    Destination,
    GroupDestination,
    NodeDestination,
    PriorsDestination,
    WebhookDestination,
)
from draw_shared.wording import message

FAILURES_THAT_REST: Final = 5
TRIES_IN_A_TURN: Final = 5
"""How often one delivery tries a target that rests before another one does."""
PROBE_INTERVAL: Final = timedelta(seconds=10)
"""How often a target that rests, or a member that is down, is tried."""
USUAL_AT_ONCE: Final = 2
NODE_FACTOR: Final = 2
"""Jobs for each association that a node allows: the next one is ready when one ends."""
NO_NODE: Final = message("there is no such remote node")
NO_WEBHOOK: Final = message("there is no such webhook, or it is off")
NODE_HELD: Final = message("the remote node is paused or off")
WINDOW_CLOSED: Final = message("the node's window is closed")
NOT_OF_TARGET: Final = "give_up_after_days"
"""The field of a destination that says something of deliveries, not of where they go."""


class Targets:
    """The destinations of a document, how they do, and how much each has to do."""

    def __init__(
        self,
        destinations: Mapping[str, Destination],
        states: Mapping[str, DestinationState],
        nodes: Mapping[str, RemoteNode],
        webhooks: Collection[int],
        now: datetime,
    ) -> None:
        """Take `webhooks`, the numbers of those that are on, and `now` in the zone of windows."""
        self.by_name = destinations
        self.nodes = nodes
        self.webhooks = webhooks
        self.now = now
        self.changed: dict[str, DestinationState] = {}
        self.under_way: dict[str, int] = {}
        """Deliveries with each target, but those that wait for another try."""
        self.waited_for: dict[str, list[int]] = {}
        """Failed tries of each delivery that waits for another one, by target."""
        self.well_again: set[str] = set()
        """Targets that had failed so often that they rested, and have succeeded now."""
        self.places = DeliveryPlaces(destinations, nodes)
        self._states = dict(states)

    def state(self, name: str) -> DestinationState:
        """Return how a destination does."""
        return self._states.get(name) or DestinationState(name)

    def is_open(self, name: str, made_at: datetime) -> bool:
        """Return whether a delivery made at this time may be sent to this destination now."""
        held = self.state(name)
        if held.mode == "draining" and held.mode_since is not None:
            return made_at <= held.mode_since
        return held.mode == "active"

    def choose(
        self, destination: Destination, made_at: datetime, without: Collection[str] = ()
    ) -> str | None:
        """Return the target of a delivery, none of `without`; None while none can take it."""
        if not isinstance(destination, GroupDestination):
            return destination.name if self.has_room(destination.name) else None
        members = [
            m
            for m in destination.members
            if m not in without and self.is_open(m, made_at) and not self.hindrance(m)
        ]
        order = members
        if destination.mode == "any":
            order = sorted(members, key=lambda m: self.under_way.get(m, 0))
        elif not destination.back:
            in_force = self.state(destination.name).in_force
            order = sorted(members, key=lambda m: m != in_force)
        up = [m for m in order if self.takes(m, destination, made_at)]
        probed = [
            m
            for m in order
            if self.has_failed(m, destination)
            and self.may_probe(m)
            # What hangs there tries it already.
            and not self.is_silent(m, destination)
        ]
        # A member that is down comes first for one delivery, else nobody would see it is back.
        for member in order:
            if member in probed or (member in up and self.has_room(member)):
                return member
            if member in up and destination.mode == "failover":
                return None
        return None

    def is_down(self, name: str, group: GroupDestination) -> bool:
        """Return whether a member of a group fails or hangs, so that the next takes over."""
        return self.has_failed(name, group) or self.is_silent(name, group)

    def has_failed(self, name: str, group: GroupDestination) -> bool:
        """Return whether a member of a group has failed so often that it counts as down."""
        return self.state(name).failures >= group.after_failures

    def is_silent(self, name: str, group: GroupDestination) -> bool:
        """Return whether a delivery runs at a member, of whichever destination, and hangs."""
        target = self.by_name.get(name)
        if target is None:
            return False
        since = self.places.silent_since(target.model_dump(mode="json"))
        return since is not None and self.now - since >= timedelta(seconds=group.after_seconds)

    def takes(self, name: str, group: GroupDestination, made_at: datetime) -> bool:
        """Return whether a member of a group may get a delivery made at this time."""
        return (
            self.is_open(name, made_at)
            and not self.is_down(name, group)
            and not self.hindrance(name)
            and not self.is_left_alone(name)
        )

    def hindrance(self, name: str) -> str:
        """Return in words why a target can get nothing now, whatever it would do; else nothing."""
        target = self.by_name.get(name)
        if isinstance(target, WebhookDestination):
            return "" if target.webhook_id in self.webhooks else NO_WEBHOOK
        if not isinstance(target, NodeDestination | PriorsDestination):
            return ""
        node = self.node_of(target)
        if node is None:
            return NO_NODE
        if node.paused or not node.active:
            return NODE_HELD
        return "" if window_is_open(node.windows, self.now) else WINDOW_CLOSED

    def is_left_alone(self, name: str) -> bool:
        """Return whether the node of a target has failed for whatever jobs, and gets none now."""
        target = self.by_name.get(name)
        node = None if target is None else self.node_of(target)
        until = None if node is None else node.circuit.open_until
        return until is not None and until > self.now

    def is_as_made(self, delivery: OpenDelivery) -> bool:
        """Return whether the job of a delivery does what the rules in force say.

        That is also true if they have no such destination: what has arrived has arrived.
        """
        destination, made_for = self.by_name.get(delivery.destination), delivery.made_for
        if destination is None or not made_for:
            return True
        names: Collection[str] = (destination.name,)
        if isinstance(destination, GroupDestination):
            names = destination.members
        target = self.by_name.get(made_for["name"])
        if target is None or target.name not in names:
            return False
        says = target.model_dump(mode="json")
        return all(says.get(k) == v for k, v in made_for.items() if k != NOT_OF_TARGET)

    def has_room(self, name: str) -> bool:
        """Return whether one more delivery may be begun with a target."""
        under_way = self.under_way.get(name, 0)
        if self.rests(name):
            waits = self.waited_for.get(name, ())
            # Those that wait go first, unless they may be at fault themselves.
            turn = len(waits) < self._at_once(name) and all(n >= TRIES_IN_A_TURN for n in waits)
            return not under_way and turn and self.may_probe(name)
        if self.state(name).failures:
            return under_way == 0
        return under_way < self._at_once(name)

    def rests(self, name: str) -> bool:
        """Return whether a target has failed so often that only one delivery at a time tries it."""
        return self.state(name).failures >= FAILURES_THAT_REST

    def may_probe(self, name: str) -> bool:
        """Return whether it is time to try a target again that rests or is down."""
        last = self.state(name).last_attempt_at
        return last is None or self.now - last >= PROBE_INTERVAL

    def record_begin(self, name: str) -> None:
        """Note that a delivery goes to a target now."""
        self.under_way[name] = self.under_way.get(name, 0) + 1
        self._change(replace(self.state(name), last_attempt_at=self.now))

    def record_failures(self, name: str, number: int, error: str, at: datetime | None) -> None:
        """Note failed tries."""
        held = self.state(name)
        self._change(
            replace(
                held,
                failures=held.failures + number,
                failing_since=held.failing_since or at or self.now,
                last_error=error,
                last_error_at=at or self.now,
                last_attempt_at=at or self.now,
            )
        )

    def record_success(self, name: str) -> None:
        """Note that something has arrived."""
        held = self.state(name)
        if held.failures:
            self.well_again.add(name)
        self._change(replace(held, failures=0, failing_since=None, last_success_at=self.now))

    def record_answer(self, name: str) -> None:
        """Note that a target works, though nothing has arrived."""
        held = self.state(name)
        if held.failures:
            self.well_again.add(name)
            self._change(replace(held, failures=0, failing_since=None))

    def forget_failures(self, name: str) -> None:
        """Note that a name stands for another target than the one that has failed."""
        if self.state(name).failures:
            self._change(replace(self.state(name), failures=0, failing_since=None))

    def record_in_force(self, group: str, member: str) -> None:
        """Note which member of a group gets what comes now."""
        if self.state(group).in_force != member:
            self._change(replace(self.state(group), in_force=member))

    def node_of(self, destination: Destination) -> RemoteNode | None:
        """Return the remote node that a destination names, if it names one that exists."""
        if isinstance(destination, NodeDestination | PriorsDestination):
            return self.nodes.get(destination.remote_node)
        return None

    def _change(self, state: DestinationState) -> None:
        self._states[state.name] = self.changed[state.name] = state

    def _at_once(self, name: str) -> int:
        destination = self.by_name.get(name)
        node = None if destination is None else self.node_of(destination)
        return USUAL_AT_ONCE if node is None else max(1, node.max_associations) * NODE_FACTOR
