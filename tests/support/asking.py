"""What the worker asks of nodes, each in one call, for tests of what nodes answer."""

import threading
import time
from contextlib import suppress
from types import SimpleNamespace

from draw_qr_worker.adapters.getting import GetAssociations
from draw_qr_worker.adapters.remote_node import RemoteNodes
from draw_qr_worker.models import RemoteNode
from draw_shared.dicom.network.peer_trust import PeerTrusts
from draw_shared.errors import DrawError

AE = "FAULTY"
CT = "1.2.840.10008.5.1.4.1.1.2"
STORAGE_CONTEXT = 3
"""The context of the first storage class in a C-GET."""
NODES = RemoteNodes(lambda: "DRAW", PeerTrusts())


class Going:
    """An execution that goes on."""

    def ended(self):
        return False

    def check(self):
        pass

    def pause(self, seconds):
        pass


class Dropping:
    """A way in that keeps nothing but the number of bytes."""

    def __init__(self):
        self.size = 0

    def begin(self, _info, _request):
        return self

    def write(self, chunk):
        self.size += len(chunk)

    def complete(self):
        identity = SimpleNamespace(study_instance_uid="1.2", series_instance_uid="1.2.1")
        return SimpleNamespace(identity=identity, size_bytes=self.size)

    def abandon(self):
        pass


def node(port, timeout_seconds=5):
    return RemoteNode(1, "node", AE, "127.0.0.1", port, timeout_seconds=timeout_seconds)


def echo(port):
    NODES.echo(node(port), Going())


def probe(port):
    NODES.probe(node(port), Going())


def find(port, study="1.2"):
    with NODES.finder(node(port), Going()) as finder:
        named = {"StudyInstanceUID": study}
        keys = {**named, "PatientName": "", "ModalitiesInStudy": "", "StudyDate": ""}
        finder.find("STUDY", keys, lambda _match: None)
        finder.find("IMAGE", {**named, "SOPInstanceUID": ""}, lambda _match: None)


def move(port, study="1.2"):
    NODES.move(
        node(port),
        "STUDY",
        {"StudyInstanceUID": study},
        destination="DRAW",
        supervision=Going(),
        progress=lambda _counts: None,
        alive=lambda: False,
    )


def get(port, study="1.2", *, receiver=None, max_object_bytes=1 << 30):
    """Fetch CT images of a study; return the end and the UIDs of what was stored."""
    stored = []
    end = GetAssociations(NODES, receiver or Dropping(), lambda: max_object_bytes).get(
        node(port),
        "STUDY",
        {"StudyInstanceUID": study},
        sop_classes=[CT],
        further_classes=False,
        supervision=Going(),
        progress=lambda _counts: None,
        stored=stored.append,
    )
    return end, [one.sop_instance_uid for one in stored]


def ask_again_and_again(ports, large_port, results):
    """Query nodes that lie until one large object has come; then tell how much, and how often.

    Runs in a process of its own, whose memory is followed: it says when it begins.
    """
    asked, receiver, over = [], Dropping(), threading.Event()

    def ask(port):
        while not over.is_set():
            try:
                find(port)
            except DrawError as error:
                asked.append(type(error).__name__)

    with suppress(DrawError):
        # What is loaded with the first answer is loaded then.
        find(ports[0])
    results.put("begun")
    time.sleep(1)
    threads = [threading.Thread(target=ask, args=(port,)) for port in ports]
    for thread in threads:
        thread.start()
    get(large_port, receiver=receiver)
    over.set()
    for thread in threads:
        thread.join()
    results.put((receiver.size, asked))
