"""Every DICOM file of the packages that carry some goes all the way through one running suite.

Stored in its own SOP class and transfer syntax, found by C-FIND, retrieved as it came and in both
little endian syntaxes, every value compared byte by byte and every picture decoded. As DCMTK
encodes them, pydicom's own files are sent by storescu. What a generated object may hold is
covered by tests/property/test_transcoding.py.
"""

import hashlib
import warnings
import zlib
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import _STORAGE_CLASSES, register_uid, uid_to_service_class

from draw_shared.dicom.encoding.part10 import FileMeta
from draw_shared.dicom.encoding.uids import (
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
)
from draw_shared.dicom.encoding.uids import STUDY_ROOT_FIND as FIND
from draw_shared.dicom.encoding.uids import STUDY_ROOT_GET as GET
from draw_shared.dicom.encoding.uids import STUDY_ROOT_MOVE as MOVE
from support import datasets, senders
from support.data_set_tree import tree
from support.elements import SECONDARY_CAPTURE, SEQUENCE_END, mark
from support.raw_stores import raw_association
from support.real_files import real_files
from support.suite import all_pages, signed_in
from support.waiting import wait_until
from tools.processes import free_port

pytestmark = pytest.mark.e2e

INDEX_SECONDS = 60.0
NATIVE = {EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED_LITTLE}
OF_DECODED = {0x7FE00010, 0x00280004, 0x00280006, 0x00280008}
"""Elements that change when pixel data are decoded."""
AT_ONCE = 60
"""Studies of one retrieve."""
UNREADABLE_FOR_DCMTK = {"SC_rgb_jpeg.dcm", "rtdose_rle.dcm", "rtdose_rle_1frame.dcm"}
"""DCMTK 3.6.7 cannot read these itself."""
NO_STUDY = (0xC000, "Study Instance UID is missing")
NO_CLASS = (0xC000, "SOP Class UID is missing")
UNSTORABLE = {
    # Color palettes, which belong to no patient.
    **dict.fromkeys(
        (
            f"pydicom/{palette}.dcm"
            for palette in (
                "fall", "hotiron", "hotmetalblue", "pet", "pet20step", "spring", "summer", "winter"
            )
        ),
        NO_STUDY,
    ),
    # Cut down to what a test of pydicom or nibabel needs.
    "pydicom/JPEGLSNearLossless_08.dcm": NO_STUDY,
    "pydicom/JPEGLSNearLossless_16.dcm": NO_STUDY,
    "pydicom/SC_rgb_jls_lossy_line.dcm": NO_STUDY,
    "pydicom/SC_rgb_jls_lossy_sample.dcm": NO_STUDY,
    "pydicom/chrSQEncoding.dcm": NO_CLASS,
    "pydicom/chrSQEncoding1.dcm": NO_CLASS,
    "pydicom/UN_sequence.dcm": NO_CLASS,
    "pydicom/empty_charset_LEI.dcm": NO_CLASS,
    "pydicom/meta_missing_tsyntax.dcm": NO_CLASS,
    "pydicom/no_meta_group_length.dcm": NO_CLASS,
    "pydicom/priv_SQ.dcm": NO_CLASS,
    "nibabel/decimal_rescale.dcm": NO_CLASS,
    "pydicom-data/bad_sequence.dcm": (0x0117, "the SOP Instance UID is malformed"),
}  # fmt: skip
"""Status and reason of what is not stored: it does not say what an archive needs."""
UNTRANSCODABLE = {
    "pydicom/JPEG-lossy.dcm": "a frame cannot be decoded",
    # The stream's width has been overwritten to hold the bytes of a delimiter.
    "pydicom/JPEG2000-embedded-sequence-delimiter.dcm": "3722445056 columns",
    "pydicom/MR_truncated.dcm": "an element is longer than what it lies in",
    "pydicom/rtplan_truncated.dcm": "an item is longer than what it lies in",
}
"""Why what is stored is given back in its own transfer syntax only."""
EVEN = {
    "pydicom/SC_rgb_jpeg.dcm": (IMPLICIT_LITTLE, b""),
    "pydicom-data/emri_small_jpeg_2k_lossless_too_short.dcm": ("", mark(SEQUENCE_END)),
}
"""How files that are not as their transfer syntax says are encoded, and what they lack."""


def said(real):
    """Return an object as an association needs to know it."""
    return SimpleNamespace(
        SOPClassUID=real.sop_class or SECONDARY_CAPTURE,
        SOPInstanceUID=real.instance or "1.2.3",
        file_meta=SimpleNamespace(TransferSyntaxUID=real.syntax),
    )


@pytest.fixture(scope="module")
def everything():
    return real_files()


@pytest.fixture(scope="module")
def statuses(running_suite, everything):
    """Status and reason of each file by its name, sent byte by byte as it lies in its package."""
    found = {}
    groups = defaultdict(list)
    for real in everything:
        groups[said(real).SOPClassUID, real.syntax].append(real)
    for group in groups.values():
        with raw_association(running_suite.dicom_port, said(group[0])) as sender:
            for real in group:
                found[real.name] = sender.answer(said(real), data=real.data)
            sender.release()
    return found


@pytest.fixture(scope="module")
def stored(running_suite, everything, statuses):
    """The files that are stored, indexed."""
    kept = [real for real in everything if statuses[real.name][0] == 0]
    running_suite.wait_for_rows(len(kept), "SELECT id FROM instances", INDEX_SECONDS)
    return kept


def test_the_set_is_large(everything):
    assert len(everything) > 250


def test_every_file_is_stored_but_for_those_with_a_reason(statuses):
    refused = {name: answer for name, answer in statuses.items() if answer[0]}
    assert refused == UNSTORABLE


def test_every_file_is_found_by_its_uids(running_suite, stored):
    lost = []
    with senders.association(running_suite.dicom_port, [build_context(FIND)]) as peer:
        for real in stored:
            asked = Dataset()
            asked.QueryRetrieveLevel = "IMAGE"
            asked.StudyInstanceUID, asked.SeriesInstanceUID = real.study, real.series
            asked.SOPInstanceUID, asked.SOPClassUID = real.instance, ""
            answers = [found for _, found in peer.send_c_find(asked, FIND) if found]
            if [str(found.SOPClassUID) for found in answers] != [real.sop_class]:
                lost.append((real.name, answers))
    assert lost == []


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName"])
def test_every_file_is_found_by_its_patient(running_suite, stored, keyword):
    lost = []
    with senders.association(running_suite.dicom_port, [build_context(FIND)]) as peer:
        for real in stored:
            asked = datasets.with_bytes(
                Dataset(),
                implicit_vr=True,
                SpecificCharacterSet=real.texts["SpecificCharacterSet"],
                QueryRetrieveLevel=b"STUDY",
                StudyInstanceUID=b"",
                **{keyword: real.texts[keyword]},
            )
            answers = [found for _, found in peer.send_c_find(asked, FIND) if found]
            if real.study not in {str(found.StudyInstanceUID) for found in answers}:
                lost.append((real.name, real.texts[keyword]))
    assert lost == []


# --- retrieves -------------------------------------------------------------------------


def values(real):
    """Return every value of a file by its path."""
    syntax, lacking = EVEN.get(real.name, ("", b""))
    raw = real.data + lacking
    if real.syntax == DEFLATED_LITTLE:
        raw = zlib.decompress(raw, -zlib.MAX_WBITS)
    return _values(raw, syntax or real.syntax)


def _values(raw, syntax):
    return {at: value for at, (_, value) in tree(raw, syntax).items()}


def _studies(objects):
    """Yield identifiers that ask for all studies of these objects, some at a time."""
    studies = sorted({real.study for real in objects})
    for begin in range(0, len(studies), AT_ONCE):
        asked = Dataset()
        asked.QueryRetrieveLevel = "STUDY"
        asked.StudyInstanceUID = studies[begin : begin + AT_ONCE]
        yield asked


class Came:
    """Takes what is sent: data sets and transfer syntaxes by instance."""

    def __init__(self):
        self.data = {}
        self.syntaxes = {}

    def __call__(self, event):
        uid = str(event.request.AffectedSOPInstanceUID)
        self.data[uid] = event.request.DataSet.getvalue()
        self.syntaxes[uid] = str(event.context.transfer_syntax)
        return 0


def _got(port, objects, contexts):
    """Return what C-GET brings of these objects, and how many sub-operations failed."""
    came, failed = Came(), 0
    roles = [build_role(one, scp_role=True) for one in {c.abstract_syntax for c in contexts}]
    for asked in _studies(objects):
        with senders.association(
            port,
            [build_context(GET), *contexts],
            ext_neg=roles,
            evt_handlers=[(evt.EVT_C_STORE, came)],
        ) as peer:
            *_, (final, _) = peer.send_c_get(asked, GET)
        assert final.Status in {0, 0xB000}
        failed += final.NumberOfFailedSuboperations
    return came, failed


# What is registered here would make storage of it for every later test of the process.
@patch.dict(_STORAGE_CLASSES)
def _moved(suite, objects, contexts):
    """Return what C-MOVE brings of these objects, and how many sub-operations failed."""
    came, failed = Came(), 0
    destination = AE("REAL")
    destination.maximum_associations = 50
    for context in contexts:
        if uid_to_service_class(context.abstract_syntax) is not StorageServiceClass:
            # pynetdicom aborts for retired classes that it does not know.
            keyword = f"Retired{context.abstract_syntax.replace('.', '_')}"
            register_uid(context.abstract_syntax, keyword, StorageServiceClass)
        destination.add_supported_context(context.abstract_syntax, context.transfer_syntax)
    port = free_port()
    node = {"name": "real files", "host": "127.0.0.1", "port": port, "ae_title": "REAL"}
    with signed_in(suite.web_url) as client:
        assert client.post("/api/v1/nodes", json=node).status_code == 201
    server = destination.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, came)]
    )
    try:
        for asked in _studies(objects):
            with senders.association(suite.dicom_port, [build_context(MOVE)]) as peer:
                *_, (final, _) = peer.send_c_move(asked, "REAL", MOVE)
            assert final.Status in {0, 0xB000}
            failed += final.NumberOfFailedSuboperations
    finally:
        server.shutdown()
    return came, failed


def test_every_file_is_retrieved_as_it_came(running_suite, stored):
    pairs = sorted({(real.sop_class, real.syntax) for real in stored})
    contexts = [build_context(*pair) for pair in pairs]
    came, failed = _got(running_suite.dicom_port, stored, contexts)
    assert failed == 0
    for real in stored:
        assert came.syntaxes[real.instance] == real.syntax, real.name
        assert came.data[real.instance] == real.data, real.name


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
def test_every_file_is_retrieved_in_little_endian(running_suite, stored, syntax):
    contexts = [build_context(one, syntax) for one in sorted({real.sop_class for real in stored})]
    if syntax == EXPLICIT_LITTLE:
        came, failed = _got(running_suite.dicom_port, stored, contexts)
    else:
        came, failed = _moved(running_suite, stored, contexts)
    lacking = {real.name for real in stored if real.instance not in came.data}
    assert lacking == {real.name for real in stored if _is_refused(real, syntax)}
    assert failed == len(lacking)
    for real in stored:
        if real.name not in lacking:
            _compare(real, came.data[real.instance], syntax)


def test_the_log_says_why_a_file_cannot_be_had(running_suite, stored):
    log = running_suite.log("scp")
    for name, reason in UNTRANSCODABLE.items():
        assert reason in log, name
        assert any(real.name == name for real in stored)


def _is_refused(real, syntax):
    return real.name in UNTRANSCODABLE and real.syntax != syntax


def _compare(real, came, syntax):
    """Compare every value as bytes, and what has been decoded as pictures."""
    if real.syntax == syntax:
        assert came == real.data, real.name
        return
    before, after = values(real), _values(came, syntax)
    if real.syntax not in NATIVE:
        decoded = {at for at in before if at[-1] == 0x7FE00010} - {
            at for at in before if at[-1] == 0x7FE00010 and before[at] == after.get(at)
        }
        if decoded:
            before = {at: value for at, value in before.items() if at[-1] not in OF_DECODED}
            after = {at: value for at, value in after.items() if at[-1] not in OF_DECODED}
            pictures = (
                _picture(real, real.data + EVEN.get(real.name, ("", b""))[1], real.syntax),
                _picture(real, came, syntax),
            )
            assert np.array_equal(*pictures), real.name
    assert after == before, real.name


def _picture(real, data, syntax):
    file = FileMeta(real.sop_class, real.instance, syntax).encode() + data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(DicomBytesIO(file)).pixel_array


# --- on disk and in the index ----------------------------------------------------------


def _indexed(client):
    """Return the instances that the REST interface lists, by SOP Instance UID."""
    found = {}
    for study in all_pages(client, "/api/v1/studies", limit=500):
        below = f"/api/v1/studies/{study['study_instance_uid']}/series"
        for series in all_pages(client, below, limit=500):
            listing = f"{below}/{series['series_instance_uid']}/instances"
            for instance in all_pages(client, listing, limit=500):
                found[instance["sop_instance_uid"]] = instance
    return found


def test_files_lie_where_the_structure_says_with_the_bytes_that_were_sent(running_suite, stored):
    rows = running_suite.rows(
        "SELECT sop_instance_uid, study_instance_uid, series_instance_uid, path FROM instances"
        " JOIN series ON series.id = series_pk JOIN studies ON studies.id = study_pk"
    )
    found = {row["sop_instance_uid"]: row for row in rows}
    assert len(found) == len(rows) == len(stored)
    for real in stored:
        row = found[real.instance]
        path = running_suite.storage / row["path"]
        folders = Path(row["path"]).parts
        assert folders[0] == "objects"
        assert folders[-3:] == (real.study, real.series, f"{real.instance}.dcm")
        assert datasets.encoded_data_set(path) == real.data, real.name
        assert senders.transfer_syntax(path) == real.syntax


def test_the_hash_in_the_index_is_that_of_the_bytes(running_suite, stored):
    with signed_in(running_suite.web_url) as client:
        indexed = _indexed(client)
    for real in stored:
        digest = hashlib.sha256(real.data).hexdigest()
        assert indexed[real.instance]["content_sha256"] == digest, real.name


def test_dcmtk_stores_every_file_of_pydicom(running_suite, stored):
    fresh = [p for p in datasets.storable_files() if p.name not in UNREADABLE_FOR_DCMTK]
    before = running_suite.rows("SELECT count(*) AS n FROM studies")[0]["n"]
    assert senders.storescu(running_suite.dicom_port, fresh) == []
    uids = {str(senders.read(path).StudyInstanceUID) for path in fresh}

    def all_there():
        rows = running_suite.rows("SELECT study_instance_uid AS uid FROM studies")
        return uids <= {row["uid"] for row in rows}

    assert wait_until(all_there, INDEX_SECONDS)
    assert running_suite.rows("SELECT count(*) AS n FROM studies")[0]["n"] == before
    assert stored


def test_nothing_is_left_in_the_spool_once_announced(running_suite, stored):
    spool = running_suite.storage / "spool"
    assert wait_until(lambda: not list(spool.rglob("*.dcm")) + list(spool.rglob("*.part")), 60)
    assert stored


def test_logs_name_no_patient(running_suite, stored):
    names = {str(real.held.get("PatientName", "")) for real in stored}
    written = "".join(running_suite.log(name) for name in running_suite.services)
    assert {name for name in names if len(name) > 5 and name in written} == set()
