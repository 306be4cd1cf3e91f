"""The rules of routing with their versions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import Field

from draw_api.models.paging import Answer
from draw_shared.routing.document import RoutingDocument, RoutingRule


@dataclass(frozen=True, slots=True)
class StoredRoutingVersion:
    """One row of `routing_documents`."""

    version: int
    document: dict[str, Any]
    created_at: datetime
    created_by: str
    comment: str


class RoutingVersion(Answer):
    """The rules with their version."""

    version: int = Field(description="0: nobody has written rules yet", examples=[7])
    created_at: datetime | None
    created_by: str = Field(examples=["admin"])
    comment: str
    document: RoutingDocument


class RoutingHistoryEntry(Answer):
    """Who changed what, and when; compared with the version before."""

    version: int = Field(examples=[7])
    created_at: datetime
    created_by: str = Field(examples=["admin"])
    comment: str
    added: list[str] = Field(description="names of rules")
    removed: list[str]
    changed: list[str]
    reordered: bool = Field(description="whether rules that were there are in another order")


class RoutingPreset(Answer):
    """A rule to begin with."""

    title: str
    rule: RoutingRule


@dataclass(frozen=True, slots=True)
class RuleChanges:
    """How two documents differ, by names of rules."""

    added: list[str]
    removed: list[str]
    changed: list[str]
    reordered: bool

    @property
    def any(self) -> bool:
        """Whether they differ."""
        return bool(self.added or self.removed or self.changed or self.reordered)

    @property
    def words(self) -> str:
        """What has changed, for the transaction log."""
        told = [
            f"{word} {', '.join(names)}"
            for word, names in (
                ("added", self.added),
                ("removed", self.removed),
                ("changed", self.changed),
            )
            if names
        ]
        return "; ".join([*told, "reordered"] if self.reordered else told)


def rule_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> RuleChanges:
    """Return how two stored documents differ."""
    old = {rule["name"]: rule for rule in before.get("rules", ())}
    new = {rule["name"]: rule for rule in after.get("rules", ())}
    return RuleChanges(
        added=[name for name in new if name not in old],
        removed=[name for name in old if name not in new],
        changed=[name for name in new if name in old and new[name] != old[name]],
        reordered=[name for name in new if name in old] != [name for name in old if name in new],
    )
