"""In which transfer syntaxes a peer can have an object, and what is proposed for that.

As it is stored if the peer takes that; else, or if that fails, in the uncompressed transfer
syntaxes that it takes, one after the other.
"""

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from draw_shared.dicom.associate import ProposedContext
from draw_shared.dicom.service import Sendable
from draw_shared.dicom.transcoding.transcoder import Transcoded, Transcoder
from draw_shared.dicom.uids import (
    DEFLATED_LITTLE,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    UNCOMPRESSED,
)

MOST_CONTEXTS: Final = 128
_TARGETS: Final = (*UNCOMPRESSED, DEFLATED_LITTLE)

Object = TypeVar("Object")
Contexts = dict[str, list[str]]
"""Transfer syntaxes that are proposed for each SOP class, each in a context of its own."""


class Rendition(NamedTuple):
    """An object in one transfer syntax."""

    data: Sendable
    transfer_syntax_uid: str


def renditions(
    path: Path,
    transfer_syntax_uid: str,
    stored: Callable[[], Sendable],
    takes: Callable[[str], bool],
    transcoder: Transcoder,
) -> Iterator[Rendition]:
    """Yield an object in every transfer syntax that a peer takes, best first.

    Args:
        path: its file.
        transfer_syntax_uid: in which it is stored.
        stored: returns it as it lies.
        takes: says whether the peer has accepted a transfer syntax for its SOP class.
        transcoder: makes the others of it, when they are sent.

    Raises:
        Permanent: it cannot be read.
    """
    if takes(transfer_syntax_uid):
        yield Rendition(stored(), transfer_syntax_uid)
    for syntax in _TARGETS:
        if syntax != transfer_syntax_uid and takes(syntax):
            yield Rendition(Transcoded(transcoder, path, syntax), syntax)


def proposals(
    objects: Iterable[Object], kind: Callable[[Object], tuple[str, str]]
) -> list[tuple[Contexts, deque[Object]]]:
    """Return objects in groups that need at most 128 contexts, with the contexts of each.

    `kind` returns SOP class and transfer syntax of an object.
    """
    by_class: dict[str, list[Object]] = {}
    for one in objects:
        by_class.setdefault(kind(one)[0], []).append(one)
    found: list[tuple[Contexts, deque[Object]]] = []
    room = 0
    for sop_class, members in by_class.items():
        stored = dict.fromkeys(kind(one)[1] for one in members)
        syntaxes = list(stored | dict.fromkeys((EXPLICIT_LITTLE, IMPLICIT_LITTLE)))[:MOST_CONTEXTS]
        if not found or len(syntaxes) > room:
            found.append(({}, deque()))
            room = MOST_CONTEXTS
        room -= len(syntaxes)
        found[-1][0][sop_class] = syntaxes
        found[-1][1].extend(members)
    return found


def put_last(
    left: deque[Object], kind: Callable[[Object], tuple[str, str]], classes: Container[str]
) -> None:
    """Let objects of other SOP classes go first, each in the order that they had."""
    taken: list[Object] = []
    with suppress(IndexError):
        # Other threads may take from it meanwhile.
        while True:
            taken.append(left.popleft())
    left.extend(sorted(taken, key=lambda one: kind(one)[0] in classes))


def proposed(contexts: Contexts) -> list[ProposedContext]:
    """Return the contexts of a group, one for each transfer syntax."""
    pairs = [(sop_class, one) for sop_class, syntaxes in contexts.items() for one in syntaxes]
    return [
        ProposedContext(2 * n + 1, sop_class, (syntax,))
        for n, (sop_class, syntax) in enumerate(pairs)
    ]
