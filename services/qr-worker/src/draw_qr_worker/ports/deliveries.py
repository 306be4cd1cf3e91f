"""Ports of planning deliveries: their rows, within one transaction of the one planner."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from draw_qr_worker.models import DestinationState, OpenDelivery, PlanningOrder, RemoteNode
from draw_shared.routing.document import RoutingDocument


class DeliveryTurn(Protocol):
    """What the planner sees and changes; nothing is kept unless the turn ends well."""

    def now(self) -> datetime:
        """Return the database's time."""

    def document(self) -> RoutingDocument:
        """Return the rules in force; an empty document if there are none.

        Raises:
            Transient: this release cannot read them.
        """

    def supersede(self, reason: str) -> Sequence[str]:
        """End deliveries whose later generation sends what they would have sent.

        Return the destination of each.
        """

    def begun(self) -> Sequence[OpenDelivery]:
        """Return the deliveries that have a job or are with a webhook, oldest first."""

    def pending(self, order: PlanningOrder, most: int) -> Sequence[OpenDelivery]:
        """Return of each destination the oldest deliveries that may begin now."""

    def companions(
        self, delivery: OpenDelivery, at_place: Sequence[str], most: int
    ) -> Sequence[OpenDelivery]:
        """Return the oldest deliveries that may share a job with one of an SOP instance.

        They are of other SOP instances of its series, one of each, which no destination
        of `at_place` gets now; none has begun before.
        """

    def lost(self, names: Sequence[str], most: int) -> Sequence[OpenDelivery]:
        """Return deliveries that have not begun and whose destination is none of these."""

    def states(self) -> Mapping[str, DestinationState]:
        """Return how destinations do, by name."""

    def nodes(self) -> Mapping[str, RemoteNode]:
        """Return the remote nodes by name."""

    def webhooks(self) -> Collection[int]:
        """Return the numbers of the webhooks that are on."""

    def start_job(
        self,
        deliveries: Sequence[OpenDelivery],
        target: str,
        node_id: int | None,
        parameters: Mapping[str, Any],
    ) -> UUID:
        """Make the job of a delivery, or of several that share it, and return its number."""

    def tell_webhook(self, delivery: OpenDelivery, target: str, webhook_id: int, body: str) -> bool:
        """Hand a delivery to a webhook; return False if there is none that is on."""

    def say(self, delivery: OpenDelivery, error: str) -> None:
        """Show why a delivery does not begin."""

    def follow(self, delivery: OpenDelivery, state: str) -> None:
        """Take a job's state, tries and progress over."""

    def follow_batch(self, delivery: OpenDelivery, batch_id: UUID) -> bool:
        """Put a batch in the place of a delivery's job; return False if there is no such batch."""

    def give_back(self, delivery: OpenDelivery, *, as_new: bool = False) -> None:
        """Let a delivery begin again, at another target perhaps.

        `as_new` has it share a job again, as none of its tries has said anything of it.
        """

    def leave_target(self, delivery: OpenDelivery) -> None:
        """Have the job of a delivery end, so that it can go elsewhere."""

    def end(self, delivery: OpenDelivery, state: str, error: str, delivered: int | None) -> None:
        """End a delivery, and its job if that still runs."""

    def keep_state(self, state: DestinationState) -> None:
        """Keep how a destination does."""

    def wake(self, target: str, most: int | None, in_a_turn: int) -> None:
        """Have waiting jobs of a target tried now, the oldest first; `most` limits how many.

        One that has failed another `in_a_turn` times comes behind those that have not.
        """

    def hold(self, target: str) -> None:
        """Have waiting jobs of a target wait on, until they are woken or a minute is over."""

    def try_node(self, node_id: int) -> None:
        """Let one job try a node that is left alone after its failures."""


class DeliveryLedger(Protocol):
    """The rows of deliveries."""

    def turn(self) -> AbstractContextManager[DeliveryTurn | None]:
        """Yield the planner's turn, or None while another process has it."""

    def destinations(self) -> Sequence[str]:
        """Return the names of the destinations of the rules in force.

        Raises:
            Transient: this release cannot read them.
        """
