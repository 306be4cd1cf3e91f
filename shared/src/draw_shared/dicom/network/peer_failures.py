"""How the peer of an association that we request fails; the type decides whether to retry.

The messages are for operators, who call a peer a node.
"""

from collections.abc import Mapping
from typing import Final

from draw_shared.errors import Permanent, Transient
from draw_shared.wording import message

REJECTED_TRANSIENT: Final = 2
CONGESTION: Final = frozenset({(3, 1), (3, 2)})
"""(source, reason): temporary congestion, local limit exceeded (PS3.8 9.3.4)."""
REJECTIONS: Final[Mapping[tuple[int, int], str]] = {
    (1, 1): message("no reason given"),
    (1, 2): message("it does not support the application context"),
    (1, 3): message("it does not know our AE title"),
    (1, 7): message("it does not go by the called AE title"),
    (2, 1): message("no reason given"),
    (2, 2): message("it does not support the protocol version"),
    (3, 1): message("temporary congestion"),
    (3, 2): message("its limit of associations is reached"),
}
"""(source, reason) of A-ASSOCIATE-RJ in words (PS3.8 9.3.4)."""


class PeerTrouble(Transient):
    """The peer does not work at the moment."""


class Unreachable(PeerTrouble):
    """No TCP or TLS connection."""


class PeerTimeout(PeerTrouble):
    """The peer did not answer in time, or made no progress."""


class PeerAborted(PeerTrouble):
    """The peer aborted, closed the connection or sent something that is not DICOM."""


class PeerTurnedAway(PeerAborted):
    """The peer ended the association or the connection before its first answer.

    Nodes without a free place do this if they cannot say so (PS3.8 9.3.4).
    """


class PeerBrokeProtocol(PeerAborted):
    """The peer violated PS3.7 or PS3.8, and was aborted."""


class PeerBusy(PeerTrouble):
    """The peer rejected the association for now (rejected-transient, PS3.8 9.3.4)."""


class PeerCongested(Transient):
    """The peer accepts no further association for now and says so; it is not in trouble.

    Temporary congestion or local limit exceeded (PS3.8 9.3.4).
    """


class PeerRejected(Permanent):
    """The peer rejected the association permanently (rejected-permanent, PS3.8 9.3.4)."""


class NotSupported(Permanent):
    """The peer accepted no presentation context for the task."""


def rejection(result: int, source: int, reason: int) -> PeerRejected | PeerBusy | PeerCongested:
    """Return the failure that an A-ASSOCIATE-RJ stands for."""
    words = REJECTIONS.get(
        (source, reason),
        message("source %(source)s, reason %(reason)s", source=source, reason=reason),
    )
    if result != REJECTED_TRANSIENT:
        return PeerRejected(message("the node rejected the association: %(words)s", words=words))
    if (source, reason) in CONGESTION:
        return PeerCongested(
            message("the node takes no further association for now: %(words)s", words=words)
        )
    return PeerBusy(message("the node rejected the association for now: %(words)s", words=words))
