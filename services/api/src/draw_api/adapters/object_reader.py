"""Opens stored objects in child processes, so that a hostile file can only kill a child.

Each child handles one request at a time, with a deadline and a memory limit. A child that is late,
dies or keeps its memory is replaced. The same file always goes to the same child, which remembers
the last decoded frames. Children get no settings, so no secret can leak through a codec.

Parent and child exchange JSON lines, and bytes of a length that such a line names: whatever happens
to the child, its output is only data.
"""

import json
import os
import select
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
from typing_extensions import override

from draw_api.adapters import object_child
from draw_api.adapters.zip_stream import zip_files
from draw_api.models.objects import Elements, ObjectFacts, Picture, Rendering, StoredFile
from draw_api.ports.objects import ObjectReader
from draw_shared.contracts.failures import Conflict, NotFound, TooManyAttempts
from draw_shared.dicom.confinement import command, environment
from draw_shared.routing.facts import HeaderValues
from draw_shared.routing.subjects import ConditionSubject
from draw_shared.wording import message

log = structlog.get_logger()

CHILDREN: Final = 2
REQUEST_TIMEOUT_SECONDS: Final = 20.0
QUEUE_TIMEOUT_SECONDS: Final = 15.0
RETRY_DELAY_SECONDS: Final = 5
MAX_LINE_BYTES: Final = 16 * 1024**2
MAX_PICTURE_BYTES: Final = 64 * 1024**2
READ_BYTES: Final = 1024**2


class _Gone(Exception):
    """The child died, was late, or sent an invalid answer."""


class _Child:
    """One child process, started when it is first needed."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._held = bytearray()

    def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Return the child's answer and the bytes that belong to it."""
        if not self._lock.acquire(timeout=QUEUE_TIMEOUT_SECONDS):
            raise TooManyAttempts(RETRY_DELAY_SECONDS)
        try:
            return self._answer(request, time.monotonic() + REQUEST_TIMEOUT_SECONDS)
        except (OSError, ValueError, _Gone) as error:
            log.warning("object.unreadable", child=self._number, error=type(error).__name__)
            self._end()
            raise Conflict(message("This object cannot be read within the limits.")) from error
        finally:
            self._lock.release()

    def end(self) -> None:
        """Stop the child."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._process = None
        self._held.clear()

    def _answer(self, request: dict[str, Any], deadline: float) -> tuple[dict[str, Any], bytes]:
        process = self._ensure_running()
        if process.stdin is None:
            raise _Gone
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        while (end := self._held.find(b"\n")) < 0:
            if len(self._held) > MAX_LINE_BYTES:
                raise _Gone
            self._read(process, deadline)
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        answer = json.loads(line)
        length = answer.get("bytes", 0) if isinstance(answer, dict) else -1
        if not isinstance(length, int) or not 0 <= length <= MAX_PICTURE_BYTES:
            raise _Gone
        while len(self._held) < length:
            self._read(process, deadline)
        content = bytes(self._held[:length])
        del self._held[:length]
        if answer.get("worn"):
            self._end()
        return answer, content

    def _read(self, process: "subprocess.Popen[bytes]", deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or process.stdout is None:
            raise _Gone
        readable, _, _ = select.select([process.stdout], [], [], left)
        piece = os.read(process.stdout.fileno(), READ_BYTES) if readable else b""
        if not piece:
            raise _Gone
        self._held += piece

    def _ensure_running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command(object_child.__name__),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment(),
            )
        return self._process


class ConfinedObjectReader(ObjectReader):
    """Renders and reads objects below a storage root."""

    name = "object-reader"

    def __init__(self, root: Path) -> None:
        self._root = root
        self._children = [_Child(number) for number in range(CHILDREN)]

    def start(self) -> None:
        """Do nothing: children start when they are needed."""

    def stop(self, deadline_seconds: float) -> None:  # noqa: ARG002 - killing takes no time
        """Stop the children."""
        for child in self._children:
            child.end()

    @override
    def archive(self, files: Sequence[StoredFile]) -> Iterator[bytes]:
        return zip_files(self._root, files)

    @override
    def facts(self, path: str, frame: int = 1) -> ObjectFacts:
        answer, _ = self._ask("facts", path, frame=frame)
        return ObjectFacts.model_validate(answer["facts"])

    @override
    def picture(self, path: str, rendering: Rendering) -> Picture:
        answer, content = self._ask(
            "picture",
            path,
            frame=rendering.frame,
            center=rendering.center,
            width=rendering.width,
            edge=rendering.edge,
            inverted=rendering.inverted,
        )
        return Picture(content, str(answer["media_type"]))

    @override
    def elements(self, path: str, search: str) -> Elements:
        answer, _ = self._ask("elements", path, search=search)
        return Elements.model_validate(answer["elements"])

    @override
    def values(self, path: str, subjects: Sequence[ConditionSubject]) -> HeaderValues:
        try:
            answer, _ = self._ask("values", path, subjects=[subject.name for subject in subjects])
        except NotFound:
            return HeaderValues(awaited=True)
        except Conflict:
            return HeaderValues()
        found = answer["values"]
        values = {name: tuple(texts) for name, texts in found.pop("values").items()}
        return HeaderValues(values, **found)

    def _ask(self, action: str, path: str, **parameters: object) -> tuple[dict[str, Any], bytes]:
        inside = self._root.resolve()
        file = (inside / path).resolve()
        if not file.is_relative_to(inside) or not file.is_file():
            raise NotFound(message("The file of this instance is not on the storage volume."))
        child = self._children[zlib.crc32(path.encode()) % CHILDREN]
        answer, content = child.ask({"action": action, "path": str(file), **parameters})
        trouble = answer.get("trouble")
        if trouble == message("no such frame"):
            raise NotFound(message("The object has no such frame."))
        if trouble:
            raise Conflict(
                message("This object cannot be shown: %(trouble)s", trouble=str(trouble)[:200])
            )
        return answer, content
