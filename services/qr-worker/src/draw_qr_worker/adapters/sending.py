"""C-STORE to a node: stored bytes go out as they lie, a few associations one after the other."""

import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Final, Protocol

import structlog

from draw_qr_worker.adapters.throttle import Throttle, rate_of
from draw_qr_worker.models import (
    Node,
    PeerAborted,
    PeerBusy,
    PeerCongested,
    PeerRefused,
    PeerTimeout,
    StoredObject,
    Supervision,
    Unreachable,
)
from draw_shared.dicom import part10, requestor
from draw_shared.dicom.message_reader import ReleasedByPeer
from draw_shared.dicom.pdu import ProtocolViolation
from draw_shared.dicom.requestor import Outgoing, Remote, contexts_for, open_association
from draw_shared.dicom.scan import Undecodable
from draw_shared.dicom.service import StoredFile
from draw_shared.dicom.wire import PeerTooSlow

log = structlog.get_logger()

MOST_CONTEXTS: Final = 128

Answered = Callable[[StoredObject, int | None], None]


class Stoppable(Supervision, Protocol):
    """An execution whose end can interrupt a wait."""

    def on_end(self, interrupt: Callable[[], None]) -> None:
        """Have `interrupt` called when the execution shall stop."""


class Senders:
    """Sends to nodes."""

    def __init__(
        self, root: Path, own_ae: Callable[[Node], str], tls: ssl.SSLContext | None
    ) -> None:
        self._root = root
        self._own_ae = own_ae
        self._tls = tls

    def send(
        self, node: Node, objects: Sequence[StoredObject], control: Stoppable, answered: Answered
    ) -> None:
        """Send objects as they are stored and tell each answer.

        Raises:
            NodeTrouble | PeerRefused | PeerCongested: the association was not possible, or broke.
        """
        remote = Remote(
            node.host,
            node.port,
            node.ae_title,
            self._own_ae(node),
            timeout_seconds=node.timeout_seconds,
            tls=self._tls if node.tls else None,
        )
        throttle = Throttle(rate_of(node), control)
        for group in by_contexts(objects):
            control.check()
            with _failures_typed(node):
                self._send_group(remote, group, control, throttle, answered)

    def _send_group(
        self,
        remote: Remote,
        group: Sequence[StoredObject],
        control: Stoppable,
        throttle: Throttle,
        answered: Answered,
    ) -> None:
        held = {one.item.sop_instance_uid: one for one in group}

        def outgoing() -> Iterator[Outgoing]:
            for one in group:
                control.check()
                made = self._outgoing(one)
                if made is None:
                    answered(one, None)
                    continue
                throttle.used(one.size_bytes)
                yield made

        pairs = ((one.item.sop_class_uid, one.transfer_syntax_uid) for one in group)
        with open_association(remote, contexts_for(pairs)) as association:
            control.on_end(association.interrupt)
            for sent in association.store(outgoing()):
                answered(held[sent.outgoing.sop_instance_uid], sent.status)
            control.on_end(lambda: None)

    def _outgoing(self, one: StoredObject) -> Outgoing | None:
        """Return an object as it is sent, or None when its file cannot be read."""
        path = self._root / one.path
        sop_class, sop_instance = one.item.sop_class_uid, one.item.sop_instance_uid
        try:
            with path.open("rb") as file:
                _, offset = part10.decode(file.read(part10.LONGEST_META))
        except (OSError, Undecodable) as error:
            log.warning(
                "send.file_unreadable", sop_instance_uid=sop_instance, error=type(error).__name__
            )
            return None
        data = StoredFile(str(path), offset, sop_class, sop_instance)
        return Outgoing(data, sop_class, sop_instance, one.transfer_syntax_uid)


def by_contexts(objects: Sequence[StoredObject]) -> Iterator[list[StoredObject]]:
    """Yield groups that need at most 128 presentation contexts each."""

    def pair(one: StoredObject) -> tuple[str, str]:
        return one.item.sop_class_uid, one.transfer_syntax_uid

    # Stable: within one pair the order of the series stays.
    kinds = [list(group) for _, group in groupby(sorted(objects, key=pair), key=pair)]
    for at in range(0, len(kinds), MOST_CONTEXTS):
        yield [one for kind in kinds[at : at + MOST_CONTEXTS] for one in kind]


@contextmanager
def _failures_typed(node: Node) -> Iterator[None]:
    """Turn what the requestor raises into the failures that jobs know."""
    try:
        yield
    except requestor.Unreachable as error:
        raise Unreachable(f"no connection to {node.host}:{node.port}: {error}") from error
    except requestor.RejectedNow as error:
        if error.congestion:
            raise PeerCongested(
                f"the node takes no further association for now: {error}"
            ) from error
        raise PeerBusy(f"the node rejected the association for now: {error}") from error
    except requestor.Rejected as error:
        raise PeerRefused(f"the node rejected the association: {error}") from error
    except PeerTooSlow as error:
        raise PeerTimeout(f"no answer within {node.timeout_seconds} s") from error
    except (ConnectionError, ReleasedByPeer) as error:
        raise PeerAborted("the node ended the association in the middle") from error
    except ProtocolViolation as error:
        raise PeerAborted(f"the node broke the protocol: {error}") from error
