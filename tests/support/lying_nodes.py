"""Nodes that take a call of ours and then lie, crawl, keep silent or talk of something else.

Each script is given the connection after it has read the A-ASSOCIATE-RQ. `SCRIPTS` are those
that have one end whatever is asked of them: by name, the script, and the failure in words.
"""

import contextlib
import socket
import struct
import threading
import time

from draw_shared.dicom.network import associate, message
from draw_shared.dicom.network.message import (
    DATA_SET,
    NO_DATA_SET,
    RESPONSE,
    CommandElement,
    Operation,
)
from draw_shared.dicom.network.pdu import (
    COMMAND,
    HEADER,
    LAST,
    PDATA_PREFIX,
    RELEASE_RQ,
    AbortSource,
    PduType,
    abort,
    fragments,
)
from support.hostile import read_pdu

MAX_PDU = 16384
STOP_SECONDS = 20
PENDING = 0xFF00
HUGE_ELEMENT = struct.pack("<HHI", 0, 2, 0xFFFFFFF0)


@contextlib.contextmanager
def lying(script):
    """Yield the port of a node that runs `script` for each connection, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=one, args=(connection,), daemon=True).start()

        def one(connection):
            with connection, contextlib.suppress(OSError):
                connection.settimeout(STOP_SECONDS)
                _, body = read_pdu(connection)
                script(connection, associate.decode_request(body))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            # Closing alone would leave the thread in accept.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(STOP_SECONDS)


def acceptance(request, *, max_pdu=MAX_PDU, results=None, asynchronous=None):
    """Return an A-ASSOCIATE-AC: of everything in its first transfer syntax, or of `results`."""
    if results is None:
        results = [(one.context_id, 0, one.transfer_syntaxes[0]) for one in request.contexts]
    user = associate.UserInformation(max_pdu, "1.2.3", "LIAR", asynchronous)
    made = tuple(associate.ContextResult(*one) for one in results)
    return associate.AssociateAccept("A", "B", made, user).encode()


def pdata(part, control, context_id=1):
    length = len(part)
    prefix = PDATA_PREFIX.pack(PduType.P_DATA, length + 6, length + 2, context_id, control)
    return prefix + part


def command(operation, *, message_id=1, data_set=False, context_id=1, without=None, status=0):
    """Return a response as P-DATA."""
    fields = {
        CommandElement.AFFECTED_SOP_CLASS: "1.2.3",
        CommandElement.COMMAND: operation,
        CommandElement.RESPONDED_MESSAGE_ID: message_id,
        CommandElement.DATA_SET_TYPE: DATA_SET if data_set else NO_DATA_SET,
        CommandElement.STATUS: status,
    }
    fields.pop(without, None)
    return b"".join(fragments(message.encode(fields), context_id, COMMAND, MAX_PDU))


def store_request(sop_class, sop_instance, context_id, message_id=7, *, data_set=True):
    """Return a C-STORE-RQ as P-DATA, without its data set."""
    fields = {
        CommandElement.AFFECTED_SOP_CLASS: sop_class,
        CommandElement.COMMAND: Operation.C_STORE,
        CommandElement.MESSAGE_ID: message_id,
        CommandElement.DATA_SET_TYPE: DATA_SET if data_set else NO_DATA_SET,
        CommandElement.AFFECTED_SOP_INSTANCE: sop_instance,
    }
    return b"".join(fragments(message.encode(fields), context_id, COMMAND, MAX_PDU))


def wait_for_end(connection):
    """Read whatever still comes, until the other side has closed."""
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            pass


def asked(connection):
    """Read one request and return (context id, operation, message id).

    Raises:
        ConnectionError: something else comes, or nothing more.
    """
    kind, body = read_pdu(connection)
    if kind != PduType.P_DATA:
        raise ConnectionError("it ends")
    found = message.decode(body[6:])
    if found.number(CommandElement.DATA_SET_TYPE) != NO_DATA_SET:
        while not read_pdu(connection)[1][5] & LAST:
            pass
    return body[4], found.number(CommandElement.COMMAND), found.number(CommandElement.MESSAGE_ID)


def saying(raw):
    """Return a script that says something in the place of A-ASSOCIATE-AC."""

    def script(connection, _request):
        connection.sendall(raw)
        wait_for_end(connection)

    return script


def accepting(**changes):
    """Return a script that accepts, and says nothing more."""

    def script(connection, request):
        connection.sendall(acceptance(request, **changes))
        wait_for_end(connection)

    return script


def answering(answer):
    """Return a script that accepts and answers each request with `answer` of it, as bytes."""

    def script(connection, request):
        connection.sendall(acceptance(request))
        while True:
            connection.sendall(answer(*asked(connection)))

    return script


def endlessly(begin, piece, *, pause_seconds=0.0):
    """Return a script that answers with `begin`, then with `piece` until it is cut off."""

    def script(connection, request):
        connection.sendall(acceptance(request))
        connection.sendall(begin(*asked(connection)))
        while True:
            connection.sendall(piece)
            time.sleep(pause_seconds)

    return script


def crawling(raw_of):
    """Return a script that says `raw_of(request)` byte by byte, ten a second."""

    def script(connection, request):
        for byte in raw_of(request):
            connection.sendall(bytes((byte,)))
            time.sleep(0.1)

    return script


def accepts_then_crawls(connection, request):
    """Accept, and answer the first request byte by byte."""
    connection.sendall(acceptance(request))
    crawl = crawling(lambda _request: command(response_to(asked(connection)[1])))
    crawl(connection, request)


def response_to(operation):
    return operation | RESPONSE


def _answer(context_id, operation, message_id, changes):
    right = {
        "operation": response_to(operation), "message_id": message_id, "context_id": context_id
    }  # fmt: skip
    return command(**right | changes)


def pending(context_id, operation, message_id):
    """Return a pending response to a request; a data set follows."""
    return _answer(context_id, operation, message_id, {"data_set": True, "status": PENDING})


def _nothing(*_asked):
    return b""


def _elsewhere(context_id, operation, message_id):
    """A data set in another context than its command."""
    return pending(context_id, operation, message_id) + pdata(b"x" * 8, LAST, context_id + 2)


def answer(**changes):
    """Return a script that answers each request, except for `changes`."""
    return answering(lambda *asked: _answer(*asked, changes))


SCRIPTS = {
    "keeps silent": (saying(b""), "no answer within"),
    "crawls while it accepts": (crawling(acceptance), "not complete in time"),
    "speaks HTTP": (
        saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        r"this is a web server \(HTTP\), not DICOM",
    ),
    "claims 4 GiB of acceptance": (saying(HEADER.pack(2, 0xFFFFFFFF)), "longer than allowed"),
    "accepts with garbage": (saying(HEADER.pack(2, 70) + bytes(range(70))), "cut short"),
    "accepts with nothing": (saying(HEADER.pack(2, 0)), "cut short"),
    "answers before it accepts": (saying(command(response_to(0x30))), "A-ASSOCIATE-RQ"),
    "asks back": (saying(HEADER.pack(1, 4) + bytes(4)), "A-ASSOCIATE-RQ"),
    "rejects in three bytes": (saying(HEADER.pack(3, 3) + bytes(3)), "A-ASSOCIATE-RQ"),
    "rejects in a gigabyte": (saying(HEADER.pack(3, 1 << 30)), "longer than allowed"),
    "aborts": (saying(abort(AbortSource.SERVICE_USER)), "aborted the association"),
    "hangs up": (lambda _connection, _request: None, "closed the connection"),
    "takes one byte": (accepting(max_pdu=1), "no PDU of useful length"),
    "takes 127 bytes": (accepting(max_pdu=127), "no PDU of useful length"),
    "accepts and keeps silent": (accepting(), "no answer within"),
    "accepts and crawls": (accepts_then_crawls, "not complete in time"),
    "claims 4 GiB": (answering(lambda *_: HEADER.pack(4, 0xFFFFFFFF)), "longer than allowed"),
    "claims 4 GiB in an item": (
        answering(lambda *_: PDATA_PREFIX.pack(4, 6, 0xFFFFFFF0, 1, 3)),
        "overruns its PDU",
    ),
    "claims 4 GiB in an element": (
        answering(
            lambda context_id, *_: pdata(struct.pack("<HHI", 0, 2, 0xFFFFFFF0), 3, context_id)
        ),
        "holds something else",
    ),
    "sends an empty PDU": (answering(lambda *_: HEADER.pack(4, 0)), "holds nothing"),
    "sends a command without end": (endlessly(_nothing, pdata(bytes(4096), COMMAND)), "too long"),
    "sends a command in crumbs": (
        endlessly(_nothing, pdata(b"\0", COMMAND), pause_seconds=0.02),
        "not complete in time",
    ),
    "sends an identifier without end": (endlessly(pending, pdata(bytes(16378), 0)), "too long"),
    "sends an identifier in crumbs": (
        endlessly(pending, pdata(b"", 0), pause_seconds=0.02),
        "makes no progress",
    ),
    "answers another request": (answer(message_id=4711), "an answer to something else"),
    "answers no request": (
        answer(without=CommandElement.RESPONDED_MESSAGE_ID),
        "an answer to something else",
    ),
    "answers what nobody asked": (
        answer(operation=response_to(Operation.C_MOVE + 1)),
        "an answer to something else",
    ),
    "asks instead of answering": (
        answering(lambda context_id, *_: store_request("1.2", "1.3", context_id)),
        "an answer to something else",
    ),
    "answers without a status": (answer(without=CommandElement.STATUS), "STATUS is missing"),
    "answers in a context that was not accepted": (
        answer(context_id=99),
        "presentation context was not accepted",
    ),
    "answers in a context with an even number": (
        answer(context_id=2),
        "presentation context was not accepted",
    ),
    "sends an identifier in another context": (answering(_elsewhere), "expected a data set"),
    "sends a data set without a command": (
        answering(lambda context_id, *_: pdata(b"x" * 64, LAST, context_id)),
        "expected a command",
    ),
    "releases in the middle": (answering(lambda *_: RELEASE_RQ), "released the association"),
    "aborts in the middle": (
        answering(lambda *_: abort(AbortSource.SERVICE_USER)),
        "aborted the association",
    ),
    "accepts twice": (
        answering(lambda *_: HEADER.pack(2, 68) + bytes(68)),
        "this PDU does not belong here",
    ),
}
