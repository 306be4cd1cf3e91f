"""Presentation contexts that we propose, and groups of objects that fit one association."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from draw_shared.dicom.network.associate import MAX_CONTEXTS, ProposedContext

Object = TypeVar("Object")
Contexts = tuple[ProposedContext, ...]


def number_contexts(proposals: Iterable[tuple[str, tuple[str, ...]]]) -> Contexts:
    """Return one context with an odd id for each abstract syntax and its transfer syntaxes."""
    return tuple(
        ProposedContext(2 * position + 1, abstract_syntax, transfer_syntaxes)
        for position, (abstract_syntax, transfer_syntaxes) in enumerate(proposals)
    )


def contexts_for(objects: Iterable[tuple[str, str]]) -> Contexts:
    """Return one context for each different (SOP class, transfer syntax), for at most 128.

    Each has one syntax, so the peer accepts an object as it is stored or not at all.
    """
    pairs = list(dict.fromkeys(objects))[:MAX_CONTEXTS]
    return number_contexts((sop_class, (syntax,)) for sop_class, syntax in pairs)


def group_by_contexts(
    objects: Iterable[Object], kind: Callable[[Object], tuple[str, str]]
) -> list[tuple[Contexts, deque[Object]]]:
    """Return groups of objects that need at most 128 contexts each, with their contexts.

    `kind` returns the SOP class and transfer syntax of an object. Each class is proposed in the
    syntaxes in which its objects are stored, and in the two that every peer should accept.
    """
    by_class: dict[str, list[Object]] = {}
    for one in objects:
        by_class.setdefault(kind(one)[0], []).append(one)
    groups: list[tuple[list[tuple[str, str]], deque[Object]]] = []
    for sop_class, members in by_class.items():
        stored = dict.fromkeys(kind(one)[1] for one in members)
        syntaxes = list(stored | dict.fromkeys((EXPLICIT_LITTLE, IMPLICIT_LITTLE)))[:MAX_CONTEXTS]
        if not groups or len(groups[-1][0]) + len(syntaxes) > MAX_CONTEXTS:
            groups.append(([], deque()))
        pairs, left = groups[-1]
        pairs += [(sop_class, syntax) for syntax in syntaxes]
        left.extend(members)
    return [(contexts_for(pairs), left) for pairs, left in groups]
