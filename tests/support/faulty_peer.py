"""A remote node of our own that answers properly, except for the fault it is told to have.

It stands on the association engine. `FaultyPeer` withholds objects, is slow, truncates
queries, ends operations with a status or takes few associations; `broken` listens and does
what no node should do at all; `resetting` stands before a good node and cuts connections in
the middle.
"""
# ruff: noqa: ARG002 - the provider's methods have the port's arguments

import select
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode, encode

from draw_qr_worker.models import StatusPermanent
from draw_shared.dicom.encoding import uids
from draw_shared.dicom.encoding.characters import TEXT_VRS
from draw_shared.dicom.network.contexts import contexts_for
from draw_shared.dicom.network.pdu import reject
from draw_shared.dicom.network.requestor import Remote
from draw_shared.dicom.network.service import (
    Matches,
    OperationRefused,
    Reject,
    RetrieveEnd,
    SubOperations,
)
from draw_shared.dicom.network.statuses import DimseStatus
from draw_shared.dicom.network.store_sender import Outgoing, open_sender
from support.engine import RecordingProvider, listening
from support.receptions import encoded

AE = "FAULTY"
BREAK = "break"
"""A fault in `faults_of`: the association ends in the middle; others are statuses."""
LEVELS = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}


MODELS = {
    uids.STUDY_ROOT_FIND: "study",
    uids.PATIENT_ROOT_FIND: "patient",
    uids.PATIENT_STUDY_ONLY_FIND: "patient_study",
}


class FaultyPeer(RecordingProvider):
    """Has `objects`; each fault is an attribute that a test sets."""

    def __init__(self, objects=(), destination_port=0):
        super().__init__()
        self.objects = list(objects)
        self.destination_port = destination_port
        self.withheld = set()
        self.pause_seconds = 0.0
        self.find_limit = 0
        self.limit_status = DimseStatus.SUCCESS
        self.find_refusal = None
        self.answers = None
        """A generated node that answers queries in its place."""
        self.find_pause_seconds = 0.0
        self.syntaxes = []
        self.faults_of = {}
        self.retrieve_refusal = None
        self.final_status = None
        self.abort_after = None
        self.requests = []
        self.finds = []
        self.cancels_heeded = 0
        self.heeds_cancel = True
        self.undeclared_utf_8 = False
        self.association_limit = 0
        self.most_open = 0

    def admit(self, peer, request):
        if self.association_limit and len(self.infos) - len(self.ended) >= self.association_limit:
            return Reject(2, 3, 2, "local limit exceeded")
        return super().admit(peer, request)

    def opened(self, info):
        super().opened(info)
        self.most_open = max(self.most_open, len(self.infos) - len(self.ended))

    def find(self, info, request, cancelled):
        if self.find_refusal is not None:
            raise OperationRefused(self.find_refusal)
        asked = _decoded(request)
        self.finds.append(asked)
        self.syntaxes.append(request.context.abstract_syntax)
        if self.answers is not None:
            yield from self._answered(asked, request)
            return
        faults = self.faults_of.get(str(asked.get("PatientID") or ""))
        if faults:
            fault = faults.pop(0)
            raise RuntimeError("told to break") if fault is BREAK else OperationRefused(fault)
        matches = list(self._matches(asked))
        cut = self.find_limit and len(matches) > self.find_limit
        for match in matches[: self.find_limit or None]:
            if cancelled():
                raise OperationRefused(DimseStatus.CANCELLED)
            time.sleep(self.find_pause_seconds)
            yield Matches([_encoded(match, request)], DimseStatus.PENDING)
        if cut and self.limit_status != DimseStatus.SUCCESS:
            raise OperationRefused(self.limit_status)

    def _answered(self, asked, request):
        keys = {element.keyword: _key(element) for element in asked}
        level, rows = keys.pop("QueryRetrieveLevel"), []
        model = MODELS[request.context.abstract_syntax]
        try:
            end = self.answers.find(level, keys, rows.append, model=model)
        except StatusPermanent as error:
            raise OperationRefused(DimseStatus.DATA_SET_DOES_NOT_MATCH) from error
        pending = (
            DimseStatus.PENDING_WITHOUT_OPTIONAL_KEYS
            if self.answers.ignored
            else DimseStatus.PENDING
        )
        for row in rows:
            answer = Dataset()
            answer.QueryRetrieveLevel = level
            for keyword, value in row.items():
                setattr(answer, keyword, value)
            yield Matches([_encoded(answer, request)], pending)
        if end.cut_short:
            raise OperationRefused(self.limit_status)

    def move(self, info, request, cancelled):
        remote = Remote(
            "127.0.0.1",
            self.destination_port,
            request.move_destination,
            AE,
            originator=(info.calling_ae, request.message_id),
        )
        chosen = self._chosen(request)
        outgoing = [outgoing_of(one) for one in chosen]
        pairs = [(o.sop_class_uid, o.transfer_syntax_uid) for o in outgoing]
        if not outgoing:
            yield RetrieveEnd(DimseStatus.SUCCESS, SubOperations(0, 0, 0, 0))
            return
        with open_sender(remote, contexts_for(pairs)) as sender:

            def send(one):
                [sent] = sender.store([one])
                return sent.status

            yield from self._sent(outgoing, send, cancelled)

    def get(self, info, request, channel, cancelled):
        def send(one):
            sop = one.sop_class_uid, one.sop_instance_uid
            context_id = channel.context_for(one.sop_class_uid, one.transfer_syntax_uid)
            return channel.store(one.data, context_id, sop)

        yield from self._sent([outgoing_of(one) for one in self._chosen(request)], send, cancelled)

    def _chosen(self, request):
        asked = _decoded(request)
        self.requests.append(asked)
        self.syntaxes.append(request.context.abstract_syntax)
        if self.retrieve_refusal is not None:
            raise OperationRefused(self.retrieve_refusal)
        return [one for one in self.objects if _named(asked, one)]

    def _sent(self, outgoing, send, cancelled):
        done = failed = 0
        for position, one in enumerate(outgoing):
            if self.abort_after is not None and position >= self.abort_after:
                raise RuntimeError("told to break")
            time.sleep(self.pause_seconds)
            if self.heeds_cancel and cancelled():
                self.cancels_heeded += 1
                left = len(outgoing) - done - failed
                yield RetrieveEnd(DimseStatus.CANCELLED, SubOperations(left, done, failed, 0))
                return
            # A withheld object is counted as sent: so lies a node that loses images.
            good = one.sop_instance_uid in self.withheld or send(one) == DimseStatus.SUCCESS
            done, failed = done + good, failed + (not good)
            yield SubOperations(len(outgoing) - done - failed, done, failed, 0)
        status = DimseStatus.SUCCESS if not failed else DimseStatus.SUB_OPERATIONS_WITH_FAILURES
        yield RetrieveEnd(
            status if self.final_status is None else self.final_status,
            SubOperations(0, done, failed, 0),
        )

    def _matches(self, asked):
        level = asked.QueryRetrieveLevel
        seen = set()
        for one in self.objects:
            key = getattr(one, LEVELS[level])
            if key in seen or not _matching(asked, one):
                continue
            seen.add(key)
            yield self._answer(asked, one, level)

    def _answer(self, asked, one, level):
        answer = Dataset()
        answer.QueryRetrieveLevel = level
        numbers = {
            "NumberOfStudyRelatedInstances": "StudyInstanceUID",
            "NumberOfSeriesRelatedInstances": "SeriesInstanceUID",
        }
        for element in asked:
            name = element.keyword
            if name in numbers:
                same = [o for o in self.objects if o[numbers[name]] == one[numbers[name]]]
                setattr(answer, name, len(same))
            elif name == "ModalitiesInStudy":
                answer.ModalitiesInStudy = one.Modality
            elif name in one:
                answer[element.tag] = one[element.tag]
        if self.undeclared_utf_8:
            for element in answer:
                if element.VR in TEXT_VRS and not str(element.value).isascii():
                    answer.add_new(element.tag, element.VR, str(element.value).encode())
        return answer


def _decoded(request):
    syntax = UID(request.context.transfer_syntax)
    return decode(BytesIO(request.identifier), syntax.is_implicit_VR, syntax.is_little_endian)


def _encoded(match, request):
    syntax = UID(request.context.transfer_syntax)
    return encode(match, syntax.is_implicit_VR, syntax.is_little_endian)


def _key(element):
    values = _values(element)
    return values if len(values) > 1 else "".join(values)


def _values(element):
    value = element.value
    if not value:
        return []
    return [str(value)] if isinstance(value, str) else [str(v) for v in value]


def _named(asked, one):
    return all(
        not (name in asked and _values(asked[name])) or one[name].value in _values(asked[name])
        for name in LEVELS.values()
    )


def _matching(asked, one):
    return (
        _named(asked, one)
        and all(
            _ranged(str(asked.get(name) or ""), str(one.get(name) or ""))
            for name in ("StudyDate", "StudyTime")
        )
        and asked.get("ModalitiesInStudy", "") in {None, "", one.Modality}
    )


def _ranged(key, value):
    first, dash, last = key.partition("-")
    if not key:
        return True
    return value == first if not dash else first <= value and (not last or value <= last)


def outgoing_of(one):
    """Return an object as what is sent of it."""
    return Outgoing(
        encoded(one),
        str(one.SOPClassUID),
        str(one.SOPInstanceUID),
        str(one.file_meta.TransferSyntaxUID),
    )


@contextmanager
def peer(objects=(), destination_port=0):
    """Yield a peer that answers properly, and its port."""
    provider = FaultyPeer(objects, destination_port)
    with listening(provider) as (acceptor, _):
        yield provider, acceptor.port


def _hang(connection, stop):
    stop.wait(60)


def _garbage(connection, _stop):
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 3)


def _reset(connection, _stop):
    connection.recv(4096)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _refuse(connection, _stop):
    connection.recv(4096)
    connection.sendall(reject(1, 1, 3))
    time.sleep(0.2)


BEHAVIOURS = {"hangs": _hang, "garbage": _garbage, "resets": _reset, "refuses": _refuse}


@contextmanager
def broken(behaviour):
    """Yield the port of something that accepts connections and then misbehaves."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)

        def one(connection):
            with connection, suppress(OSError):
                BEHAVIOURS[behaviour](connection, stop)

        def serve():
            while not stop.is_set():
                with suppress(TimeoutError):
                    connection, _ = listener.accept()
                    threading.Thread(target=one, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            thread.join(5)


class Resetting:
    """Forwards connections to a node and resets each after so many bytes from it; 0: never."""

    def __init__(self, port):
        self.after_bytes = 0
        self.resets = 0
        self._target = port

    def serve(self, client):
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as up:
            passed = 0
            # One thread for both ways: a socket that another thread waits on is not reset.
            while ready := select.select([client, up], [], [], 60)[0]:
                for source in ready:
                    chunk = source.recv(65536)
                    if not chunk:
                        return
                    passed += len(chunk) if source is up else 0
                    if self.after_bytes and passed > self.after_bytes:
                        self.resets += 1
                        hard = struct.pack("ii", 1, 0)
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, hard)
                        return
                    (client if source is up else up).sendall(chunk)


@contextmanager
def resetting(port):
    """Yield a way to a node that may cut connections, and its port."""
    way, stop = Resetting(port), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)

        def serve():
            while not stop.is_set():
                with suppress(TimeoutError):
                    client, _ = listener.accept()
                    threading.Thread(target=way.serve, args=(client,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield way, listener.getsockname()[1]
        finally:
            stop.set()
            thread.join(5)
