"""Plans deliveries: makes their jobs, oldest first, and takes the ends of these into the rows.

One worker at a time plans; whatever it leaves undone because it was killed, the next turn does: a
turn is one transaction, and it depends on nothing but the rows.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, timedelta, tzinfo
from typing import Any, Final

import structlog

from draw_qr_worker.models import OpenDelivery, PlanningOrder
from draw_qr_worker.ports.deliveries import DeliveryLedger, DeliveryTurn
from draw_qr_worker.services.delivery_places import has_arrived
from draw_qr_worker.services.delivery_targets import NO_NODE, NO_WEBHOOK, TRIES_IN_A_TURN, Targets
from draw_qr_worker.services.priors import batch_of
from draw_qr_worker.services.shared_jobs import (
    AGAIN,
    GONE,
    MAX_TOGETHER,
    SharedJobs,
    falls_apart,
    is_there,
    own_part,
)
from draw_shared.routing.destinations import (
    Destination,
    GroupDestination,
    LeafDestination,
    NodeDestination,
    PriorsDestination,
    WebhookDestination,
    retrieves,
)
from draw_shared.wording import message

log = structlog.get_logger()

PENDING_OF_EACH: Final = 20
"""Deliveries of a destination that are looked at in one turn."""
LOST_AT_ONCE: Final = 100
ENDS: Final[Mapping[str, str]] = {
    "complete": "delivered",
    "unproved": "partial",
    "partial": "partial",
    "failed": "failed",
}
RUNNING: Final = frozenset(("running", "cancelling"))
OVER: Final = frozenset((*ENDS, "cancelled"))
SUPERSEDED: Final = message("a later generation of the series has taken its place")
REMOVED: Final = message("the rules have no such destination any more")
JOB_CANCELLED: Final = message("its job was cancelled")
GIVEN_UP: Final = message("given up: it could not be sent in time")


class DeliveryPlanner:
    """Moves deliveries on; every worker calls it repeatedly."""

    def __init__(
        self,
        ledger: DeliveryLedger,
        ended: Callable[[str, str], None] = lambda *_: None,
        zone: tzinfo = UTC,
    ) -> None:
        self._ledger = ledger
        self._ended = ended
        self._zone = zone
        self._over: list[tuple[str, str]] = []
        """Destination and end of what the turn has ended: counted once that is kept."""
        self._shared = SharedJobs()

    def plan(self) -> int:
        """Move deliveries on, and return how many were begun.

        Raises:
            Transient: the database does not answer, or this release cannot read the rules in force.
        """
        self._over.clear()
        with self._ledger.turn() as turn:
            started = 0 if turn is None else self._plan(turn)
        for destination, state in self._over:
            self._ended(destination, state)
        return started

    def _plan(self, turn: DeliveryTurn) -> int:
        document = turn.document()
        by_name: dict[str, Destination] = {one.name: one for one in document.destinations}
        now = turn.now().astimezone(self._zone)
        targets = Targets(by_name, turn.states(), turn.nodes(), turn.webhooks(), now)
        begun = [own_part(one) for one in turn.begun()]
        self._shared = SharedJobs(begun)
        for delivery in begun:
            if delivery.made_for and delivery.job_state not in OVER:
                targets.places.take(delivery.made_for, delivery)
            follow = self._follow_batch if delivery.in_batch else self._follow
            follow(turn, targets, delivery)
        # After what has arrived meanwhile, which nothing supersedes.
        self._over += [(name, "superseded") for name in turn.supersede(SUPERSEDED)]
        for delivery in turn.lost(sorted(by_name), LOST_AT_ONCE):
            self._end(turn, delivery, "failed", REMOVED)
        started = self._begin_pending(turn, targets)
        for name in sorted(targets.well_again):
            turn.wake(name, None, TRIES_IN_A_TURN)
        for name in sorted(targets.waited_for.keys() - {""}):
            self._rest(turn, targets, name)
        for state in targets.changed.values():
            turn.keep_state(state)
        return started

    def _begin_pending(self, turn: DeliveryTurn, targets: Targets) -> int:
        """Begin what may begin now, and return how many deliveries that are."""
        names = sorted(targets.by_name)
        alone = [n for n in names if retrieves(targets.by_name[n], targets.by_name)]
        places = targets.places
        order = PlanningOrder(names, alone, [*places.side_by_side()], [*places.sharing()])
        studies: set[tuple[str, str]] = set()
        begun: set[int] = set()
        for delivery in turn.pending(order, PENDING_OF_EACH):
            of_study = delivery.destination, delivery.study_instance_uid
            waits = delivery.destination in alone and of_study in studies
            if waits or delivery.id in begun:
                continue
            those = self._begin(turn, targets, delivery)
            if those:
                studies.add(of_study)
                begun.update(one.id for one in those)
        return len(begun)

    def _rest(self, turn: DeliveryTurn, targets: Targets, name: str) -> None:
        """Let one delivery at a time try a target that rests, whichever would be due itself."""
        if not targets.rests(name):
            return
        if targets.may_probe(name):
            targets.record_begin(name)
            self._try_node(turn, targets, name)
            turn.wake(name, 1, TRIES_IN_A_TURN)
        turn.hold(name)

    def _follow(self, turn: DeliveryTurn, targets: Targets, delivery: OpenDelivery) -> None:
        """Take over what has become of a delivery's job."""
        state = delivery.job_state
        if state is None:
            # Its job was removed.
            turn.give_back(delivery)
            return
        if delivery.retrieves and state in OVER and self._finds_batch(turn, targets, delivery):
            return
        if not targets.is_as_made(delivery) and not delivery.job_result.get(GONE):
            self._begin_anew(turn, targets, delivery)
            return
        name = delivery.target
        if name and self._shared.leads(delivery):
            self._take_tries(targets, delivery)
        if state in ENDS:
            self._take_end(turn, targets, delivery)
        elif state == "cancelled":
            if name and not self._shared.is_left(delivery):
                self._end(turn, delivery, "failed", JOB_CANCELLED)
            else:
                together = delivery.shared_by > 1 and not falls_apart(delivery)
                turn.give_back(delivery, as_new=together)
        else:
            self._go_on(turn, targets, delivery)

    def _take_tries(self, targets: Targets, delivery: OpenDelivery) -> None:
        """Count for the target what its answers say of itself, not of the objects."""
        name, number = delivery.target, delivery.tries - delivery.failures
        if number > 0:
            targets.record_failures(name, number, delivery.job_error, delivery.last_try_at)
        arrived = int(delivery.job_progress.get("arrived") or 0)
        # What has arrived of a shared job is not counted there, and must not count with each turn.
        waits = delivery.shared_by > 1 and delivery.job_state == "waiting"
        if arrived > delivery.delivered_count and (not waits or falls_apart(delivery)):
            targets.record_success(name)
        elif delivery.refusals > delivery.attempts - delivery.failures:
            targets.record_answer(name)

    def _begin_anew(self, turn: DeliveryTurn, targets: Targets, delivery: OpenDelivery) -> None:
        """Have a delivery go where the rules say now, as its job has been made for elsewhere."""
        if delivery.target:
            targets.forget_failures(delivery.target)
        if delivery.job_state in OVER:
            turn.give_back(delivery)
        elif not delivery.cancel_requested:
            turn.leave_target(delivery)

    def _finds_batch(self, turn: DeliveryTurn, targets: Targets, delivery: OpenDelivery) -> bool:
        """Follow the batch that a delivery's job has made, if it has, however the job ended."""
        job_id = delivery.job_id
        if job_id is None or not turn.follow_batch(delivery, batch_of(job_id)):
            return False
        if delivery.target:
            targets.record_success(delivery.target)
        return True

    def _follow_batch(self, turn: DeliveryTurn, targets: Targets, delivery: OpenDelivery) -> None:
        """Take over what has become of the retrieves of earlier studies."""
        state, arrived = str(delivery.job_state), int(delivery.job_progress["arrived"])
        if delivery.destination not in targets.by_name:
            self._end(turn, delivery, "failed", REMOVED, arrived)
        elif state in ENDS:
            self._take_end_of_batch(turn, targets, delivery)
        elif state == "cancelled":
            self._end(turn, delivery, "failed", JOB_CANCELLED, arrived)
        elif state == "waiting" and delivery.give_up_at <= targets.now:
            ended = "partial" if arrived else "failed"
            self._end(turn, delivery, ended, delivery.job_error or GIVEN_UP, arrived)
        else:
            name = delivery.target
            if name and state == "running":
                targets.under_way[name] = targets.under_way.get(name, 0) + 1
            turn.follow(delivery, state)

    def _take_end_of_batch(
        self, turn: DeliveryTurn, targets: Targets, delivery: OpenDelivery
    ) -> None:
        told, ended = delivery.job_result, ENDS[str(delivery.job_state)]
        error = str(told.get("doubt") or "")
        if ended != "delivered":
            error = message(
                "%(number)s of %(total)s earlier studies are not proved to be here: %(error)s",
                number=told["studies"] - told["complete"],
                total=told["studies"],
                error=delivery.job_error,
            )
        elif told.get("already_on_the_way"):
            # Whatever others bring of the rest, the next job sees it.
            turn.give_back(delivery)
            return
        elif error:
            ended = "partial"
        if ended == "delivered" and delivery.target:
            targets.record_success(delivery.target)
        self._end(turn, delivery, ended, error, int(delivery.job_progress["arrived"]))

    def _take_end(self, turn: DeliveryTurn, targets: Targets, delivery: OpenDelivery) -> None:
        result = delivery.job_result
        ended = ENDS[str(delivery.job_state)]
        if result.get(GONE):
            self._end(turn, delivery, "superseded", delivery.job_error)
            return
        left = not delivery.target and ended != "delivered"
        if left or result.get(AGAIN):
            turn.give_back(delivery)
            return
        if ended == "delivered" and (delivery.target or delivery.made_for):
            targets.record_success(delivery.target or delivery.made_for["name"])
        delivered = result.get("delivered")
        self._end(turn, delivery, ended, delivery.job_error, delivered)

    def _go_on(self, turn: DeliveryTurn, targets: Targets, delivery: OpenDelivery) -> None:
        """Follow a job that is not over; leave a member of a group that is down."""
        name, running = delivery.target, delivery.job_state in RUNNING
        leads = self._shared.leads(delivery)
        if leads and delivery.job_state == "waiting":
            targets.waited_for.setdefault(name, []).append(delivery.tries)
        if leads and name and (running or delivery.job_state == "queued"):
            targets.under_way[name] = targets.under_way.get(name, 0) + 1
        apart = falls_apart(delivery) and delivery.job_state == "waiting"
        if apart and is_there(delivery):
            self._end(turn, delivery, "delivered")
            return
        if not running and delivery.give_up_at <= targets.now:
            self._end(turn, delivery, "failed", delivery.job_error or GIVEN_UP)
            return
        if apart or self._must_leave(targets, delivery):
            turn.leave_target(delivery)
            return
        if delivery.shared_by > 1:
            # How many objects of all have arrived says nothing of this one.
            delivery = replace(delivery, job_progress={})
        waits = not running and (delivery.tries > 0 or delivery.job_state == "waiting")
        turn.follow(delivery, "waiting" if waits else "running")

    def _must_leave(self, targets: Targets, delivery: OpenDelivery) -> bool:
        """Return whether a delivery must not go on where it is: removed, paused, or down."""
        if targets.by_name.get(delivery.destination) is None:
            return True
        held = any(
            not targets.is_open(name, delivery.created_at)
            for name in (delivery.destination, delivery.target)
            if name
        )
        paused = held and delivery.job_state not in RUNNING
        return paused or self._goes_elsewhere(targets, delivery)

    def _goes_elsewhere(self, targets: Targets, delivery: OpenDelivery) -> bool:
        """Return whether another member of its group must take a delivery."""
        group = targets.by_name.get(delivery.destination)
        if not isinstance(group, GroupDestination) or not delivery.target:
            return False
        others = [
            m
            for m in group.members
            if m != delivery.target and targets.takes(m, group, delivery.created_at)
        ]
        if not others:
            return False
        name, down = delivery.target, targets.has_failed(delivery.target, group)
        begun = delivery.job_state in RUNNING and delivery.job_id is not None
        passed_over = targets.is_left_alone(name) or targets.is_silent(name, group)
        kept_from = targets.hindrance(name) or (not down and passed_over)
        if kept_from and not begun:
            return True
        hangs = self._hangs(targets, delivery, group)
        if down:
            # One that has not failed there yet may be the one that finds it well again.
            return delivery.tries > 0 or hangs
        if hangs:
            targets.record_failures(
                name,
                group.after_failures,
                message("nothing arrived for %(seconds)s seconds", seconds=group.after_seconds),
                targets.now,
            )
        return hangs

    def _hangs(self, targets: Targets, delivery: OpenDelivery, group: GroupDestination) -> bool:
        since = delivery.running_since or targets.now
        late = targets.now - since >= timedelta(seconds=group.after_seconds)
        return late and not has_arrived(delivery)

    def _begin(
        self, turn: DeliveryTurn, targets: Targets, delivery: OpenDelivery
    ) -> Sequence[OpenDelivery]:
        """Begin a delivery if its destination takes it now."""
        destination = targets.by_name[delivery.destination]
        if delivery.give_up_at <= targets.now:
            self._end(turn, delivery, "failed", GIVEN_UP)
            return ()
        target = self._choose(turn, targets, delivery, destination)
        if target is None:
            return ()
        made_for = target.model_dump(mode="json")
        together = [delivery, *self._companions(turn, targets, delivery, target)]
        if isinstance(target, WebhookDestination):
            begun = self._tell(turn, delivery, target)
        else:
            begun = self._start(turn, targets, together, target, made_for)
        if not begun:
            return ()
        for one in together:
            targets.places.take(made_for, one)
        targets.record_begin(target.name)
        # One that is down is only tried.
        if isinstance(destination, GroupDestination) and not targets.is_down(
            target.name, destination
        ):
            targets.record_in_force(destination.name, target.name)
        return together

    def _companions(
        self,
        turn: DeliveryTurn,
        targets: Targets,
        delivery: OpenDelivery,
        target: LeafDestination,
    ) -> Sequence[OpenDelivery]:
        """Return what goes to a node with a delivery of an SOP instance, in one association."""
        of_instance = isinstance(target, NodeDestination) and delivery.sop_instance_uid
        # What has begun before may be at fault itself; what fails is tried with one.
        if not of_instance or delivery.begun_before or targets.state(target.name).failures:
            return ()
        made_for = target.model_dump(mode="json")
        names = {delivery.destination, target.name}
        found = turn.companions(delivery, targets.places.names_at(made_for), MAX_TOGETHER - 1)
        return [
            one
            for one in found
            if all(targets.is_open(name, one.created_at) for name in names)
            and targets.places.is_free(made_for, one)
        ]

    def _choose(
        self,
        turn: DeliveryTurn,
        targets: Targets,
        delivery: OpenDelivery,
        destination: Destination,
    ) -> LeafDestination | None:
        """Return where a delivery goes now; None, perhaps with the reason shown, if nowhere."""
        if not targets.is_open(destination.name, delivery.created_at):
            return None
        without: list[str] = []
        if isinstance(destination, GroupDestination):
            # What waits or fails at a member under another name would keep this one waiting too.
            for member in destination.members:
                place = targets.by_name[member].model_dump(mode="json")
                down = targets.is_down(member, destination)
                held = targets.places.has_waiting(place, delivery)
                if held or (down and not targets.places.is_free(place, delivery)):
                    without.append(member)
        name = targets.choose(destination, delivery.created_at, without)
        target = None if name is None else targets.by_name.get(name)
        if target is not None and not isinstance(target, GroupDestination):
            free = targets.places.is_free(target.model_dump(mode="json"), delivery)
            return target if free else None
        if isinstance(destination, GroupDestination):
            reasons = [targets.hindrance(member) for member in destination.members]
            if all(reasons):
                turn.say(delivery, reasons[0])
        return None

    def _start(
        self,
        turn: DeliveryTurn,
        targets: Targets,
        deliveries: Sequence[OpenDelivery],
        target: LeafDestination,
        made_for: Mapping[str, Any],
    ) -> bool:
        delivery = deliveries[0]
        node = targets.node_of(target)
        if node is None and isinstance(target, NodeDestination | PriorsDestination):
            turn.say(delivery, NO_NODE)
            return False
        parameters: dict[str, Any] = {
            "delivery_id": delivery.id,
            "decision_id": delivery.decision_id,
            "sequence": delivery.sequence,
            "target": made_for,
            "study_instance_uid": delivery.study_instance_uid,
            "series_instance_uid": delivery.series_instance_uid,
            "sop_instance_uids": [o.sop_instance_uid for o in deliveries if o.sop_instance_uid],
            "give_up_at": min(one.give_up_at for one in deliveries).isoformat(),
        }
        if len(deliveries) > 1:
            parameters["deliveries"] = [one.id for one in deliveries]
        if targets.state(target.name).failures:
            self._try_node(turn, targets, target.name)
        turn.start_job(deliveries, target.name, node.id if node else None, parameters)
        return True

    def _try_node(self, turn: DeliveryTurn, targets: Targets, name: str) -> None:
        destination = targets.by_name.get(name)
        node = None if destination is None else targets.node_of(destination)
        if node is not None:
            turn.try_node(node.id)

    def _tell(self, turn: DeliveryTurn, delivery: OpenDelivery, target: WebhookDestination) -> bool:
        body = {
            "kind": "routing.delivery",
            "delivery": delivery.id,
            "destination": delivery.destination,
            "rules": list(delivery.applied),
            "routing_version": delivery.routing_version,
            "sequence": delivery.sequence,
            "study_instance_uid": delivery.study_instance_uid,
            "series_instance_uid": delivery.series_instance_uid or None,
            "sop_instance_uid": delivery.sop_instance_uid or None,
            "instances": delivery.instance_count,
            "fields": dict(delivery.payload),
        }
        told = turn.tell_webhook(
            delivery, target.name, target.webhook_id, json.dumps(body, ensure_ascii=False)
        )
        if not told:
            turn.say(delivery, NO_WEBHOOK)
        return told

    def _end(
        self,
        turn: DeliveryTurn,
        delivery: OpenDelivery,
        state: str,
        error: str = "",
        delivered: int | None = None,
    ) -> None:
        arrived = delivery.delivered_count
        if delivery.shared_by == 1 and not delivery.in_batch:
            arrived = max(arrived, int(delivery.job_progress.get("arrived") or 0))
        if state == "failed" and arrived and delivered is None:
            state, delivered = "partial", arrived
        turn.end(delivery, state, error, delivered)
        self._over.append((delivery.destination, state))
        write = log.info if state in {"delivered", "superseded"} else log.warning
        write(
            "delivery.ended",
            delivery=delivery.id,
            destination=delivery.destination,
            target=delivery.target,
            state=state,
            error=error,
        )
