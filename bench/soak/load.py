"""Work that runs beside the senders: queries, retrieves, readers, deletions, settings."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from bench.soak.dimse import BROKEN, LOADS, Refused, Sent, association
from bench.suite import PASSWORD
from draw_shared.dicom.encoding.uids import STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from draw_shared.dicom.network.message import Operation

SETTLED_SECONDS: Final = 45.0
"""So long after its last object a study is asked for, sent or deleted."""
PAGES: Final = (
    "/", "/studies", "/studies?patient_name=BENCH", "/patients", "/transactions", "/storage",
    "/jobs", "/changes", "/api/v1/status", "/api/v1/studies?limit=100", "/api/v1/storage",
    "/api/v1/transactions?outcome=failure", "/api/v1/throughput", "/api/v1/retrieves",
    "/api/v1/changes", "/metrics",
)  # fmt: skip
REASON: Final = {"reason": "part of a soak"}
HTTP_ERROR: Final = 400
JOB_SECONDS: Final = 120.0


class Tally:
    """How many answers there were of each kind, and which failed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.answers: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.failures: list[str] = []

    @contextmanager
    def answer(self, kind: str) -> Iterator[None]:
        """Count what the block asks for, failed when it raises."""
        began = time.monotonic()
        failure = ""
        try:
            yield
        except (httpx.HTTPError, Wrong, Refused, *BROKEN) as error:
            failure = f"{kind}: {type(error).__name__} {error}"
        with self._lock:
            self.answers[kind] += 1
            self.seconds[kind] += time.monotonic() - began  # type: ignore[assignment]  # a float
            if failure:
                self.failures.append(failure)


class Wrong(Exception):
    """An answer that came and is not what it has to be."""


@dataclass
class Known:
    """What was acknowledged, and what may be done with it."""

    sent: list[Sent] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    _ready: list[tuple[float, Sent]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, sent: Sent) -> None:
        """Take note of a study."""
        with self._lock:
            self.sent.append(sent)
            if not sent.failure:
                self._ready.append((time.monotonic() + SETTLED_SECONDS, sent))

    def some(self, *, to_delete: bool = False) -> Sent | None:
        """Return a study that is complete by now; every fourth is there to be deleted."""
        with self._lock:
            now = time.monotonic()
            found = [
                sent
                for number, (ready_at, sent) in enumerate(self._ready)
                if ready_at <= now and (number % 4 == 3) == to_delete
                and sent.study not in self.deleted
            ]  # fmt: skip
        return random.choice(found[-200:]) if found else None


class Activity:
    """Threads that ask until it is enough."""

    def __init__(
        self, port: int, web_url: str, tally: Tally, known: Known, *, sink: str, node_id: int,
        peer_studies: dict[str, int],
    ) -> None:  # fmt: skip
        self._port, self._web_url = port, web_url
        self._tally, self._known = tally, known
        self._sink, self._node_id, self._peer_studies = sink, node_id, peer_studies
        self._ended = threading.Event()
        rounds: tuple[tuple[Callable[[httpx.Client], None], float], ...] = (
            (self._find, 0.3), (self._get, 4.0), (self._move, 4.0), (self._retrieve, 1.0),
            (self._read, 0.5), (self._read, 0.5), (self._stream, 1.0), (self._stream, 1.0),
            (self._delete, 5.0), (self._configure, 30.0),
        )  # fmt: skip
        self._threads = [
            threading.Thread(target=self._repeat, args=given, daemon=True) for given in rounds
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def end(self, seconds: float) -> None:
        """Ask for nothing more, and return when what was asked for is answered."""
        self._ended.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _repeat(self, action: Callable[[httpx.Client], None], pause: float) -> None:
        with signed_in(self._web_url) as client:
            while not self._ended.wait(pause):
                action(client)

    def _find(self, _: httpx.Client) -> None:
        sent = self._known.some()
        if sent is None:
            return
        with self._tally.answer("C-FIND"), self._asking(STUDY_ROOT_FIND) as peer:
            keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": sent.study}
            status, matches, _ = peer.ask(
                Operation.C_FIND, STUDY_ROOT_FIND, keys | {"PatientName": ""}
            )
            self._require(status, matches, 1)

    def _get(self, _client: httpx.Client) -> None:
        sent = self._known.some()
        if sent is None:
            return
        classes = sorted({load.sop_class for load in LOADS})
        with (
            self._tally.answer("C-GET"),
            association(self._port, "DRAW_SCP", "SOAKGET", STUDY_ROOT_GET, gets=classes) as peer,
        ):
            keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": sent.study}
            status, _, objects = peer.ask(Operation.C_GET, STUDY_ROOT_GET, keys)
            self._require(status, objects, len(sent.objects))

    def _move(self, _: httpx.Client) -> None:
        sent = self._known.some()
        if sent is None:
            return
        with self._tally.answer("C-MOVE"), self._asking(STUDY_ROOT_MOVE) as peer:
            keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": sent.study}
            status, _, objects = peer.ask(Operation.C_MOVE, STUDY_ROOT_MOVE, keys, self._sink)
            self._require(status, objects, len(sent.objects))

    def _asking(self, model: str) -> Any:  # noqa: ANN401 - a context manager
        return association(self._port, "DRAW_SCP", "SOAKASK", model)

    def _retrieve(self, client: httpx.Client) -> None:
        study, objects = random.choice(list(self._peer_studies.items()))
        with self._tally.answer("retrieve job"):
            client.delete(f"/api/v1/studies/{study}", params=REASON)
            asked = {"node_id": self._node_id, "items": [{"study_instance_uid": study}]}
            job = _checked(client.post("/api/v1/retrieves", json=asked))["id"]
            deadline = time.monotonic() + JOB_SECONDS
            while True:
                found = _checked(client.get(f"/api/v1/retrieves/{job}"))
                if found["finished_at"] is not None:
                    break
                if time.monotonic() > deadline:
                    raise Wrong(f"job {job} is {found['state']} after {JOB_SECONDS:.0f} s")
                time.sleep(0.5)
            if found["state"] != "complete" or found["progress"].get("arrived") != objects:
                raise Wrong(f"job {job} ended {found['state']}, {found['error']}")

    def _read(self, client: httpx.Client) -> None:
        path = random.choice(PAGES)
        with self._tally.answer("page or route"):
            answer = client.get(path)
            if answer.status_code >= HTTP_ERROR:
                raise Wrong(f"{path} {answer.status_code}")

    def _stream(self, client: httpx.Client) -> None:
        until = time.monotonic() + 30
        with (
            self._tally.answer("event stream"),
            client.stream("GET", "/api/v1/retrieves/events") as answer,
        ):
            if answer.status_code >= HTTP_ERROR:
                raise Wrong(f"events {answer.status_code}")
            for _ in answer.iter_lines():
                if time.monotonic() > until or self._ended.is_set():
                    break

    def _delete(self, client: httpx.Client) -> None:
        sent = self._known.some(to_delete=True)
        if sent is None:
            return
        with self._tally.answer("deletion"):
            self._known.deleted.add(sent.study)
            answer = client.delete(f"/api/v1/studies/{sent.study}", params=REASON)
            if answer.status_code >= HTTP_ERROR:
                raise Wrong(f"{sent.study} {answer.status_code}")

    def _configure(self, client: httpx.Client) -> None:
        wanted = {"query_retrieve": {"stable_after_seconds": random.randint(20, 40)}}
        with self._tally.answer("configuration"):
            answer = client.patch("/api/v1/config", json=wanted, headers={"If-Match": "*"})
            if answer.status_code >= HTTP_ERROR:
                raise Wrong(f"{answer.status_code} {answer.text[:200]}")

    @staticmethod
    def _require(status: int, found: int, wanted: int) -> None:
        if status or found != wanted:
            raise Wrong(f"status 0x{status:04X}, {found} instead of {wanted}")


@contextmanager
def signed_in(web_url: str) -> Iterator[httpx.Client]:
    """Yield a client with an administrator's session."""
    with httpx.Client(base_url=web_url, timeout=60) as client:
        account = {"name": "admin", "password": PASSWORD}
        session = client.post("/api/v1/session", json=account).raise_for_status()
        client.headers["X-CSRF-Token"] = session.json()["csrf_token"]
        yield client


def _checked(answer: httpx.Response) -> Any:  # noqa: ANN401 - JSON
    if answer.status_code >= HTTP_ERROR:
        raise Wrong(f"{answer.request.url.path} {answer.status_code} {answer.text[:200]}")
    return answer.json()
