"""Shows deliveries, tries them again and gives them up.

Whoever changes deliveries holds them: the worker's planner changes none meanwhile, and goes on
after the commit.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from draw_api.models.deliveries import (
    FINISHED,
    MAX_STEERED,
    OPEN,
    RETRIED,
    DeliveriesToGiveUp,
    DeliveriesToRetry,
    DeliveryCriteria,
    DeliveryRefusal,
    FailedDeliveries,
    RoutedDelivery,
    RoutedDeliveryDetail,
    SteeredDeliveries,
)
from draw_api.models.jobs import FINISHED as FINISHED_JOBS
from draw_api.models.paging import Page
from draw_api.ports.deliveries import RoutedDeliveryRepository, SteeredDelivery
from draw_api.ports.destinations import DestinationHealth, DestinationRepository
from draw_api.ports.jobs import JobRepository
from draw_api.ports.wakeups import WakeUps
from draw_api.services.routing import RoutingService
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.control import ControlSubject, ControlV1
from draw_shared.contracts.failures import Conflict, NotFound
from draw_shared.contracts.job import JobReadyV1
from draw_shared.routing.destinations import Destination, GroupDestination
from draw_shared.wording import message

MAX_FAILED: Final = 10_000
"""Deliveries that are counted for what has failed lately, about 10 ms."""
NONE: Final = message("There is no such delivery.")
NOT_RETRIED: Final[Mapping[str, str]] = {
    "delivered": message("It has arrived: nothing is missing."),
    "superseded": message("A later delivery has taken its place."),
    "running": message("It is under way."),
}
NOT_GIVEN_UP: Final[Mapping[str, str]] = {
    "delivered": message("It has arrived already."),
    "superseded": message("A later delivery has taken its place."),
    "partial": message("It is over already."),
    "failed": message("It is over already."),
}


class DeliveryService:
    """Manages deliveries for operators."""

    def __init__(
        self,
        table: RoutedDeliveryRepository,
        jobs: JobRepository,
        destinations: DestinationRepository,
        routing: RoutingService,
        wakeups: WakeUps,
        audit: AuditTrail,
    ) -> None:
        self._table = table
        self._jobs = jobs
        self._destinations = destinations
        self._routing = routing
        self._wakeups = wakeups
        self._audit = audit

    def page(
        self, criteria: DeliveryCriteria, *, oldest_first: bool, cursor: str | None, limit: int
    ) -> Page[RoutedDelivery]:
        """Return a page of deliveries, in the order in which they were made or its reverse."""
        return self._table.page(criteria, oldest_first=oldest_first, cursor=cursor, limit=limit)

    def one(self, delivery_id: int) -> RoutedDeliveryDetail:
        """Return one delivery; NotFound when there is none."""
        found = self._table.one(delivery_id)
        if found is None:
            raise NotFound(NONE)
        return found

    def failed(self, since: datetime) -> list[FailedDeliveries]:
        """Return which deliveries have failed since then, by destination, the newest first.

        What somebody gave up is not among them.
        """
        return self._table.failed(since, MAX_FAILED)

    def retry(self, by: Principal, delivery_id: int) -> RoutedDeliveryDetail:
        """Try a delivery that waits now, and one that has ended once more, with a new limit.

        Only what is missing is sent.

        Raises:
            NotFound: there is no such delivery.
            Conflict: it has arrived, is under way, or its destination is held or removed.
        """
        self._do(delivery_id, self._retry(by))
        return self.one(delivery_id)

    def give_up(self, by: Principal, delivery_id: int) -> RoutedDeliveryDetail:
        """End a delivery: its job is cancelled, and nothing more is sent.

        Raises:
            NotFound: there is no such delivery.
            Conflict: it is over.
        """
        self._do(delivery_id, self._give_up(by))
        return self.one(delivery_id)

    def retry_many(self, by: Principal, wanted: DeliveriesToRetry) -> SteeredDeliveries:
        """Retry some hundred deliveries at most, and say why some were not.

        Raises:
            Conflict: this release cannot read the rules in force.
        """
        states = RETRIED if wanted.state is None else (wanted.state,)
        return self._do_all(wanted.ids, wanted.criteria_in(states), self._retry(by))

    def give_up_many(self, by: Principal, wanted: DeliveriesToGiveUp) -> SteeredDeliveries:
        """Give some hundred deliveries up at most, and say why some were not."""
        states = OPEN if wanted.state is None else (wanted.state,)
        return self._do_all(wanted.ids, wanted.criteria_in(states), self._give_up(by))

    def _do(self, delivery_id: int, act: Callable[[SteeredDelivery], None]) -> None:
        self._table.hold()
        found = self._table.steered([delivery_id])
        if not found:
            raise NotFound(NONE)
        act(found[0])
        self._wake()

    def _do_all(
        self, ids: list[int], criteria: DeliveryCriteria, act: Callable[[SteeredDelivery], None]
    ) -> SteeredDeliveries:
        self._table.hold()
        more = False
        if not ids:
            page = self._table.page(criteria, oldest_first=True, cursor=None, limit=MAX_STEERED)
            ids, more = [one.id for one in page.items], page.next_cursor is not None
        found = self._table.steered(ids)
        there = {one.id for one in found}
        refused = [DeliveryRefusal(id=one, reason=NONE) for one in ids if one not in there]
        done = []
        for one in found:
            try:
                act(one)
            except Conflict as refusal:
                refused.append(DeliveryRefusal(id=one.id, reason=str(refusal)))
            else:
                done.append(one.id)
        if done:
            self._wake()
        return SteeredDeliveries(done=done, refused=refused, more=more)

    def _wake(self) -> None:
        self._wakeups.after_commit(ControlV1(subject=ControlSubject.DELIVERY))

    def _retry(self, by: Principal) -> Callable[[SteeredDelivery], None]:
        destinations = {one.name: one for one in self._routing.current().document.destinations}
        health = self._destinations.health()

        def retry(one: SteeredDelivery) -> None:
            # A job says earlier than its delivery that it waits.
            waits = one.state == "running" and one.job_state == "waiting"
            if one.state in NOT_RETRIED and not waits:
                raise Conflict(NOT_RETRIED[one.state])
            destination = destinations.get(one.destination)
            if destination is None:
                raise Conflict(message("The rules in force have no such destination any more."))
            _require_open(one, health.get(one.destination, DestinationHealth()))
            if one.state in FINISHED:
                if one.job_state is not None and one.job_state not in FINISHED_JOBS:
                    raise Conflict(message("Its job has not ended yet; try again in a moment."))
                self._table.restart(one.id, destination.give_up_after_days)
            else:
                self._table.hasten(one.id)
                if one.job_id is not None:
                    self._jobs.hasten(one.job_id)
                    self._wakeups.after_commit(JobReadyV1(job_id=one.job_id))
            self._table.probe(_targets(destination))
            self._record(by, "delivery.retry", one)

        return retry

    def _give_up(self, by: Principal) -> Callable[[SteeredDelivery], None]:
        def give_up(one: SteeredDelivery) -> None:
            if one.state in NOT_GIVEN_UP:
                raise Conflict(NOT_GIVEN_UP[one.state])
            if one.job_id is not None:
                before = self._jobs.cancel(one.job_id)
                # One that is cancelled sends nothing more, whoever else of its deliveries ended it.
                if before in FINISHED_JOBS and before != "cancelled":
                    raise Conflict(message("Its job has just ended; look again in a moment."))
                told = ControlV1(subject=ControlSubject.JOB, job_id=one.job_id)
                self._wakeups.after_commit(told)
            state = "partial" if one.delivered else "failed"
            self._table.end(one.id, state, message("given up by %(who)s", who=by.actor))
            self._record(by, "delivery.give-up", one)

        return give_up

    def _record(self, by: Principal, action: str, one: SteeredDelivery) -> None:
        self._audit.record(
            by,
            action,
            f"delivery {one.id} to {one.destination}",
            study_instance_uid=one.study_instance_uid or None,
        )


def _require_open(one: SteeredDelivery, health: DestinationHealth) -> None:
    """Return if the destination takes this delivery now, as the worker's planner sees it."""
    if health.mode == "paused":
        raise Conflict(message("Its destination is paused: resume it first."))
    since = health.mode_since
    if health.mode == "draining" and since is not None and one.created_at > since:
        raise Conflict(
            message(
                "Its destination is draining and takes only what was decided before: resume it"
                " first."
            )
        )


def _targets(destination: Destination) -> list[str]:
    """Return the names of what a destination sends to, and its own."""
    members = destination.members if isinstance(destination, GroupDestination) else ()
    return [destination.name, *members]
