"""`make demo`: sends real DICOM to the running suite and queries it back.

The objects are the test files of pydicom. Each gets a new SOP Instance UID, and all belong to a
new study, so that a second demo finds only its own objects.
"""

import os
import ssl
import sys
import time
import warnings
from collections.abc import Iterator
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

from tools import checkpoint
from tools.running_suite import Receiver, Rest, SuiteFailed, target

AE_TITLE: Final = "DRAW_DEMO"
SUCCESS: Final = 0x0000
PENDING: Final = (0xFF00, 0xFF01)
CONTEXTS_PER_ASSOCIATION: Final = 128
STORAGE_CLASSES: Final = frozenset(c.abstract_syntax for c in AllStoragePresentationContexts)
IDENTIFIERS: Final = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
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
    """Return whether pydicom can encode the object; some test files are invalid on purpose."""
    syntax = UID(held.file_meta.TransferSyntaxUID)
    return encode(held, syntax.is_implicit_VR, syntax.is_little_endian) is not None


def send(to: Receiver, made: list[Dataset]) -> tuple[int, list[str]]:
    """Send the objects, each in its own transfer syntax; return the accepted count and refusals."""
    pairs = sorted({(str(o.SOPClassUID), str(o.file_meta.TransferSyntaxUID)) for o in made})
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in pairs]
    association = _associate(to, contexts[:CONTEXTS_PER_ASSOCIATION])
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


def _associate(to: Receiver, contexts: list[Any]) -> Association:
    association = AE(AE_TITLE).associate(
        to.host,
        to.port,
        contexts=contexts,
        ae_title=to.ae_title,
        tls_args=_tls(to.host) if to.tls else None,
    )
    if not association.is_established:
        raise SuiteFailed(_why_not(association, to))
    return association


def _tls(host: str) -> tuple[ssl.SSLContext, str]:
    """Return the TLS context for our own suite, which does not verify its certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context, host


def _why_not(association: Association, to: Receiver) -> str:
    address = f"{to.ae_title} at {to.host}:{to.port}"
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        return (
            f"{address} rejects associations of {AE_TITLE} ({answer.reason_str.lower()}): allow "
            "it on the page, AE titles"
        )
    if association.is_aborted and answer is not None:
        return f"{address} accepts nothing that the demo proposes: see the page, Configuration"
    if to.tls:
        address += " over TLS, or the receiver asks for a certificate, which the demo has not"
    return f"nobody accepts associations as {address}{to.elsewhere}"


def find(to: Receiver, study: UID, level: str) -> list[Dataset]:
    """Return the C-FIND matches for the study at a level."""
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    asked.StudyInstanceUID = study
    asked.SeriesInstanceUID = ""
    asked.Modality = ""
    model = StudyRootQueryRetrieveInformationModelFind
    association = _associate(to, [build_context(model)])
    try:
        return [
            identifier
            for status, identifier in association.send_c_find(asked, model)
            if status and status.Status in PENDING and identifier is not None
        ]
    finally:
        association.release()


def story(rest: Rest) -> Iterator[str]:
    """Run the demo and yield its report line by line.

    Raises:
        SuiteFailed: the suite does not run, or a step failed.
    """
    to = rest.receiver()
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
        raise SuiteFailed("not accepted: " + "; ".join(refused))
    known, waited = rest.study(study, accepted)
    yield (
        f"REST: one study, {known['series_count']} series, {known['instance_count']} instances, "
        f"{'/'.join(known['modalities'])}, complete {waited:.2f} s after the last C-STORE"
    )
    studies, series = find(to, study, "STUDY"), find(to, study, "SERIES")
    yield f"C-FIND: {len(studies)} study, {len(series)} series"
    if len(studies) != 1 or len(series) != known["series_count"]:
        raise SuiteFailed("C-FIND and REST do not tell the same")
    yield f"Look at it: {rest.web}/ (user admin), study {study}"


def main() -> int:
    """Print the demo and return the exit code."""
    # pydicom warns about the deliberate errors in its test files.
    warnings.simplefilter("ignore")
    checkpoint.install()
    try:
        for line in story(Rest(target(os.environ))):
            print(line, flush=True)
    except SuiteFailed as reason:
        print(f"demo: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
