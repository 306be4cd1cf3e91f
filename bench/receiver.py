"""Receives objects and keeps nothing, at a cost far below that of sending them.

    python -m bench.receiver PORT    (a C-STORE SCP, one thread per association)

What reads carefully and joins fragments in Python takes longer for a CT image than either
server under test, and would be all that a comparison measures. This one looks at headers
only and leaves data sets where the socket put them.
"""

import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Final

from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from bench.peers import Server
from draw_shared.dicom.encoding.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE, IMPLICIT_LITTLE, STUDY_ROOT_GET
from draw_shared.dicom.network import message
from draw_shared.dicom.network.associate import (
    AssociateAccept,
    AssociateRequest,
    ContextResult,
    ProposedContext,
    Roles,
    UserInformation,
    decode_request,
)
from draw_shared.dicom.network.message import DATA_SET, CommandElement, CommandSet, Operation
from draw_shared.dicom.network.message_reader import AbortedByPeer, MessageReader, ReleasedByPeer
from draw_shared.dicom.network.pdu import COMMAND, MAX_PDU_BYTES, RELEASE_RQ, PduType, fragments
from draw_shared.dicom.network.statuses import PENDING
from draw_shared.dicom.network.wire import PeerClosed, PeerTooSlow, Wire

SECONDS: Final = 60.0
MAX_OBJECT_BYTES: Final = 1 << 33
CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
GET_CONTEXT, CT_CONTEXT = 1, 3


def _user(*, roles: dict[str, Roles] | None = None) -> UserInformation:
    return UserInformation(
        max_pdu=MAX_PDU_BYTES,
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version=IMPLEMENTATION_VERSION,
        roles=roles or {},
    )


def _ignore(_part: memoryview) -> None:
    return None


def _answer(wire: Wire, context_id: int, command: CommandSet, operation: Operation) -> None:
    raw = message.response(command, operation, 0)
    wire.send([b"".join(fragments(raw, context_id, COMMAND, MAX_PDU_BYTES))], SECONDS)


def get(
    server: Server, study: str, transfer_syntax_uid: str = EXPLICIT_LITTLE
) -> tuple[int, float]:
    """Return how many objects a C-GET of a CT study brought, and the seconds it took.

    They are taken in one transfer syntax only.

    Raises:
        RuntimeError: the C-GET did not succeed.
    """
    wire = Wire(socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS))
    proposed = (
        ProposedContext(GET_CONTEXT, STUDY_ROOT_GET, (IMPLICIT_LITTLE,)),
        ProposedContext(CT_CONTEXT, CT_IMAGE, (transfer_syntax_uid,)),
    )
    user = _user(roles={CT_IMAGE: Roles(scu=False, scp=True)})
    request = AssociateRequest("BENCH", server.ae_title, proposed, user)
    wire.send([request.encode()], SECONDS)
    if wire.read_pdu(SECONDS)[0] != PduType.ASSOCIATE_AC:
        raise RuntimeError(f"{server.name} did not accept the association")
    began = time.perf_counter()
    wire.send(_request(study), SECONDS)
    objects, status = _received(wire)
    took = time.perf_counter() - began
    wire.send([RELEASE_RQ], SECONDS)
    wire.close_politely(1.0)
    if status:
        raise RuntimeError(f"{server.name}: C-GET ended with 0x{status:04X}")
    return objects, took


def _request(study: str) -> list[bytes | memoryview]:
    wanted = Dataset()
    wanted.QueryRetrieveLevel = "STUDY"
    wanted.StudyInstanceUID = study
    command = message.encode(
        {
            CommandElement.AFFECTED_SOP_CLASS: STUDY_ROOT_GET,
            CommandElement.COMMAND: Operation.C_GET,
            CommandElement.MESSAGE_ID: 1,
            CommandElement.PRIORITY: 0,
            CommandElement.DATA_SET_TYPE: DATA_SET,
        }
    )
    identifier = encode(wanted, is_implicit_vr=True, is_little_endian=True) or b""
    return [
        *fragments(command, GET_CONTEXT, COMMAND, 16384),
        *fragments(identifier, GET_CONTEXT, 0, 16384),
    ]


def _received(wire: Wire) -> tuple[int, int]:
    """Return how many objects came, and the final status."""
    reader = MessageReader(wire, dimse_seconds=SECONDS, acse_seconds=SECONDS)
    objects = 0
    while True:
        context_id, command = reader.command(SECONDS)
        if command.has_data_set:
            reader.data_set(context_id, _ignore, MAX_OBJECT_BYTES)
        if command.number(CommandElement.COMMAND) == Operation.C_STORE:
            objects += 1
            _answer(wire, context_id, command, Operation.C_STORE)
        elif command.number(CommandElement.STATUS) not in PENDING:
            return objects, command.number(CommandElement.STATUS)


def serve(port: int) -> None:
    """Accept every association and every C-STORE until the process ends."""
    with socket.create_server(("127.0.0.1", port), backlog=64) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve_one, args=(Wire(connection),), daemon=True).start()


def _serve_one(wire: Wire) -> None:
    with suppress(PeerClosed, PeerTooSlow, AbortedByPeer, ReleasedByPeer):
        kind, body = wire.read_pdu(SECONDS)
        if kind == PduType.ASSOCIATE_RQ:
            request = decode_request(bytes(body))
            results = tuple(
                ContextResult(context.context_id, 0, context.transfer_syntaxes[0])
                for context in request.contexts
            )
            accept = AssociateAccept(request.calling_ae, request.called_ae, results, _user())
            wire.send([accept.encode()], SECONDS)
            reader = MessageReader(wire, dimse_seconds=SECONDS, acse_seconds=SECONDS)
            while True:
                context_id, command = reader.command(SECONDS)
                if command.has_data_set:
                    reader.data_set(context_id, _ignore, MAX_OBJECT_BYTES)
                operation = Operation(command.number(CommandElement.COMMAND))
                _answer(wire, context_id, command, operation)
    wire.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
