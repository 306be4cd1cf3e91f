"""Decides which presentation contexts and roles are accepted (PS3.8 9.3.3.2, PS3.7 D.3.3.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from draw_shared.dicom.encoding import uids
from draw_shared.dicom.network.associate import (
    AssociateRequest,
    ContextResult,
    ProposedContext,
    Roles,
)
from draw_shared.dicom.network.message import Operation
from draw_shared.dicom.network.rights import Right
from draw_shared.dicom.network.service import Accept

ACCEPTED: Final = 0
USER_REJECTION: Final = 1
ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED: Final = 4

RELATIONAL: Final = 1
"""Extended negotiation of query models: byte 1 is relational queries, 2 combined date-time."""
STORAGE_ANSWER: Final = bytes((2, 0, 3, 0, 0, 0))
"""Extended negotiation of storage (PS3.4 B.3.1): all attributes are stored (level 2), digital
signatures are preserved bit by bit (level 3), nothing is coerced."""

_CLASSES_OF: Final[Mapping[int, frozenset[str]]] = {
    Operation.C_ECHO: frozenset((uids.VERIFICATION,)),
    Operation.C_FIND: frozenset(uids.FIND_MODELS),
    Operation.C_MOVE: frozenset(uids.MOVE_MODELS),
    Operation.C_GET: frozenset(uids.GET_MODELS),
}


_RIGHTS: Final[Mapping[str, Right]] = {
    uids.VERIFICATION: Right.ECHO,
    **dict.fromkeys(uids.FIND_MODELS, Right.QUERY),
    **dict.fromkeys(uids.GET_MODELS, Right.RETRIEVE),
    **dict.fromkeys(uids.MOVE_MODELS, Right.MOVE),
}
"""Rights by the SOP classes that need them; all other classes are storage."""

ALL_RIGHTS: Final = frozenset(Right)


def belongs(operation: int, abstract_syntax: str) -> bool:
    """Return whether an operation is allowed in a presentation context of this class."""
    return operation not in _CLASSES_OF or abstract_syntax in _CLASSES_OF[operation]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What is offered now, for storage and for other services."""

    storage: frozenset[str] = uids.ALL_STORAGE
    """UIDs of the storage SOP classes."""
    promiscuous: bool = False
    """Whether to add every SOP class that the standard does not define for another service."""
    storage_syntaxes: frozenset[str] = uids.ALL_TRANSFER_SYNTAXES
    receives: bool = True
    """Whether objects are received by C-STORE."""
    sends_back: bool = False
    """Whether objects are sent by C-GET; the requestor then acts as SCP of their classes."""
    models: frozenset[str] = frozenset()
    """SOP classes of C-FIND, C-MOVE and C-GET, whose extended negotiation is answered."""
    verification: bool = True

    def stores(self, sop_class: str) -> bool:
        """Return whether objects of this SOP class are received or sent back."""
        return (self.receives or self.sends_back) and (
            sop_class in self.storage or (self.promiscuous and sop_class not in uids.OTHER_CLASSES)
        )

    def syntaxes(self, sop_class: str) -> frozenset[str] | None:
        """Return the transfer syntaxes offered for a SOP class, or None if it is not offered."""
        if sop_class in self.models or (self.verification and sop_class == uids.VERIFICATION):
            return frozenset(uids.MESSAGE_SYNTAXES)
        return self.storage_syntaxes if self.stores(sop_class) else None

    def restrict_to(self, rights: frozenset[Right]) -> "Capabilities":
        """Return what is offered to a peer with these rights."""
        if rights >= ALL_RIGHTS:
            return self
        return replace(
            self,
            receives=self.receives and Right.STORE in rights,
            sends_back=self.sends_back and Right.RETRIEVE in rights,
            models=frozenset(one for one in self.models if _RIGHTS[one] in rights),
            verification=self.verification and Right.ECHO in rights,
        )


def right_for(sop_class: str) -> Right:
    """Return the right that a presentation context of this class needs."""
    return _RIGHTS.get(sop_class, Right.STORE)


def negotiate(
    request: AssociateRequest, offers: Capabilities, rights: frozenset[Right] = ALL_RIGHTS
) -> Accept:
    """Return the answer to every proposed context; the requestor's order of syntaxes decides.

    A context that is offered, but not to a peer with these rights, gets user-rejection.
    """
    offered = offers.restrict_to(rights)
    roles = _roles(request, offered)
    results = tuple(_result(context, offered, roles) for context in request.contexts)
    denied: tuple[Right, ...] = ()
    if offered is not offers:
        results, denied = _with_rejections(request, results, offers)
    extended = {
        sop_class: _grant_extension(information)
        for sop_class, information in request.user.extended.items()
        if sop_class in offered.models
    }
    for sop_class in request.user.extended:
        if offered.receives and offered.stores(sop_class):
            extended[sop_class] = STORAGE_ANSWER
    return Accept(results, roles, extended, rights, denied)


def _roles(request: AssociateRequest, offered: Capabilities) -> dict[str, Roles]:
    return {
        sop_class: Roles(
            scu=asked.scu and not _only_sent(sop_class, offered),
            scp=asked.scp and offered.sends_back and offered.stores(sop_class),
        )
        for sop_class, asked in request.user.roles.items()
        if offered.syntaxes(sop_class) is not None
    }


def _with_rejections(
    request: AssociateRequest, results: tuple[ContextResult, ...], offers: Capabilities
) -> tuple[tuple[ContextResult, ...], tuple[Right, ...]]:
    """Return results that mark contexts for which only a right is missing, and those rights.

    `results` are for what is offered to the peer, `offers` for a peer with all rights.
    """
    roles = _roles(request, offers)
    found: list[ContextResult] = []
    denied: set[Right] = set()
    for context, result in zip(request.contexts, results, strict=True):
        if result.result != ACCEPTED and _result(context, offers, roles).result == ACCEPTED:
            denied.add(right_for(context.abstract_syntax))
            result = replace(result, result=USER_REJECTION)  # noqa: PLW2901 - said otherwise
        found.append(result)
    return tuple(found), tuple(right for right in Right if right in denied)


def _only_sent(sop_class: str, offered: Capabilities) -> bool:
    """Return whether objects of this class leave by C-GET but are not received."""
    return not offered.receives and offered.stores(sop_class)


def _result(
    context: ProposedContext, offered: Capabilities, roles: Mapping[str, Roles]
) -> ContextResult:
    sop_class = context.abstract_syntax
    syntaxes = offered.syntaxes(sop_class)
    first = context.transfer_syntaxes[0]
    if syntaxes is None or (
        _only_sent(sop_class, offered) and not (sop_class in roles and roles[sop_class].scp)
    ):
        return ContextResult(context.context_id, ABSTRACT_SYNTAX_NOT_SUPPORTED, first)
    chosen = _first_of(context.transfer_syntaxes, syntaxes)
    if chosen is None:
        return ContextResult(context.context_id, TRANSFER_SYNTAXES_NOT_SUPPORTED, first)
    return ContextResult(context.context_id, ACCEPTED, chosen)


def _first_of(proposed: Sequence[str], accepted: frozenset[str]) -> str | None:
    return next((syntax for syntax in proposed if syntax in accepted), None)


def _grant_extension(asked: bytes) -> bytes:
    """Grant relational queries and combined date-time matching, nothing else (PS3.4 C.5.1.1)."""
    granted = bytearray(len(asked))
    for position in (0, 1):
        if position < len(asked) and asked[position] == RELATIONAL:
            granted[position] = 1
    return bytes(granted)
