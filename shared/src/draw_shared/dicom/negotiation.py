"""Which proposed presentation contexts and roles are accepted (PS3.8 9.3.3.2, PS3.7 D.3.3.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from draw_shared.contracts.server_config import ServerConfig
from draw_shared.dicom import uids
from draw_shared.dicom.associate import AssociateRequest, ContextResult, ProposedContext, Roles
from draw_shared.dicom.message import Operation
from draw_shared.dicom.service import Accept

ACCEPTED: Final = 0
ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED: Final = 4

RELATIONAL: Final = 1
"""Extended negotiation of query models: byte 1 relational queries, byte 2 combined date-time."""
STORAGE_ANSWER: Final = bytes((2, 0, 3, 0, 0, 0))
"""Extended negotiation of storage (PS3.4 B.3.1): every attribute is kept (level 2), digital
signatures bit by bit (level 3), nothing is coerced."""

_CLASSES_OF: Final[Mapping[int, frozenset[str]]] = {
    Operation.C_ECHO: frozenset((uids.VERIFICATION,)),
    Operation.C_FIND: frozenset(uids.FIND_MODELS),
    Operation.C_MOVE: frozenset(uids.MOVE_MODELS),
    Operation.C_GET: frozenset(uids.GET_MODELS),
}


def belongs(operation: int, abstract_syntax: str) -> bool:
    """Return whether an operation may come in a presentation context of this class."""
    return operation not in _CLASSES_OF or abstract_syntax in _CLASSES_OF[operation]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What is offered now: transfer syntaxes by abstract syntax, and which classes take roles."""

    syntaxes: Mapping[str, frozenset[str]]
    reversible: frozenset[str]
    """Storage SOP classes for which the requestor may act as SCP, for C-GET."""
    received: frozenset[str]
    """Storage SOP classes that are received, by C-STORE."""
    negotiable: frozenset[str]
    """SOP classes of C-FIND, C-MOVE and C-GET whose extended negotiation is answered."""


def capabilities(config: ServerConfig) -> Capabilities:
    """Return what a configuration offers."""
    services = config.services
    plain = frozenset(uids.MESSAGE_SYNTAXES)
    offered: dict[str, frozenset[str]] = {}
    storage = uids.storage_classes(config.sop_classes)
    if services.c_store or services.c_get:
        syntaxes = uids.storage_syntaxes(config.transfer_syntaxes)
        offered.update(dict.fromkeys(storage, syntaxes))
    models: list[str] = []
    for wanted, found in (
        (services.c_find, uids.FIND_MODELS),
        (services.c_move, uids.MOVE_MODELS),
        (services.c_get, uids.GET_MODELS),
    ):
        if wanted:
            models += found
    offered.update(dict.fromkeys(models, plain))
    if services.c_echo:
        offered[uids.VERIFICATION] = plain
    nothing: frozenset[str] = frozenset()
    return Capabilities(
        offered,
        storage if services.c_get else nothing,
        storage if services.c_store else nothing,
        frozenset(models),
    )


def negotiate(request: AssociateRequest, offered: Capabilities) -> Accept:
    """Return the answer to every proposed context; the requestor's order of syntaxes decides."""
    roles = {
        sop_class: Roles(
            scu=asked.scu and not _only_sent(sop_class, offered),
            scp=asked.scp and sop_class in offered.reversible,
        )
        for sop_class, asked in request.user.roles.items()
        if sop_class in offered.syntaxes
    }
    results = tuple(_result(context, offered, roles) for context in request.contexts)
    extended = {
        sop_class: _granted_extension(information)
        for sop_class, information in request.user.extended.items()
        if sop_class in offered.negotiable
    }
    for sop_class in request.user.extended.keys() & offered.received:
        extended[sop_class] = STORAGE_ANSWER
    return Accept(results, roles, extended)


def _only_sent(sop_class: str, offered: Capabilities) -> bool:
    """Return whether objects of this class leave by C-GET but are not received."""
    return sop_class in offered.reversible and sop_class not in offered.received


def _result(
    context: ProposedContext, offered: Capabilities, roles: Mapping[str, Roles]
) -> ContextResult:
    sop_class = context.abstract_syntax
    syntaxes = offered.syntaxes.get(sop_class)
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


def _granted_extension(asked: bytes) -> bytes:
    """Grant relational queries and combined date-time matching, nothing else (PS3.4 C.5.1.1)."""
    granted = bytearray(len(asked))
    for position in (0, 1):
        if position < len(asked) and asked[position] == RELATIONAL:
            granted[position] = 1
    return bytes(granted)
