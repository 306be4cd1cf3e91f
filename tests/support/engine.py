"""An acceptor of the association engine with a provider that remembers what it was given."""
# ruff: noqa: ARG002 - the provider's methods have the port's arguments

import threading
import time
from contextlib import contextmanager

from draw_shared.contracts.association_rules import access_rules, capabilities
from draw_shared.contracts.server_config import EVERYTHING
from draw_shared.dicom.network import listening as listening_socket
from draw_shared.dicom.network.acceptor import Acceptor, Door
from draw_shared.dicom.network.authorization import authorize
from draw_shared.dicom.network.limits import DEFAULT_LIMITS
from draw_shared.dicom.network.service import (
    Matches,
    OperationRefused,
    RetrieveEnd,
    SubOperations,
)
from draw_shared.dicom.network.statuses import DimseStatus


class MemorySink:
    """Keeps one data set."""

    def __init__(self, provider, request):
        self._provider = provider
        self._request = request
        self._data = bytearray()
        self.abandoned = False

    def write(self, chunk):
        if self._provider.refuse_while_writing:
            raise OperationRefused(DimseStatus.OUT_OF_RESOURCES, "full")
        self._provider.seen_bytes += len(chunk)
        if self._provider.keep:
            self._data += chunk

    def commit(self):
        self._provider.stored.append((self._request, bytes(self._data)))
        return DimseStatus.SUCCESS.value

    def abandon(self):
        self._provider.abandoned += 1


class RecordingProvider:
    """Answers everything; what it answers can be set."""

    def __init__(self, config=EVERYTHING, listed=(), *, loopback_reads=True):
        self.rules = access_rules(config, listed, loopback_reads=loopback_reads)
        self.offered = capabilities(config)
        self.keep = True
        self.seen_bytes = 0
        self.stored = []
        self.abandoned = 0
        self.infos = []
        self.ended = []
        self.rejections = []
        self.matches = []
        self.objects = []
        self.sub_statuses = []
        self.refuse_while_writing = False
        self.refuse_store = None
        self.gate = None

    def admit(self, peer, request):
        return authorize(peer, request, self.rules, self.offered)

    def opened(self, info):
        self.infos.append(info)

    def closed(self, info, outcome, reason):
        self.ended.append((outcome, reason))

    def rejected(self, peer, request, reject):
        self.rejections.append(reject)

    def echo(self, info):
        return DimseStatus.SUCCESS.value

    def store(self, info, request):
        if self.refuse_store is not None:
            raise OperationRefused(self.refuse_store, "no")
        return MemorySink(self, request)

    def find(self, info, request, cancelled):
        for identifier in self.matches:
            if self.gate is not None:
                waited_until = time.monotonic() + 5
                while not self.gate(cancelled) and time.monotonic() < waited_until:
                    time.sleep(0.01)
            yield Matches([identifier], DimseStatus.PENDING)

    def get(self, info, request, channel, cancelled):
        done = 0
        for syntax, sop, data in self.objects:
            context_id = channel.context_for(sop[0], syntax)
            if context_id is not None:
                self.sub_statuses.append(channel.store(data, context_id, sop))
                done += 1
            left = len(self.objects) - done
            yield SubOperations(left, done, 0, 0)
        yield RetrieveEnd(DimseStatus.SUCCESS, SubOperations(0, done, 0, 0))

    def move(self, info, request, cancelled):
        raise OperationRefused(DimseStatus.MOVE_DESTINATION_UNKNOWN)


@contextmanager
def listening(provider=None, limits=DEFAULT_LIMITS, tls=None):
    """Yield a started acceptor on a free port of the loopback address, and its provider."""
    provider = provider or RecordingProvider()
    acceptor = Acceptor(
        [Door(listening_socket.listen("127.0.0.1", 0), tls)],
        provider,
        lambda: limits,
    )
    acceptor.start()
    try:
        yield acceptor, provider
    finally:
        acceptor.stop(2)


def engine_threads():
    """Return the engine's threads that are alive."""
    return [t for t in threading.enumerate() if t.name.startswith("dicom-")]
