"""Reads headers in a child process, so that no file can block or crash the indexer.

Concurrency: each consumer has its own reader; threads that share one wait for each other. The
process starts when it is first needed, and again after it died or was killed. If a batch kills it,
the batch is read again file by file, and only the file that kills it alone is given up.
"""

import json
import select
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog
from typing_extensions import override

from draw_indexer.adapters import reader_process
from draw_indexer.models import (
    FileMissing,
    Header,
    Headers,
    HostileFile,
    ReaderTooSlow,
    Unreadable,
)
from draw_indexer.ports.headers import HeaderSource, HeaderValueSource
from draw_shared.dicom.confinement import command, environment
from draw_shared.routing.facts import HeaderValues
from draw_shared.routing.subjects import ConditionSubject
from draw_shared.wording import message

log = structlog.get_logger()

Found = TypeVar("Found")

CHUNK: Final = 1024 * 1024
END_TIMEOUT_SECONDS: Final = 2.0


class ReaderDied(Exception):
    """The process ended before it answered."""


class ConfinedHeaderReader(HeaderSource, HeaderValueSource):
    """Reads the headers of stored files."""

    name = "header reader"

    def __init__(
        self,
        root: Path,
        *,
        seconds: float,
        cpu_seconds: int,
        memory_mb: int,
        replaced: Callable[[], None] = lambda: None,
        ahead: bool = True,
    ) -> None:
        self._words = (str(root), str(memory_mb), str(cpu_seconds))
        self._seconds = seconds
        self._replaced = replaced
        self._ahead = ahead
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when the process is ready, so that the first batch need not wait for it.

        Without `ahead` it starts when something is to be read.
        """
        if self._ahead:
            self.read([])

    def _begin(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command(reader_process.__name__, *self._words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )

    def stop(self, deadline_seconds: float = END_TIMEOUT_SECONDS) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                # A dead process does not take its last request; close the pipe all the same.
                with suppress(BrokenPipeError):
                    pipe.close()
        try:
            process.wait(min(deadline_seconds, END_TIMEOUT_SECONDS))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @override
    def read(self, paths: Sequence[str]) -> Headers:
        return self._read(paths, list, _parse_headers)

    @override
    def values(
        self, paths: Sequence[str], subjects: Sequence[ConditionSubject]
    ) -> Sequence[HeaderValues | Exception]:
        names = [subject.name for subject in subjects]
        return self._read(
            paths, lambda some: {"paths": list(some), "subjects": names}, _parse_values
        )

    def _read(
        self,
        paths: Sequence[str],
        request: Callable[[Sequence[str]], object],
        parse: Callable[[dict[str, Any]], list[Found | Exception]],
    ) -> list[Found | Exception]:
        with self._lock:
            try:
                return parse(self._ask(request(paths)))
            except (ReaderTooSlow, ReaderDied) as error:
                log.warning("reader.replaced", files=len(paths), error=type(error).__name__)
            return [self._read_alone(request([path]), parse) for path in paths]

    def _read_alone(
        self, request: object, parse: Callable[[dict[str, Any]], list[Found | Exception]]
    ) -> Found | Exception:
        try:
            return parse(self._ask(request))[0]
        except ReaderTooSlow as slow:
            return slow
        except ReaderDied:
            return HostileFile(message("the process that read the header died"))

    def _ask(self, request: object) -> dict[str, Any]:
        try:
            answer = self._exchange(json.dumps(request).encode() + b"\n")
        except (ReaderTooSlow, OSError, ValueError) as error:
            self._kill()
            if isinstance(error, ReaderTooSlow):
                raise
            raise ReaderDied from error
        found: dict[str, Any] = json.loads(answer)
        return found

    def _exchange(self, request: bytes) -> bytes:
        if self._process is None:
            self._begin()
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise BrokenPipeError
        process.stdin.write(request)
        process.stdin.flush()
        deadline = time.monotonic() + self._seconds
        descriptor = process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        pieces: list[bytes] = []
        while not pieces or not pieces[-1].endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise ReaderTooSlow(message("the storage is too slow for the headers of a batch"))
            piece = process.stdout.read1(CHUNK)  # type: ignore[attr-defined]
            if not piece:
                raise BrokenPipeError
            pieces.append(piece)
        return b"".join(pieces)

    def _kill(self) -> None:
        process = self._process
        if process is not None:
            process.kill()
        self.stop()
        self._replaced()


def _parse_values(answer: dict[str, Any]) -> list[HeaderValues | Exception]:
    found: list[HeaderValues | Exception] = []
    for file in answer["values"]:
        if isinstance(file, dict):
            values = {name: tuple(texts) for name, texts in file.pop("values").items()}
            found.append(HeaderValues(values, **file))
        else:
            found.append(_to_failure(*file))
    return found


def _parse_headers(answer: dict[str, Any]) -> list[Header | Exception]:
    documents = answer["documents"]
    found: list[Header | Exception] = []
    for file in answer["files"]:
        if isinstance(file[0], str):
            found.append(_to_failure(file[0], file[1]))
            continue
        patient, study, series, image, said = file
        levels = documents[patient], documents[study], documents[series], image
        found.append(Header(*levels, *(said or ())))
    return found


def _to_failure(word: str, reason: str) -> Exception:
    match word:
        case reader_process.MISSING | reader_process.STORAGE:
            return FileMissing(reason)
        case reader_process.HOSTILE:
            return HostileFile(reason)
        case _:
            return Unreadable(reason)
