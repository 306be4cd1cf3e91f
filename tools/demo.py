"""`make demo`: sends real DICOM to the running suite and queries it back.

The objects are the test files that come with pydicom. Each gets a new SOP Instance UID, and
all a study of the demo's own, so that a second demo finds its own objects and not the first's.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, generate_uid
from pynetdicom import AE, AllStoragePresentationContexts, build_context
from pynetdicom.association import Association
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

SUCCESS: Final = 0x0000
PENDING: Final = (0xFF00, 0xFF01)
INDEX_SECONDS: Final = 20.0
CONTEXTS_PER_ASSOCIATION: Final = 128
STORAGE_CLASSES: Final = frozenset(c.abstract_syntax for c in AllStoragePresentationContexts)
IDENTIFIERS: Final = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
)


class DemoFailed(Exception):
    """The suite did not do what the demo shows."""


@dataclass(frozen=True, slots=True)
class Target:
    """The running suite."""

    ae_title: str
    host: str
    port: int
    web: str
    password: str


def target(given: Mapping[str, str]) -> Target:
    """Return the suite that the environment names, as `make run` reads it."""
    home = Path(given.get("DRAW_HOME") or "var")
    password = given.get("DRAW_ADMIN_PASSWORD", "")
    held = Path(given.get("DRAW_ADMIN_PASSWORD_FILE") or home / "admin-password")
    if not password and held.is_file():
        password = held.read_text(encoding="utf-8").strip()
    return Target(
        ae_title=given.get("DRAW_SCP_AE_TITLE") or "DRAW_SCP",
        host="127.0.0.1",
        port=int(given.get("DRAW_SCP_PORT") or 11112),
        web=f"http://127.0.0.1:{given.get('DRAW_API_PORT') or 8000}",
        password=password,
    )


def objects(study: UID) -> list[Dataset]:
    """Return pydicom's test objects as new instances of one study."""
    folder = Path(str(get_testdata_file("CT_small.dcm"))).parent
    series: dict[str, UID] = {}
    made = []
    for path in sorted(folder.glob("*.dcm")):
        held = _read(path)
        if held is None:
            continue
        held.StudyInstanceUID = study
        held.SeriesInstanceUID = series.setdefault(held.SeriesInstanceUID, generate_uid())
        held.SOPInstanceUID = held.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        held.PatientID, held.PatientName = "DRAW-DEMO", "Demo^Patient"
        if _can_be_sent(held):
            made.append(held)
    return made


def _read(path: Path) -> Dataset | None:
    """Return a whole object of a storage SOP class, or None."""
    try:
        held = pydicom.dcmread(path)
        whole = "truncated" not in path.name and all(held.get(name) for name in IDENTIFIERS)
        known = "TransferSyntaxUID" in held.file_meta and held.SOPClassUID in STORAGE_CLASSES
    except (InvalidDicomError, AttributeError, ValueError, OSError):
        return None
    return held if whole and known else None


def _can_be_sent(held: Dataset) -> bool:
    """Return whether pydicom can encode what it has read; some test files are odd on purpose."""
    syntax = UID(held.file_meta.TransferSyntaxUID)
    return encode(held, syntax.is_implicit_VR, syntax.is_little_endian) is not None


def send(to: Target, made: list[Dataset]) -> tuple[int, list[str]]:
    """Send the objects, each in its own transfer syntax; return accepted count and refusals."""
    pairs = sorted({(str(o.SOPClassUID), str(o.file_meta.TransferSyntaxUID)) for o in made})
    client = AE("DRAW_DEMO")
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in pairs]
    association = _associate(client, to, contexts[:CONTEXTS_PER_ASSOCIATION])
    accepted, refused = 0, []
    try:
        for one in made:
            answer = association.send_c_store(one)
            if answer and answer.Status == SUCCESS:
                accepted += 1
            else:
                refused.append(f"{one.SOPClassUID.name}: {answer.get('Status', 'no answer')}")
    finally:
        association.release()
    return accepted, refused


def _associate(client: AE, to: Target, contexts: list[Any]) -> Association:
    association = client.associate(to.host, to.port, contexts=contexts, ae_title=to.ae_title)
    if not association.is_established:
        raise DemoFailed(
            f"nobody accepts an association at {to.host}:{to.port}; is `make run` running?"
        )
    return association


def find(to: Target, study: UID, level: str) -> list[Dataset]:
    """Return what C-FIND tells of the study at a level."""
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    asked.StudyInstanceUID = study
    asked.SeriesInstanceUID = ""
    asked.Modality = ""
    model = StudyRootQueryRetrieveInformationModelFind
    association = _associate(AE("DRAW_DEMO"), to, [build_context(model)])
    try:
        return [
            identifier
            for status, identifier in association.send_c_find(asked, model)
            if status and status.Status in PENDING and identifier is not None
        ]
    finally:
        association.release()


class Rest:
    """The REST interface, signed in."""

    def __init__(self, to: Target) -> None:
        self._to = to
        self._cookie = ""
        body = json.dumps({"name": "admin", "password": to.password}).encode()
        with self._open("/api/v1/session", body) as answer:
            self._cookie = str(answer.headers["Set-Cookie"]).partition(";")[0]

    def get(self, path: str) -> dict[str, Any]:
        """Return a parsed answer."""
        with self._open(path) as answer:
            parsed: dict[str, Any] = json.loads(answer.read())
            return parsed

    def study(self, study: UID, wanted: int) -> tuple[dict[str, Any], float]:
        """Return the study once the index has all its objects, and how long that took."""
        began = time.monotonic()
        while True:
            found = self.get(f"/api/v1/studies?study_instance_uid={study}")["items"]
            took = time.monotonic() - began
            if found and found[0]["instance_count"] >= wanted:
                return found[0], took
            if took > INDEX_SECONDS:
                raise DemoFailed(f"the index does not have all {wanted} objects after {took:.0f} s")
            time.sleep(0.05)

    def _open(self, path: str, body: bytes | None = None) -> HTTPResponse:
        headers = {"Content-Type": "application/json", "Cookie": self._cookie}
        request = urllib.request.Request(self._to.web + path, body, headers)  # noqa: S310 - ours
        try:
            answer: HTTPResponse = urllib.request.urlopen(request, timeout=20)  # noqa: S310 - ours
        except urllib.error.URLError as error:
            raise DemoFailed(f"{self._to.web}{path}: {error}") from error
        return answer


def story(to: Target) -> Iterator[str]:
    """Do the demo and tell it line by line.

    Raises:
        DemoFailed: a step did not do what it should.
    """
    study = generate_uid()
    made = objects(study)
    size = sum(len(o.get("PixelData", b"")) for o in made) / 2**20
    kinds = len({o.SOPClassUID for o in made})
    syntaxes = len({o.file_meta.TransferSyntaxUID for o in made})
    yield f"{len(made)} objects, {kinds} SOP classes, {syntaxes} transfer syntaxes, {size:.1f} MiB"
    began = time.monotonic()
    accepted, refused = send(to, made)
    took = time.monotonic() - began
    yield f"C-STORE to {to.ae_title} at {to.host}:{to.port}: {accepted} accepted in {took:.2f} s"
    if refused:
        raise DemoFailed("not accepted: " + "; ".join(refused))
    rest = Rest(to)
    known, waited = rest.study(study, accepted)
    yield (
        f"REST: one study, {known['series_count']} series, {known['instance_count']} instances, "
        f"{'/'.join(known['modalities'])}, complete {waited:.2f} s after the last C-STORE"
    )
    studies, series = find(to, study, "STUDY"), find(to, study, "SERIES")
    yield f"C-FIND: {len(studies)} study, {len(series)} series"
    if len(studies) != 1 or len(series) != known["series_count"]:
        raise DemoFailed("C-FIND and REST do not tell the same")
    yield f"Look at it: {to.web}/ (user admin), study {study}"


def main() -> int:
    """Tell the demo and return the exit code."""
    # pydicom warns about what is deliberately odd in its test files.
    warnings.simplefilter("ignore")
    try:
        for line in story(target(os.environ)):
            print(line, flush=True)
    except DemoFailed as reason:
        print(f"demo: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
