"""Manages the remote nodes."""

from collections.abc import Sequence
from typing import Final

from draw_api.models.nodes import Node, NodeSettings
from draw_api.models.paging import Page
from draw_api.ports.nodes import NodeRepository
from draw_api.services.destination_rules import DestinationRules
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, NotFound
from draw_shared.wording import message

MAX_WITH_TITLE: Final = 10
MAX_OFFERED: Final = 1_000
"""More than any site has; a form with all of them is still usable."""


class NodeService:
    """Manages remote nodes for operators."""

    def __init__(self, table: NodeRepository, rules: DestinationRules, audit: AuditTrail) -> None:
        self._table = table
        self._rules = rules
        self._audit = audit

    def nodes(self, cursor: str | None, limit: int) -> Page[Node]:
        """Return a page of nodes."""
        return self._table.nodes(cursor, limit)

    def offered(self) -> list[Node]:
        """Return the nodes that a form offers, by name."""
        return sorted(self.nodes(None, MAX_OFFERED).items, key=lambda node: node.name.casefold())

    def node(self, node_id: int) -> Node:
        """Return one node; NotFound when there is none."""
        found = self._table.node(node_id)
        if found is None:
            raise NotFound(message("There is no such remote node."))
        return found

    def with_title(self, ae_title: str) -> Sequence[Node]:
        """Return the nodes with this AE title, the first of them if there are many."""
        return self._table.with_title(ae_title, MAX_WITH_TITLE) if ae_title else []

    def add(self, by: Principal, settings: NodeSettings) -> Node:
        """Add a node.

        Raises:
            Conflict: the name is taken.
        """
        node_id = self._table.add(settings)
        if node_id is None:
            raise Conflict(
                message("There is already a remote node called %(name)s.", name=settings.name)
            )
        self._audit.record(by, "node.create", f"{node_id} {settings.ae_title}")
        return self.node(node_id)

    def replace(self, by: Principal, node_id: int, settings: NodeSettings) -> Node:
        """Replace all settings of a node; running jobs continue with the previous ones.

        Raises:
            NotFound: there is no such node.
            Conflict: the name is taken, or the rules in force know the node by its name.
        """
        before = self._hold(node_id)
        if before != settings.name:
            self._rules.require_unnamed_node(before)
        if not self._table.replace(node_id, settings):
            raise Conflict(
                message("There is already a remote node called %(name)s.", name=settings.name)
            )
        self._audit.record(by, "node.update", f"{node_id} {settings.ae_title}")
        return self.node(node_id)

    def pause(self, by: Principal, node_id: int, *, paused: bool) -> Node:
        """Make the node's jobs wait, or continue; running jobs are not affected.

        Raises:
            NotFound: there is no such node.
        """
        name = self._table.pause(node_id, paused=paused)
        if name is None:
            raise NotFound(message("There is no such remote node."))
        self._audit.record(by, "node.pause" if paused else "node.resume", f"{node_id} {name}")
        return self.node(node_id)

    def pin(self, by: Principal, node_id: int, fingerprint: str) -> Node:
        """Trust only this certificate of the node from now on, and forget its last test.

        Raises:
            NotFound: there is no such node.
            Conflict: the node does not use TLS.
        """
        if not self.node(node_id).tls:
            raise Conflict(message("TLS is not spoken with this node: it shows no certificate."))
        name = self._table.pin(node_id, fingerprint)
        if name is None:
            raise NotFound(message("There is no such remote node."))
        self._audit.record(by, "node.pin", f"{node_id} {name} {fingerprint}")
        return self.node(node_id)

    def forget_find_limit(self, by: Principal, node_id: int) -> Node:
        """Forget the node's limit of matches, so that the next query finds it again.

        Raises:
            NotFound: there is no such node.
        """
        name = self._table.forget_find_limit(node_id)
        if name is None:
            raise NotFound(message("There is no such remote node."))
        self._audit.record(by, "node.forget_find_limit", f"{node_id} {name}")
        return self.node(node_id)

    def remove(self, by: Principal, node_id: int) -> None:
        """Delete a node; its finished jobs remain.

        Raises:
            NotFound: there is no such node.
            Conflict: jobs still need it, or the rules in force do.
        """
        name = self._hold(node_id)
        waiting = self._table.unfinished_jobs(node_id)
        if waiting:
            raise Conflict(
                message(
                    "%(waiting)s unfinished jobs need this node; cancel them first.",
                    waiting=waiting,
                )
            )
        self._rules.require_unnamed_node(name)
        self._table.remove(node_id)
        self._audit.record(by, "node.delete", f"{node_id} {name}")

    def _hold(self, node_id: int) -> str:
        name = self._table.hold(node_id)
        if name is None:
            raise NotFound(message("There is no such remote node."))
        return name
