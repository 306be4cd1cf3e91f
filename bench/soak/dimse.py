"""Peers of the soak: they store, ask and retrieve over associations of their own.

What they send is encoded once; afterwards only identifiers of equal length are exchanged, so
that a sender costs little beside the suite.
"""

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, RTPlanStorage
from pynetdicom.dsutils import encode

from bench.objects import image
from draw_shared.dicom.encoding.identity import IMPLEMENTATION_CLASS_UID
from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from draw_shared.dicom.network import message
from draw_shared.dicom.network.associate import (
    AssociateRequest,
    ProposedContext,
    Roles,
    UserInformation,
    decode_accept,
)
from draw_shared.dicom.network.message import DATA_SET, CommandElement, CommandSet, Operation
from draw_shared.dicom.network.message_reader import AbortedByPeer, MessageReader, ReleasedByPeer
from draw_shared.dicom.network.pdu import COMMAND, MAX_PDU_BYTES, RELEASE_RQ, PduType, fragments
from draw_shared.dicom.network.statuses import PENDING
from draw_shared.dicom.network.wire import PeerClosed, PeerTooSlow, Wire

SECONDS: Final = 60.0
ROOT: Final = "1.2.826.0.1.3680043.10.77."
BROKEN: Final = (OSError, PeerClosed, PeerTooSlow, AbortedByPeer, ReleasedByPeer)


class Refused(Exception):
    """The peer did not accept the association."""


@dataclass(frozen=True, slots=True)
class Load:
    """Objects of one kind, as one sender sends them."""

    name: str
    sop_class: str
    per_study: int
    side: int = 0
    """Edge of the image; 0: no image."""


LOADS: Final = (
    Load("CT", str(CTImageStorage), 40, 512),
    Load("small", str(CTImageStorage), 60, 64),
    Load("RT", str(RTPlanStorage), 3),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One study as it was acknowledged."""

    study: str
    load: str
    objects: tuple[str, ...]
    failure: str = ""


def uid(sender: int, number: int) -> str:
    """Return a UID; all have the same length."""
    return f"{ROOT}{1000 + sender}{number:015d}"


class Template:
    """An encoded object whose identifiers are exchanged."""

    def __init__(self, load: Load) -> None:
        self._marks = [uid(999, place) for place in range(3)]
        self._patient = "SOAK99999999"
        made = image(self._marks[1], self._marks[2], 1, load.side or 16)
        if load.side:
            made.PixelData = os.urandom(2 * load.side * load.side)
        else:
            made.SOPClassUID = RTPlanStorage
            made.Modality = "RTPLAN"
            made.RTPlanLabel = "Soak"
        made.SOPInstanceUID = self._marks[0]
        made.PatientID = self._patient
        self._encoded = encode(made, is_implicit_vr=False, is_little_endian=True) or b""

    def object(self, sop: str, study: str, series: str, patient: int) -> bytes:
        """Return the data set of one object."""
        made = self._encoded
        for mark, value in zip(self._marks, (sop, study, series), strict=True):
            made = made.replace(mark.encode(), value.encode())
        return made.replace(self._patient.encode(), f"SOAK{patient:08d}".encode(), 1)


class Association:
    """One association that answers every C-STORE it gets."""

    def __init__(self, wire: Wire, max_pdu: int) -> None:
        self._wire = wire
        self._max_pdu = min(max_pdu or MAX_PDU_BYTES, MAX_PDU_BYTES)
        self._reader = MessageReader(wire, dimse_seconds=SECONDS, acse_seconds=SECONDS)

    def store(self, sop_class: str, sop: str, data: bytes) -> int:
        """Store an object in the first context and return the status."""
        fields: dict[CommandElement, int | str | bytes] = {
            CommandElement.AFFECTED_SOP_CLASS: sop_class,
            CommandElement.COMMAND: Operation.C_STORE,
            CommandElement.MESSAGE_ID: 1,
            CommandElement.PRIORITY: 0,
            CommandElement.DATA_SET_TYPE: DATA_SET,
            CommandElement.AFFECTED_SOP_INSTANCE: sop,
        }
        self._send(fields, data)
        _, command = self._reader.command(SECONDS)
        return command.number(CommandElement.STATUS)

    def ask(
        self, operation: Operation, model: str, keys: Mapping[str, str], destination: str = ""
    ) -> tuple[int, int, int]:
        """Return the status of a C-FIND, C-GET or C-MOVE, the matches and the objects it moved."""
        wanted = Dataset()
        for keyword, value in keys.items():
            setattr(wanted, keyword, value)
        fields: dict[CommandElement, int | str | bytes] = {
            CommandElement.AFFECTED_SOP_CLASS: model,
            CommandElement.COMMAND: operation,
            CommandElement.MESSAGE_ID: 1,
            CommandElement.PRIORITY: 0,
            CommandElement.DATA_SET_TYPE: DATA_SET,
        }
        if destination:
            fields[CommandElement.MOVE_DESTINATION] = destination
        self._send(fields, encode(wanted, is_implicit_vr=True, is_little_endian=True) or b"")
        matches = stored = 0
        while True:
            context_id, command = self._reader.command(SECONDS)
            if command.has_data_set:
                self._reader.data_set(context_id, lambda _: None, 1 << 30)
            if command.number(CommandElement.COMMAND) == Operation.C_STORE:
                stored += 1
                self._answer(context_id, command)
            elif command.number(CommandElement.STATUS) in PENDING:
                matches += 1
            else:
                moved = command.number(CommandElement.COMPLETED, 0) if destination else 0
                return command.number(CommandElement.STATUS), matches, stored or moved

    def release(self) -> None:
        """End the association in order."""
        self._wire.send([RELEASE_RQ], SECONDS)
        self._wire.close_politely(1.0)

    def _send(self, fields: dict[CommandElement, int | str | bytes], data: bytes) -> None:
        command = fragments(message.encode(fields), 1, COMMAND, self._max_pdu)
        self._wire.send([*command, *fragments(data, 1, 0, self._max_pdu)], SECONDS)

    def _answer(self, context_id: int, command: CommandSet) -> None:
        raw = message.response(command, Operation.C_STORE, 0)
        self._wire.send([b"".join(fragments(raw, context_id, COMMAND, self._max_pdu))], SECONDS)


@contextmanager
def association(
    port: int, called: str, calling: str, sop_class: str, *, gets: Sequence[str] = ()
) -> Iterator[Association]:
    """Yield an association for one SOP class, and to be sent objects of others.

    Raises:
        Refused: the peer rejected it.
        OSError, PeerClosed, PeerTooSlow, AbortedByPeer: it broke.
    """
    syntax = EXPLICIT_LITTLE if sop_class in {load.sop_class for load in LOADS} else IMPLICIT_LITTLE
    proposed = [ProposedContext(1, sop_class, (syntax,))]
    for place, sent in enumerate(gets):
        proposed.append(ProposedContext(3 + 2 * place, sent, (EXPLICIT_LITTLE,)))
    user = UserInformation(
        max_pdu=MAX_PDU_BYTES,
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        roles=dict.fromkeys(gets, Roles(scu=False, scp=True)),
    )
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        wire = Wire(connection)
        wire.send([AssociateRequest(calling, called, tuple(proposed), user).encode()], SECONDS)
        kind, body = wire.read_pdu(SECONDS)
        if kind != PduType.ASSOCIATE_AC:
            raise Refused(f"{called} answered the association request with PDU {kind}")
        made = Association(wire, decode_accept(bytes(body)).user.max_pdu)
        yield made
        made.release()


def send_study(port: int, called: str, load: Load, sender: int, first: int, pause: float) -> Sent:
    """Store one study on an association of its own; return what was acknowledged."""
    template = Template(load)
    study, series = uid(sender, first), uid(sender, first + 1)
    acknowledged: list[str] = []
    try:
        with association(port, called, f"SOAK{sender}", load.sop_class) as made:
            for number in range(load.per_study):
                began = time.monotonic()
                sop = uid(sender, first + 2 + number)
                data = template.object(sop, study, series, sender * 100_000 + first // 1000)
                status = made.store(load.sop_class, sop, data)
                if status:
                    return Sent(study, load.name, tuple(acknowledged), f"status 0x{status:04X}")
                acknowledged.append(sop)
                time.sleep(max(0.0, pause - (time.monotonic() - began)))
    except (*BROKEN, Refused) as error:
        return Sent(study, load.name, tuple(acknowledged), f"{type(error).__name__}: {error}")
    return Sent(study, load.name, tuple(acknowledged))


def keep_sending(
    port: int,
    called: str,
    load: Load,
    sender: int,
    rate: float,
    ended: Event,
    results: "Queue[Sent]",
) -> None:
    """Send study after study, so many objects a second, until it is enough."""
    first = 0
    while not ended.is_set():
        sent = send_study(port, called, load, sender, first, 1 / rate)
        results.put(sent)
        first += 1000
        if sent.failure:
            ended.wait(1)
