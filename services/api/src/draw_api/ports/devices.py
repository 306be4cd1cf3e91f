"""Ports of what connecting a device needs: recent calls, and the receivers."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from draw_api.models.devices import PeerLine


class CallRepository(Protocol):
    """The newest lines of the transaction log about peers."""

    def newest(self, since: datetime) -> Sequence[PeerLine]:
        """Return the newest associations, rejections and C-ECHOs of any peer, newest first."""

    def newest_of(self, ae_title: str, since: datetime) -> Sequence[PeerLine]:
        """Return the newest lines of one calling AE title, newest first."""
