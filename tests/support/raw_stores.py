"""A client that says what it is told, right or wrong, over a raw socket."""

import socket
import time
from contextlib import contextmanager

from draw_shared.dicom.encoding.uids import IMPLICIT_LITTLE, VERIFICATION
from draw_shared.dicom.network import message
from draw_shared.dicom.network.associate import AssociateRequest, ProposedContext, UserInformation
from draw_shared.dicom.network.message import DATA_SET, CommandElement, Operation
from draw_shared.dicom.network.pdu import COMMAND, RELEASE_RQ, PduType, fragments, pdvs
from draw_shared.dicom.network.wire import Wire
from support.receptions import encoded
from support.suite import AE_TITLE

MAX_PDU = 16384


class RawStores:
    """One association for the SOP class of one object."""

    def __init__(self, wire):
        self._wire = wire

    def send(self, made, *, data=None, sop_class=None, sop_instance=None, pause_seconds=0.0):
        """Send a C-STORE request, with a pause shortly before its end, and return the status."""
        return self.answer(
            made,
            data=data,
            sop_class=sop_class,
            sop_instance=sop_instance,
            pause_seconds=pause_seconds,
        )[0]

    def answer(self, made, *, data=None, sop_class=None, sop_instance=None, pause_seconds=0.0):
        """Send as `send` does, and return status and Error Comment."""
        payload = encoded(made) if data is None else data
        buffers = _buffers(made, payload, sop_class, sop_instance)
        self._wire.send(buffers[:-2], 10)
        time.sleep(pause_seconds)
        self._wire.send(buffers[-2:], 10)
        kind, body = self._wire.read_pdu(20)
        assert kind == PduType.P_DATA
        [(_, _, answer)] = pdvs(body)
        said = message.decode(bytes(answer))
        return said.number(CommandElement.STATUS), said.text(CommandElement.ERROR_COMMENT)

    def release(self):
        """End the association in order."""
        self._wire.send([RELEASE_RQ], 10)
        kind, _ = self._wire.read_pdu(20)
        assert kind == PduType.RELEASE_RP

    def send_part(self, made):
        """Send a request whose data set ends in the middle, and no more."""
        buffers = _buffers(made, encoded(made))
        self._wire.send(buffers[: len(buffers) // 4 * 2], 10)


def _buffers(made, payload, sop_class=None, sop_instance=None):
    command = message.encode(
        {
            CommandElement.AFFECTED_SOP_CLASS: str(sop_class or made.SOPClassUID),
            CommandElement.COMMAND: Operation.C_STORE,
            CommandElement.MESSAGE_ID: 1,
            CommandElement.PRIORITY: 0,
            CommandElement.DATA_SET_TYPE: DATA_SET,
            CommandElement.AFFECTED_SOP_INSTANCE: str(sop_instance or made.SOPInstanceUID),
        }
    )
    return fragments(command, 1, COMMAND, MAX_PDU) + fragments(payload, 1, 0, MAX_PDU)


@contextmanager
def _asked(port, sop_class, syntax, *, called=AE_TITLE, source="", roles=None):
    """Yield the wire, the type and the body of the answer to a request for an association."""
    request = AssociateRequest(
        "RAW",
        called,
        (ProposedContext(1, sop_class, (syntax,)),),
        UserInformation(
            max_pdu=MAX_PDU,
            implementation_class_uid="1.2.3",
            roles={sop_class: roles} if roles else {},
        ),
    )
    here = (source, 0) if source else None
    with socket.create_connection(("127.0.0.1", port), 10, here) as connection:
        wire = Wire(connection)
        wire.send([request.encode()], 10)
        kind, body = wire.read_pdu(10)
        yield wire, kind, bytes(body)


@contextmanager
def raw_association(port, made, *, source="", roles=None):
    """Yield an association with one presentation context, for the class of `made`.

    `source` is the local address that the connection comes from, `roles` those that it asks for.
    """
    syntax = str(made.file_meta.TransferSyntaxUID)
    asked = _asked(port, str(made.SOPClassUID), syntax, source=source, roles=roles)
    with asked as (wire, kind, _):
        assert kind == PduType.ASSOCIATE_AC
        yield RawStores(wire)


def rejection(port, *, called=AE_TITLE, sop_class=VERIFICATION):
    """Return result, source and reason of an A-ASSOCIATE-RJ, or None when there is none.

    pynetdicom takes some rejections for aborts: it may see the closed connection first.
    """
    with _asked(port, sop_class, IMPLICIT_LITTLE, called=called) as (_, kind, body):
        return tuple(body[1:4]) if kind == PduType.ASSOCIATE_RJ else None
