"""`python -m draw_shared.dicom.transcoding.decoding_process`: decodes within limits.

It answers requests in sequence, over a private socket to the service. A request contains numbers
and text, and the descriptor of the stored file. A long result is returned as the descriptor of a
nameless file, any other as bytes after their length. Results are only data, whatever an object may
have done to this process.
"""

import errno
import json
import os
import socket
import sys
import warnings
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Any, Final, NamedTuple, Protocol

from draw_shared.dicom.confinement import allow_seconds, confine, held_bytes
from draw_shared.dicom.transcoding.decoding import Decoder, DecodingLimits, EncodedFrame
from draw_shared.dicom.transcoding.payload import Payload
from draw_shared.dicom.transcoding.pixels import Image
from draw_shared.dicom.transcoding.source import Untranscodable
from draw_shared.wording import message

HEADER: Final = Struct("<II")
"""Lengths of the JSON part and of the bytes that follow."""
READ_BYTES: Final = 256 * 1024
NUMBER_BYTES: Final = 8

# Reasons for a missing answer.
UNTRANSCODABLE: Final = "untranscodable"
STORAGE: Final = "storage"
MEMORY: Final = "memory"

WORN: Final = "worn"
"""Whether the process keeps more memory between requests than it needs: a codec's cache."""


class DecodingMessage(NamedTuple):
    """A request or an answer."""

    said: dict[str, Any]
    body: bytes = b""
    descriptor: int | None = None


class MessageReceiver(Protocol):
    """Limits the time of the next receive."""

    def __call__(self) -> None:
        """Prepare the socket for a receive."""


def send(connection: socket.socket, message: DecodingMessage) -> None:
    """Send a message; its descriptor stays open in this process."""
    said = json.dumps(message.said, separators=(",", ":")).encode()
    header = HEADER.pack(len(said), len(message.body))
    descriptors = [] if message.descriptor is None else [message.descriptor]
    socket.send_fds(connection, [header], descriptors)
    connection.sendall(said + message.body)


def receive(
    connection: socket.socket, most: int, ready: MessageReceiver = lambda: None
) -> DecodingMessage | None:
    """Return the next message, or None if the other end is closed.

    Args:
        connection: the socket to read.
        most: largest number of bytes in the message.
        ready: called before each wait.

    Raises:
        OSError | ValueError: the message is incomplete or malformed.
    """
    ready()
    # The few bytes of a header arrive together.
    header, descriptors, _, _ = socket.recv_fds(connection, HEADER.size, 1, socket.MSG_CMSG_CLOEXEC)
    descriptor = descriptors[0] if descriptors else None
    try:
        if not header:
            return None
        if len(header) < HEADER.size:
            raise ValueError("a message breaks off")
        said, body = HEADER.unpack(header)
        if said + body > most:
            raise ValueError("a message is too long")
        raw = _exactly(connection, said + body, ready)
        message = DecodingMessage(json.loads(raw[:said]), raw[said:], descriptor)
        descriptor = None
        return message
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _exactly(connection: socket.socket, size: int, ready: MessageReceiver) -> bytes:
    parts: list[bytes] = []
    while size:
        ready()
        part = connection.recv(min(size, READ_BYTES))
        if not part:
            raise ValueError("a message breaks off")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def make_frames_request(
    image: Mapping[str, Any], frames: Sequence[EncodedFrame]
) -> DecodingMessage:
    """Return the request to decode frames."""
    numbers = b"".join(one.positions.tobytes() + one.lengths.tobytes() for one in frames)
    said = {"image": image, "fragments": [len(one.lengths) for one in frames]}
    return DecodingMessage(said, numbers)


def _frames_of(message: DecodingMessage) -> list[EncodedFrame]:
    numbers, at = array("Q"), 0
    numbers.frombytes(message.body)
    found: list[EncodedFrame] = []
    for count in message.said["fragments"]:
        lengths = at + count
        found.append(EncodedFrame(numbers[at:lengths], numbers[lengths : lengths + count]))
        at = lengths + count
    return found


def _answer(decoder: Decoder, request: DecodingMessage) -> tuple[dict[str, Any], Payload]:
    """Return the answer to one request, or the reason why there is none."""
    descriptor = request.descriptor
    if descriptor is None:
        raise ValueError("a request without a file")
    try:
        if "plan" in request.said:
            plan = decoder.plan(descriptor, request.said["plan"])
            return plan.said(), plan.payload
        image = Image(**request.said["image"])
        return {}, decoder.frames(descriptor, image, _frames_of(request))
    except Untranscodable as error:
        return {"trouble": UNTRANSCODABLE, "reason": str(error)}, Payload()
    except MemoryError:
        return {"trouble": MEMORY}, Payload()
    except OSError as error:
        return {"trouble": STORAGE, "number": error.errno or errno.EIO}, Payload()
    except Exception as error:  # noqa: BLE001 - codecs raise whatever they like
        reason = message("it cannot be read: %(error)s", error=type(error).__name__)
        return {"trouble": UNTRANSCODABLE, "reason": reason}, Payload()
    finally:
        os.close(descriptor)


def main(words: list[str]) -> None:
    """Answer requests until the other end closes; the words are socket, room and limits."""
    number, room, said = words
    limits = DecodingLimits(**json.loads(said))
    confine(limits.memory_bytes, longest_file=2 * (limits.longest_inflated + limits.longest_frame))
    # Warnings about odd objects help nobody here.
    warnings.simplefilter("ignore")
    decoder = Decoder(limits, Path(room))
    with socket.socket(fileno=int(number)) as connection, suppress(ConnectionError):
        while (request := receive(connection, sys.maxsize)) is not None:
            allow_seconds(limits.cpu_seconds)
            answer, payload = _answer(decoder, request)
            with payload:
                answer[WORN] = held_bytes() > limits.process_bytes + len(payload.held)
                send(connection, DecodingMessage(answer, payload.held, payload.descriptor))


if __name__ == "__main__":
    main(sys.argv[1:])
