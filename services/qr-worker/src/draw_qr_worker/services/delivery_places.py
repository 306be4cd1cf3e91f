"""Says which deliveries follow one another: those that bring the same objects to the same place.

A place is an address or a folder, not the name of a destination: two destinations may name the same
node, and a group one of its members. What follows finds what the place has answered for, and sends
the rest.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import product
from typing import Any

from draw_qr_worker.models import OpenDelivery, RemoteNode
from draw_qr_worker.services.delivering import endpoint_of
from draw_shared.routing.destinations import (
    Destination,
    GroupDestination,
    NodeDestination,
)


class DeliveryPlaces:
    """The places of destinations, and what is on its way to each."""

    def __init__(
        self, destinations: Mapping[str, Destination], nodes: Mapping[str, RemoteNode]
    ) -> None:
        self._destinations = destinations
        self._nodes = nodes
        self._on_the_way: defaultdict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
        """Series and SOP instance of each delivery, by place and study."""
        self._waiting: set[tuple[str, str, str]] = set()
        """Place, study and series of each delivery that waits for another try."""
        self._silent_since: dict[str, datetime] = {}
        """When the first of those began that run at a place of which nothing has arrived."""

    def sharing(self) -> Iterator[tuple[str, str]]:
        """Yield each two destinations that send to the same place, also one with itself."""
        names = defaultdict(list)
        for name, destination in self._destinations.items():
            place = self._place_of(destination.model_dump(mode="json"))
            if place:
                names[place].append(name)
        for same in names.values():
            yield from product(same, repeat=2)

    def side_by_side(self) -> Iterator[str]:
        """Yield the destinations to which SOP instances of one series may go at the same time."""
        for name, destination in self._destinations.items():
            members: Sequence[str] = (name,)
            if isinstance(destination, GroupDestination):
                members = destination.members
            if all(isinstance(self._destinations.get(m), NodeDestination) for m in members):
                yield name

    def names_at(self, target: Mapping[str, Any]) -> list[str]:
        """Return the destinations that send to the place of a target, itself too."""
        place = self._place_of(target)
        return [
            name
            for name, destination in self._destinations.items()
            if place and self._place_of(destination.model_dump(mode="json")) == place
        ]

    def take(self, target: Mapping[str, Any], delivery: OpenDelivery) -> None:
        """Note that a delivery is on its way to a target."""
        place = self._place_of(target)
        if place:
            held = self._on_the_way[place, delivery.study_instance_uid]
            held.add((delivery.series_instance_uid, delivery.sop_instance_uid))
            if delivery.job_state == "waiting":
                self._waiting.add(_series_at(place, delivery))
            since = delivery.running_since
            if delivery.job_state == "running" and since and not has_arrived(delivery):
                self._silent_since[place] = min(since, self._silent_since.get(place, since))

    def has_waiting(self, target: Mapping[str, Any], delivery: OpenDelivery) -> bool:
        """Return whether another delivery of the series has failed at a target and waits there."""
        return _series_at(self._place_of(target), delivery) in self._waiting

    def silent_since(self, target: Mapping[str, Any]) -> datetime | None:
        """Return since when a delivery runs at a target without anything that has arrived."""
        return self._silent_since.get(self._place_of(target))

    def is_free(self, target: Mapping[str, Any], delivery: OpenDelivery) -> bool:
        """Return whether nothing is on its way to a target that the delivery also brings."""
        held = self._on_the_way.get((self._place_of(target), delivery.study_instance_uid), ())
        series, sop = delivery.series_instance_uid, delivery.sop_instance_uid
        apart = target["kind"] == "node"
        return not any(
            (not series or not other or series == other)
            and not (apart and sop and other_sop and sop != other_sop)
            for other, other_sop in held
        )

    def _place_of(self, target: Mapping[str, Any]) -> str:
        """Return where a target is; empty if any number of deliveries may go there at once."""
        match target["kind"]:
            case "node":
                node = self._nodes.get(target["remote_node"])
                return "" if node is None else endpoint_of(node)
            case "folder":
                return str(target["path"])
            case "celery" if target["place"]:
                return str(target["place"]["path"])
        return ""


def has_arrived(delivery: OpenDelivery) -> bool:
    """Return whether the target has answered for something of what runs there."""
    return bool(delivery.job_progress.get("arrived"))


def _series_at(place: str, delivery: OpenDelivery) -> tuple[str, str, str]:
    return place, delivery.study_instance_uid, delivery.series_instance_uid
