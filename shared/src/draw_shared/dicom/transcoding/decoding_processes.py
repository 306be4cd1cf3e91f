"""Decodes stored objects in child processes, so that a hostile object costs only a process.

Each process decodes one request at a time, under limits of memory and processor time that the
kernel enforces (see `confinement`), and under a deadline. Processes start on demand and are
reused; one that ends, is killed or is late is replaced on the next demand.

Concurrency: any thread may ask; if all processes are busy, it waits for a free one. The sending
thread holds little memory: decoded data is in memory only if short, otherwise in a nameless file.
"""

import json
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import structlog
from typing_extensions import override

from draw_shared.dicom.confinement import command, environment
from draw_shared.dicom.transcoding import decoding_process
from draw_shared.dicom.transcoding.decoding import Decoding, DecodingLimits, EncodedFrame
from draw_shared.dicom.transcoding.decoding_process import (
    MEMORY,
    STORAGE,
    WORN,
    DecodingMessage,
    make_frames_request,
    receive,
    send,
)
from draw_shared.dicom.transcoding.payload import MAX_HELD_BYTES, Payload
from draw_shared.dicom.transcoding.pixels import Image
from draw_shared.dicom.transcoding.plan import Plan
from draw_shared.dicom.transcoding.source import NotNow, TooCostly, Untranscodable
from draw_shared.wording import message

log = structlog.get_logger()

PROCESSES: Final = 2
ANSWER_TIMEOUT_SECONDS: Final = 120.0
"""Limit for one answer, even if the storage is slow."""
FREE_PROCESS_TIMEOUT_SECONDS: Final = 60.0
"""Limit for the wait for a free process."""
MAX_ANSWER_BYTES: Final = 1024 * 1024
MAX_FILES: Final = 4
"""Total size of files for all peers, as a multiple of the longest inflated data set."""


class _Ended(Exception):
    """The process is gone."""


class DecodingProcesses(Decoding):
    """A `Decoding` in limited processes.

    Args:
        room: folder for long results, in files without a name.
        processes: number of processes that decode at the same time.
    """

    name = "decoding"

    def __init__(self, limits: DecodingLimits, room: Path, *, processes: int = PROCESSES) -> None:
        self._all = [_DecodingProcess(limits, room) for _ in range(processes)]
        self._files = _PayloadFiles(MAX_FILES * limits.longest_inflated)
        # Last in, first out: processes that are not needed are never started.
        self._free: queue.LifoQueue[_DecodingProcess] = queue.LifoQueue()
        for process in reversed(self._all):
            self._free.put(process)

    def start(self) -> None:
        """Do nothing: processes start when they are needed."""

    def stop(self, deadline_seconds: float = 0) -> None:  # noqa: ARG002 - killing takes no time
        """End all processes; threads that wait for one get an error."""
        for process in self._all:
            process.stop()

    @property
    def pids(self) -> list[int]:
        """Ids of the running processes."""
        return [pid for process in self._all if (pid := process.pid) is not None]

    @override
    def plan(self, descriptor: int, transfer_syntax_uid: str) -> Plan:
        said, payload = self._answer(
            DecodingMessage({"plan": transfer_syntax_uid}, b"", descriptor)
        )
        try:
            return Plan.of(said, payload)
        except (KeyError, TypeError, ValueError) as error:
            payload.close()
            raise Untranscodable(message("what it was decoded to is no plan")) from error

    @override
    def frames(self, descriptor: int, image: Image, frames: Sequence[EncodedFrame]) -> Payload:
        request = make_frames_request(asdict(image), frames)._replace(descriptor=descriptor)
        return self._answer(request)[1]

    def _answer(self, request: DecodingMessage) -> tuple[dict[str, Any], Payload]:
        try:
            process = self._free.get(timeout=FREE_PROCESS_TIMEOUT_SECONDS)
        except queue.Empty:
            raise NotNow(message("every process that decodes is busy")) from None
        try:
            answer = process.ask(request)
        finally:
            self._free.put(process)
        return answer.said, self._files.count(answer)


class _PayloadFiles:
    """Counts the decoded data in files until it has been sent."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._lock = threading.Lock()

    def count(self, answer: DecodingMessage) -> Payload:
        """Return the payload of an answer; it counts until it is closed.

        Raises:
            NotNow: the total would be too large.
        """
        payload = Payload(answer.body, answer.descriptor, self._gone)
        if answer.descriptor is None:
            return payload
        with self._lock:
            self._size += payload.size
            size = self._size
        if size > self._most:
            payload.close()
            raise NotNow(message("too much of what was decoded waits for peers that are slow"))
        return payload

    def _gone(self, size: int) -> None:
        with self._lock:
            self._size -= size


class _DecodingProcess:
    """One process and the socket to it; only one thread at a time may use it."""

    def __init__(self, limits: DecodingLimits, room: Path) -> None:
        self._limits = limits
        self._room = room
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._stopped = False

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def ask(self, request: DecodingMessage) -> DecodingMessage:
        """Send a request and return its answer."""
        with self._lock:
            answer = self._answer(request, time.monotonic() + ANSWER_TIMEOUT_SECONDS)
            if answer.said.pop(WORN, False):
                log.warning("decoding.process_replaced", reason="worn")
                self._end()
            if "trouble" in answer.said:
                raise self._failure_for(answer.said)
            return answer

    def _answer(self, request: DecodingMessage, deadline: float) -> DecodingMessage:
        try:
            connection = self._ensure_running()

            def ready() -> None:
                connection.settimeout(max(0.001, deadline - time.monotonic()))

            ready()
            send(connection, request)
            answer = receive(connection, MAX_ANSWER_BYTES + MAX_HELD_BYTES, ready)
        except TimeoutError:
            self._end()
            log.warning("decoding.process_replaced", reason="late")
            raise NotNow(
                message(
                    "decoding it takes more than %(answer_timeout_seconds)s s",
                    answer_timeout_seconds=format(ANSWER_TIMEOUT_SECONDS, ".0f"),
                )
            ) from None
        except (OSError, ValueError, _Ended) as error:
            raise self._end_failure() from error
        if answer is None:
            raise self._end_failure()
        return answer

    def _failure_for(self, said: dict[str, Any]) -> Exception:
        """Return the exception for a missing answer."""
        if said["trouble"] == STORAGE:
            number = int(said.get("number", 0))
            return OSError(number, os.strerror(number))
        if said["trouble"] == MEMORY:
            # It may never give this memory back.
            self._end()
            return self._costly(
                "memory",
                message(
                    "decoding it takes more than %(most)s MiB",
                    most=self._limits.memory_bytes >> 20,
                ),
            )
        return Untranscodable(str(said.get("reason", ""))[:200])

    def _end_failure(self) -> Exception:
        """Return the exception for a process that ended during a request."""
        code = self._end()
        if self._stopped:
            return NotNow(message("the service ends"))
        if code == -signal.SIGXCPU:
            return self._costly(
                "time",
                message(
                    "decoding it takes more than %(most)s s of processor time",
                    most=self._limits.cpu_seconds,
                ),
            )
        log.warning("decoding.process_replaced", reason="ended", exit_code=code)
        return TooCostly(message("the process that decoded it ended"))

    def _costly(self, reason: str, words: str) -> TooCostly:
        log.warning("decoding.process_replaced", reason=reason)
        return TooCostly(words)

    def _ensure_running(self) -> socket.socket:
        if self._connection is not None and self.pid is not None:
            return self._connection
        self._end()
        self._connection, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            limits = json.dumps(asdict(self._limits))
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command(decoding_process.__name__, str(number), str(self._room), limits),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(number,),
                env=environment(),
            )
        if self._stopped:
            raise _Ended
        return self._connection

    def stop(self) -> None:
        """End it for good; a thread that waits for its answer gets an error."""
        self._stopped = True
        process = self._process
        if process is not None:
            process.kill()
        with self._lock:
            self._end()

    def _end(self) -> int | None:
        """End it, and return its exit code."""
        process, self._process = self._process, None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if process is None:
            return None
        # If the process has closed its end, it has its exit code already.
        process.kill()
        return process.wait()
