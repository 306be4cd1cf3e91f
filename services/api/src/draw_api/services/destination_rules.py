"""Checks what destinations name, and keeps what the rules in force name from being removed."""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from draw_api.ports.destinations import NamedByRules
from draw_api.ports.documents import DocumentRepository
from draw_api.ports.storage_volume import StorageVolume
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid
from draw_shared.routing.destinations import (
    CeleryDestination,
    FolderDestination,
    NodeDestination,
    PriorsDestination,
    WebhookDestination,
)
from draw_shared.routing.document import RoutingDocument
from draw_shared.wording import message

IN_STORAGE: Final = message("the folder and the storage lie one inside the other")


class DestinationRules:
    """What a document of the rules must not name, and what must not be taken from it."""

    def __init__(
        self, named: NamedByRules, volume: StorageVolume, versions: DocumentRepository
    ) -> None:
        self._named = named
        self._volume = volume
        self._versions = versions

    def check(self, document: RoutingDocument) -> None:
        """Check what destinations name before a document comes in force.

        Raises:
            Invalid: there is no such node or webhook, or folders overlap; the fields say which.
        """
        problems = [*self._missing(document), *self._overlapping(document)]
        if problems:
            raise Invalid(problems)

    def require_unnamed_node(self, name: str) -> None:
        """Return if no destination in force is this node; whoever asks holds its row.

        Raises:
            Conflict: one is.
        """
        self._require_unnamed("remote_node", name)

    def require_unnamed_webhook(self, webhook_id: int) -> None:
        """Return if no destination in force is this webhook; whoever asks holds its row.

        Raises:
            Conflict: one is.
        """
        self._require_unnamed("webhook_id", webhook_id)

    def _require_unnamed(self, field: str, value: object) -> None:
        newest = self._versions.newest()
        # What is stored is looked at as it is: it may be of another release.
        destinations: Any = None if newest is None else newest.document.get("destinations")
        for one in destinations if isinstance(destinations, list) else ():
            if isinstance(one, Mapping) and one.get(field) == value:
                raise Conflict(
                    message(
                        "The destination %(name)s of the rules in force needs it: change the rules"
                        " first.",
                        name=one.get("name"),
                    )
                )

    def _missing(self, document: RoutingDocument) -> Iterator[FieldProblem]:
        found = list(enumerate(document.destinations))
        nodes = {
            n: one.remote_node
            for n, one in found
            if isinstance(one, NodeDestination | PriorsDestination)
        }
        hooks = {n: one.webhook_id for n, one in found if isinstance(one, WebhookDestination)}
        known_nodes = self._named.nodes(set(nodes.values()))
        known_hooks = self._named.webhooks(set(hooks.values()))
        for number, name in nodes.items():
            if name not in known_nodes:
                yield FieldProblem(
                    f"destinations.{number}.remote_node", message("there is no such remote node")
                )
        for number, webhook_id in hooks.items():
            if webhook_id not in known_hooks:
                yield FieldProblem(
                    f"destinations.{number}.webhook_id", message("there is no such webhook")
                )

    def _overlapping(self, document: RoutingDocument) -> Iterator[FieldProblem]:
        earlier: list[tuple[str, PurePosixPath]] = []
        for field, name, path in _folders(document):
            if self._volume.overlaps(str(path)):
                yield FieldProblem(field, IN_STORAGE)
            for other, taken in earlier:
                if path.is_relative_to(taken) or taken.is_relative_to(path):
                    yield FieldProblem(
                        field,
                        message("overlaps with the folder of the destination %(name)s", name=other),
                    )
                    break
            earlier.append((name, path))


def _folders(document: RoutingDocument) -> Iterator[tuple[str, str, PurePosixPath]]:
    """Yield the folders of destinations, each with its field and the destination's name."""
    for number, one in enumerate(document.destinations):
        if isinstance(one, FolderDestination):
            yield f"destinations.{number}.path", one.name, PurePosixPath(one.path)
        elif isinstance(one, CeleryDestination) and one.place is not None:
            yield f"destinations.{number}.place.path", one.name, PurePosixPath(one.place.path)
