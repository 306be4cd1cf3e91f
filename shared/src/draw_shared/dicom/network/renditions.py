"""Yields the transfer syntaxes in which a peer can have an object.

The stored one comes first, if the peer accepts it. If it does not, or that fails, the
uncompressed ones follow that the peer accepts.
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
    """Yield an object in every transfer syntax that the peer accepts, the best first.

    Args:
        path: its file.
        transfer_syntax_uid: its stored transfer syntax.
        stored: returns the object as it is stored.
        takes: returns whether the peer has accepted a transfer syntax for its SOP class.
        transcoder: converts it to other transfer syntaxes while they are sent.

    Raises:
        Permanent: the file cannot be read.
    """
    if takes(transfer_syntax_uid):
        yield Rendition(stored(), transfer_syntax_uid)
    for syntax in _TARGETS:
        if syntax != transfer_syntax_uid and takes(syntax):
            yield Rendition(Transcoded(transcoder, path, syntax), syntax)
