"""In which transfer syntaxes a peer can have an object.

As it is stored if the peer takes that; else, or if that fails, in the uncompressed transfer
syntaxes that it takes, one after the other.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from draw_shared.dicom.encoding.uids import DEFLATED_LITTLE, UNCOMPRESSED
from draw_shared.dicom.network.service import Sendable
from draw_shared.dicom.transcoding.transcoder import Transcoded, Transcoder

_TARGETS: Final = (*UNCOMPRESSED, DEFLATED_LITTLE)


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
