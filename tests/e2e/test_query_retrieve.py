"""C-FIND, C-GET and C-MOVE of the running suite, asked by DCMTK's and pynetdicom's own programs.

Every matching rule is compared with a reference in tests/property; here it is what real
clients send and get. TLS destinations are not covered.
"""

import subprocess
import sys
import threading
import zlib
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from draw_shared.dicom.encoding.part10 import FileMeta
from draw_shared.dicom.encoding.uids import DEFLATED_LITTLE, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from draw_shared.dicom.network.associate import ProposedContext
from draw_shared.dicom.network.contexts import contexts_for
from draw_shared.dicom.network.message import Operation
from draw_shared.dicom.network.requestor import Remote, open_association
from draw_shared.dicom.network.store_sender import Outgoing, open_sender
from support import datasets, senders
from support.data_set_tree import tree
from support.elements import element
from support.raw_stores import raw_association
from support.receptions import encoded
from support.service_finder import program
from support.suite import AE_TITLE, Suite, signed_in
from support.waiting import wait_until
from tools.processes import free_port

pytestmark = pytest.mark.e2e

FIND = StudyRootQueryRetrieveInformationModelFind
GET = StudyRootQueryRetrieveInformationModelGet
JPEG = Path(str(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm")))
PENDING = (0xFF00, 0xFF01)
MANY = 20_000
LONG = 1000
UNUSUAL_CLASSES = (
    "1.2.840.113619.4.26",  # private
    "1.2.840.10008.5.1.4.1.1.6",  # Ultrasound Image, retired
    "1.2.840.10008.5.1.4.39.1",  # Color Palette, with a study all the same
    "1.2.840.10008.5.1.4.1.1.9999",  # of a later edition
)


def _dcmtk(*words, check=True):
    words = (program(words[0], "dcmtk"), *words[1:])
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if check:
        assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def archive(running_suite):
    """A CT study of two series, a study with another name, and one compressed object."""
    study, other = generate_uid(), generate_uid()
    shared = {
        "PatientID": "QR-1",
        "PatientName": "Müller^Jörg",
        "StudyInstanceUID": study,
        "AccessionNumber": "QR1",
    }
    first = datasets.series(12, size_bytes=20_000, **shared)
    second = datasets.series(5, size_bytes=20_000, StudyDate="20260103", **shared)
    third = datasets.series(
        3,
        PatientID="QR-2",
        PatientName="SMITH_JONES^ANNA",
        StudyInstanceUID=other,
        AccessionNumber="QR2",
        StudyDate="20251224",
    )
    made = first + second + third
    assert set(senders.send_objects(running_suite.dicom_port, made)) == {0}
    assert set(senders.send_files(running_suite.dicom_port, [JPEG]).values()) == {0}
    running_suite.wait_for_rows(len(made) + 1, "SELECT id FROM instances", 10)
    return {"study": study, "other": other, "objects": made, "first": first}


def _find(port, level, model=FIND, **keys):
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    if any(not str(value).isascii() for value in keys.values()):
        asked.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        setattr(asked, keyword, value)
    with senders.association(port, [build_context(model)]) as made:
        answers = list(made.send_c_find(asked, model))
    return [found for _, found in answers if found is not None], answers[-1][0].Status


def test_findscu_gets_the_study_with_its_counts(running_suite, archive):
    said = _dcmtk(
        "findscu", "-S", "-aec", AE_TITLE, "127.0.0.1", str(running_suite.dicom_port),
        "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={archive['study']}",
        "-k", "NumberOfStudyRelatedInstances", "-k", "NumberOfStudyRelatedSeries",
        "-k", "ModalitiesInStudy", "-k", "PatientID",
    )  # fmt: skip
    assert "[17]" in said
    assert "[2 ]" in said
    assert "[QR-1" in said


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({"PatientID": "QR-1"}, {"QR-1"}),
        ({"PatientID": "QR-?"}, {"QR-1", "QR-2"}),
        ({"PatientName": "muller*"}, {"QR-1"}),
        ({"PatientName": "MÜLLER^JÖRG"}, {"QR-1"}),
        ({"PatientName": "*_JONES*"}, {"QR-2"}),
        ({"PatientID": "QR-*", "StudyDate": "20251201-20251231"}, {"QR-2"}),
        ({"PatientID": "QR-*", "StudyDate": "20260101-"}, {"QR-1"}),
        ({"PatientID": "QR-*", "ModalitiesInStudy": "MR"}, set()),
        ({"PatientID": "%"}, set()),
        ({"PatientID": "qr-1"}, set()),
        ({"PatientID": "QR-*", "StudyDescription": "Test st*"}, {"QR-1", "QR-2"}),
        ({"PatientID": "QR-*", "StudyDescription": "test st*"}, set()),
    ],
)
def test_studies_match(running_suite, archive, keys, wanted):
    assert archive
    found, status = _find(running_suite.dicom_port, "STUDY", **({"PatientID": ""} | keys))
    assert status == 0
    assert {one.PatientID for one in found} == wanted


TEXTS = {
    "simplified Chinese (PS3.5 K.2)": (
        b"\\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东",
        "张^小东",
    ),
    "Latin 9": (b"ISO_IR 203", b"\xbcuvre^\xa4", "Œuvre^€", "Œuvre*"),
    "a misspelt term": (b"iso_ir_192", "Müller^D2".encode(), "Müller^D2", "Müller^D2"),
    "Latin 1 under UTF-8": (b"ISO_IR 192", b"M\xfcller^H", "Müller^H", "müller^h"),
    "an unreadable byte": (b"GB18030", b"Ab\xffd", "Ab�d", "Ab?d"),
}


@pytest.mark.parametrize(("terms", "raw", "name", "key"), TEXTS.values(), ids=TEXTS)
def test_text_is_found_and_answered_as_what_it_means(
    running_suite, tmp_path, terms, raw, name, key
):
    port, number = running_suite.dicom_port, f"T{len(raw)}{len(terms)}"
    made = datasets.build(PatientID=number)
    datasets.with_bytes(made, SpecificCharacterSet=terms, PatientName=raw)
    path = datasets.write(made, tmp_path / "one.dcm")
    assert set(senders.send_files(port, [path]).values()) == {0}
    running_suite.wait_for_rows(1, "SELECT id FROM patients WHERE patient_id = :p", 10, p=number)
    asked = {"PatientID": number, "StudyInstanceUID": ""}
    (answer,), status = _find(port, "STUDY", PatientName=key, **asked)
    assert (str(answer.PatientName).rstrip("="), status) == (name, 0)


def test_a_key_that_is_no_text_in_its_set_is_answered_and_said_in_the_log(running_suite, archive):
    assert archive
    asked = datasets.with_bytes(
        Dataset(),
        implicit_vr=True,
        SpecificCharacterSet=b"GB18030",
        QueryRetrieveLevel=b"STUDY",
        PatientName=b"M\xff",
        PatientID=b"QR-1",
    )
    assert _statuses(running_suite.dicom_port, asked) == [0]
    assert "query.key_misread" in running_suite.log("scp")


def _statuses(port, asked):
    with senders.association(port, [build_context(FIND)]) as made:
        return [status.Status for status, _ in made.send_c_find(asked, FIND)]


@pytest.mark.parametrize(
    ("level", "keyword", "key"),
    [
        ("STUDY", "StudyDate", b"01.11.2026"),
        ("STUDY", "PatientBirthDate", b"some day"),
        ("STUDY", "NumberOfStudyRelatedSeries", b"two"),
        ("SERIES", "SeriesTime", b"25:61"),
        ("SERIES", "SeriesNumber", b"one"),
        ("IMAGE", "ContentDate", b"20261301"),
        ("IMAGE", "InstanceNumber", b"seven"),
    ],
)
def test_a_key_that_is_no_value_of_its_attribute_finds_nothing_and_is_said_in_the_log(
    running_suite, archive, level, keyword, key
):
    series = archive["first"][0].SeriesInstanceUID.encode()
    above = {"StudyInstanceUID": archive["study"].encode(), "SeriesInstanceUID": series}
    asked = datasets.with_bytes(
        Dataset(),
        implicit_vr=True,
        QueryRetrieveLevel=level.encode(),
        **above,
        **{keyword: key},
    )
    assert _statuses(running_suite.dicom_port, asked) == [0]
    log = running_suite.log("scp")
    said = [line for line in log.splitlines() if "query.key_impossible" in line]
    assert any(keyword in line for line in said)
    assert key.decode() not in "".join(said)


def test_every_level_answers_below_its_parents(running_suite, archive):
    port, study = running_suite.dicom_port, archive["study"]
    series, _ = _find(
        port, "SERIES", StudyInstanceUID=study, SeriesInstanceUID="",
        NumberOfSeriesRelatedInstances="",
    )  # fmt: skip
    assert sorted(int(one.NumberOfSeriesRelatedInstances) for one in series) == [5, 12]
    images, _ = _find(
        port, "IMAGE", StudyInstanceUID=study, SOPInstanceUID="", InstanceNumber="",
        SeriesInstanceUID=archive["first"][0].SeriesInstanceUID,
    )  # fmt: skip
    assert {one.SOPInstanceUID for one in images} == {o.SOPInstanceUID for o in archive["first"]}
    patients, _ = _find(
        port, "PATIENT", PatientRootQueryRetrieveInformationModelFind, PatientID="QR-1",
        PatientName="", NumberOfPatientRelatedInstances="",
    )  # fmt: skip
    assert [int(one.NumberOfPatientRelatedInstances) for one in patients] == [17]
    assert str(patients[0].PatientName) == "Müller^Jörg"


def test_a_level_without_its_parents_is_refused(running_suite, archive):
    assert archive
    _, status = _find(running_suite.dicom_port, "IMAGE", SOPInstanceUID="")
    assert status == 0xA900


def test_an_unsupported_key_comes_back_empty_and_is_said_to_be(running_suite, archive):
    asked = {"StudyInstanceUID": archive["study"], "InterpretationAuthor": ""}
    with senders.association(running_suite.dicom_port, [build_context(FIND)]) as made:
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "STUDY"
        for keyword, value in asked.items():
            setattr(identifier, keyword, value)
        answers = list(made.send_c_find(identifier, FIND))
    assert [answer.Status for answer, _ in answers] == [0xFF01, 0]
    assert str(answers[0][1].InterpretationAuthor or "") == ""


def test_findscu_of_pynetdicom(running_suite, archive):
    done = subprocess.run(
        [sys.executable, "-m", "pynetdicom", "findscu", "-S", "127.0.0.1",
         str(running_suite.dicom_port), "-aec", AE_TITLE, "-k", "QueryRetrieveLevel=STUDY",
         "-k", f"StudyInstanceUID={archive['other']}", "-k", "PatientID="],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "QR-2" in done.stdout + done.stderr


def test_a_cancelled_query_ends_with_cancel(running_suite, archive):
    """The answers exceed what the connection holds, so they cannot all be sent before."""
    assert archive
    with psycopg.connect(running_suite.database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO patients (patient_id, name) VALUES ('CANCEL', 'CANCEL') RETURNING id"
        )
        connection.execute(
            "INSERT INTO studies (patient_pk, study_instance_uid, description)"
            " SELECT p.id, '2.25.99.' || n, repeat('x', %s)"
            " FROM patients p, generate_series(1, %s) n WHERE patient_id = 'CANCEL'",
            (LONG, MANY),
        )
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    asked.PatientID = "CANCEL"
    asked.StudyInstanceUID = ""
    asked.StudyDescription = ""
    asked.file_meta = FileMetaDataset()
    asked.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    remote = Remote("127.0.0.1", running_suite.dicom_port, AE_TITLE, "TESTER")
    with open_association(remote, [ProposedContext(1, str(FIND), (IMPLICIT_LITTLE,))]) as made:
        query = made.request(Operation.C_FIND, made.context(str(FIND)), identifier=encoded(asked))
        statuses = [made.response(query).status]
        made.cancel(query)
        while statuses[-1] in PENDING:
            statuses.append(made.response(query).status)
    assert statuses[-1] == 0xFE00
    assert len(statuses) < MANY


def _received(folder):
    return {
        str(senders.read(path).SOPInstanceUID): path for path in folder.iterdir() if path.is_file()
    }


def _stored(suite, uids):
    rows = suite.rows(
        "SELECT sop_instance_uid, path FROM instances WHERE sop_instance_uid = ANY(:uids)",
        uids=list(uids),
    )
    return {row["sop_instance_uid"]: suite.storage / row["path"] for row in rows}


def _require_same_bytes(suite, received):
    for uid, stored in _stored(suite, received).items():
        assert datasets.encoded_data_set(received[uid]) == datasets.encoded_data_set(stored)


def test_getscu_gets_the_stored_bytes(running_suite, archive, tmp_path):
    _dcmtk(
        "getscu", "-S", "+B", "-od", str(tmp_path), "-aec", AE_TITLE, "127.0.0.1",
        str(running_suite.dicom_port), "-k", "QueryRetrieveLevel=STUDY",
        "-k", f"StudyInstanceUID={archive['study']}",
    )  # fmt: skip
    received = _received(tmp_path)
    assert len(received) == 17
    _require_same_bytes(running_suite, received)


def test_get_of_what_the_peer_takes_only_uncompressed_is_transcoded(running_suite, archive):
    assert archive
    held = pydicom.dcmread(JPEG)
    got = []

    def keep(event):
        one = event.dataset
        one.file_meta = event.file_meta
        got.append(one)
        return 0

    contexts = [
        build_context(StudyRootQueryRetrieveInformationModelGet),
        build_context(held.SOPClassUID, ImplicitVRLittleEndian),
    ]
    client = AE("GETTER")
    made = client.associate(
        "127.0.0.1", running_suite.dicom_port, contexts=contexts, ae_title=AE_TITLE,
        ext_neg=[build_role(held.SOPClassUID, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )  # fmt: skip
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    asked.StudyInstanceUID = held.StudyInstanceUID
    answers = list(made.send_c_get(asked, StudyRootQueryRetrieveInformationModelGet))
    made.release()
    assert answers[-1][0].Status == 0
    assert got[0].file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert got[0].Rows == held.Rows
    assert got[0].pixel_array.shape == held.pixel_array.shape


@pytest.fixture
def bomb(running_suite):
    """A stored object of 1 MB that is 1.2 GB when it is inflated."""
    made = datasets.build("CT", size_bytes=0, StudyInstanceUID=generate_uid())
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    head = encoded(made) + element(0x7FE00010, "OW", b"", length=1200 * 2**20)
    first = deflater.compress(head) + deflater.flush(zlib.Z_FULL_FLUSH)
    # Nothing in a block refers to what is before it: once deflated, it can be repeated.
    block = deflater.compress(bytes(2**20)) + deflater.flush(zlib.Z_FULL_FLUSH)
    raw = first + block * 1200 + deflater.flush()
    sop = str(made.SOPClassUID), str(made.SOPInstanceUID)
    remote = Remote("127.0.0.1", running_suite.dicom_port, AE_TITLE, "TESTER", 60.0)
    with open_sender(remote, contexts_for([(sop[0], DEFLATED_LITTLE)])) as sender:
        sent = sender.store([Outgoing(raw, *sop, DEFLATED_LITTLE)])
        assert [one.status for one in sent] == [0]
    running_suite.wait_for_rows(
        1, "SELECT id FROM instances WHERE sop_instance_uid = :uid", 30, uid=sop[1]
    )
    return made


def test_a_hostile_object_is_a_failed_sub_operation_and_disturbs_nobody(running_suite, bomb):
    own = running_suite.services["scp"].pid
    before = _highest_memory_kib(own)
    answers = []

    def get():
        contexts = [build_context(GET), build_context(bomb.SOPClassUID, ImplicitVRLittleEndian)]
        role = build_role(bomb.SOPClassUID, scp_role=True)
        with senders.association(running_suite.dicom_port, contexts, ext_neg=[role]) as made:
            made.dimse_timeout = made.network_timeout = 200
            asked = Dataset()
            asked.QueryRetrieveLevel = "STUDY"
            asked.StudyInstanceUID = bomb.StudyInstanceUID
            answers.extend(status for status, _ in made.send_c_get(asked, GET))

    thread = threading.Thread(target=get)
    thread.start()
    echoes = 0
    while thread.is_alive() or not echoes:
        with senders.association(running_suite.dicom_port, [build_context(Verification)]) as made:
            assert made.send_c_echo().Status == 0
        echoes += 1
    thread.join()
    assert answers[-1].Status == 0xA702
    assert answers[-1].NumberOfFailedSuboperations == 1
    assert "becomes longer than 1073741824 bytes" in running_suite.log("scp")
    assert _highest_memory_kib(own) - before < 64 * 1024


def _highest_memory_kib(pid):
    said = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in said if line.startswith("VmHWM:")]
    return int(line.split()[1])


def test_get_of_a_class_the_peer_does_not_take_is_counted_as_failed(running_suite, archive):
    contexts = [
        build_context(StudyRootQueryRetrieveInformationModelGet),
        build_context("1.2.840.10008.5.1.4.1.1.4", ExplicitVRLittleEndian),
    ]
    with senders.association(running_suite.dicom_port, contexts) as made:
        asked = Dataset()
        asked.QueryRetrieveLevel = "SERIES"
        asked.StudyInstanceUID = archive["other"]
        asked.SeriesInstanceUID = archive["objects"][-1].SeriesInstanceUID
        answers = list(made.send_c_get(asked, StudyRootQueryRetrieveInformationModelGet))
    final, identifier = answers[-1]
    assert final.Status == 0xA702
    assert final.NumberOfFailedSuboperations == 3
    assert len(identifier.FailedSOPInstanceUIDList) == 3


@contextmanager
def _storescp(folder, *options):
    port = free_port()
    folder.mkdir()
    process = subprocess.Popen(
        ["storescp", "--fork", "+B", *(options or ("+xa",)), "-od", str(folder), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _add_node(suite, ae_title, port, name):
    with signed_in(suite.web_url) as client:
        node = {"name": name, "ae_title": ae_title, "host": "127.0.0.1", "port": port}
        answer = client.post("/api/v1/nodes", json=node)
        assert answer.status_code == httpx.codes.CREATED, answer.text


def test_movescu_delivers_the_stored_bytes_of_two_studies(running_suite, archive, tmp_path):
    with _storescp(tmp_path / "received") as port:
        _add_node(running_suite, "DESTINATION", port, "destination")
        for study in (archive["study"], archive["other"]):
            _dcmtk(
                "movescu", "-S", "-aem", "DESTINATION", "-aec", AE_TITLE, "127.0.0.1",
                str(running_suite.dicom_port), "-k", "QueryRetrieveLevel=STUDY",
                "-k", f"StudyInstanceUID={study}",
            )  # fmt: skip
        assert wait_until(lambda: len(_received(tmp_path / "received")) == 20, 60)
    received = _received(tmp_path / "received")
    _require_same_bytes(running_suite, received)
    audited = running_suite.wait_for_rows(
        2, "SELECT objects FROM transactions WHERE kind = 'c-move' AND action IS NULL", 10
    )
    assert sorted(row["objects"] for row in audited) == [3, 17]


def test_private_retired_and_unknown_classes_are_found_and_retrieved(running_suite):
    made = datasets.series(4, PatientID="QR-CLASSES")
    for one, sop_class in zip(made, UNUSUAL_CLASSES, strict=True):
        one.SOPClassUID = sop_class
    assert set(senders.send_objects(running_suite.dicom_port, made)) == {0}
    study = str(made[0].StudyInstanceUID)
    of_classes = "SELECT id FROM instances WHERE sop_class_uid = ANY(:classes)"
    running_suite.wait_for_rows(4, of_classes, 10, classes=list(UNUSUAL_CLASSES))
    keys = {"StudyInstanceUID": study, "SeriesInstanceUID": str(made[0].SeriesInstanceUID)}
    found, _ = _find(running_suite.dicom_port, "IMAGE", SOPClassUID="", **keys)
    assert {str(one.SOPClassUID) for one in found} == set(UNUSUAL_CLASSES)
    received = {}

    def keep(event):
        uid = str(event.request.AffectedSOPInstanceUID)
        received[uid] = event.encoded_dataset(include_meta=False)
        return 0

    explicit = [build_context(one, ExplicitVRLittleEndian) for one in UNUSUAL_CLASSES]
    roles = [build_role(sop_class, scp_role=True) for sop_class in UNUSUAL_CLASSES]
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", study
    with senders.association(
        running_suite.dicom_port,
        [build_context(GET), *explicit],
        ext_neg=roles,
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    ) as association:
        answers = list(association.send_c_get(asked, GET))
    assert answers[-1][0].Status == 0
    stored = _stored(running_suite, [str(one.SOPInstanceUID) for one in made])
    assert received == {uid: datasets.encoded_data_set(path) for uid, path in stored.items()}
    assert len(received) == 4


def test_moves_keep_compressed_objects_as_they_are(running_suite, archive, tmp_path):
    assert archive
    with _storescp(tmp_path / "received") as port:
        _add_node(running_suite, "KEEPS", port, "keeps everything")
        _dcmtk(
            "movescu", "-S", "-aem", "KEEPS", "-aec", AE_TITLE, "127.0.0.1",
            str(running_suite.dicom_port), "-k", "QueryRetrieveLevel=STUDY",
            "-k", f"StudyInstanceUID={pydicom.dcmread(JPEG).StudyInstanceUID}",
        )  # fmt: skip
        received = _received(tmp_path / "received")
    (one,) = received.values()
    assert senders.transfer_syntax(one) == senders.transfer_syntax(JPEG)
    assert datasets.encoded_data_set(one) == datasets.encoded_data_set(JPEG)


@pytest.fixture(scope="module")
def plain(running_suite):
    """A study of text that its character set does not allow, and of two JPEG frames."""
    odd = datasets.build("CT", size_bytes=20_000, PatientID="QR-5")
    shared = {"StudyInstanceUID": odd.StudyInstanceUID, "PatientID": "QR-5"}
    raw = encoded(odd).replace(b"Test^Patient", "Müller^Jörg ".encode("latin-1"))
    curve = element(0x50003000, "OW", b"\1\0\2\0")
    at = raw.index(b"\xe0\x7f\x10\x00OW")
    with raw_association(running_suite.dicom_port, odd) as sender:
        assert sender.send(odd, data=raw[:at] + curve + raw[at:]) == 0
    film = pydicom.dcmread(JPEG)
    for keyword, value in (shared | {"SOPInstanceUID": generate_uid()}).items():
        setattr(film, keyword, value)
    film.SeriesInstanceUID, film.NumberOfFrames = generate_uid(), 2
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    (frame,) = pydicom.encaps.generate_frames(film.PixelData, number_of_frames=1)
    film.PixelData = pydicom.encaps.encapsulate([frame, frame])
    assert set(senders.send_objects(running_suite.dicom_port, [film])) == {0}
    query = "SELECT id FROM instances WHERE sop_instance_uid IN (:one, :other)"
    uids = {"one": str(odd.SOPInstanceUID), "other": str(film.SOPInstanceUID)}
    running_suite.wait_for_rows(2, query, 10, **uids)
    return {"study": str(odd.StudyInstanceUID), "odd": odd, "film": film}


def _require_same_values(suite, plain, received):
    """Compare what came in Implicit VR Little Endian with what was stored."""
    assert {senders.transfer_syntax(path) for path in received.values()} == {IMPLICIT_LITTLE}
    uid = str(plain["odd"].SOPInstanceUID)
    [before] = _stored(suite, [uid]).values()
    found = tree(datasets.encoded_data_set(received[uid]), IMPLICIT_LITTLE)
    kept = tree(datasets.encoded_data_set(before), EXPLICIT_LITTLE)
    assert {at: value for at, (_, value) in found.items()} == {
        at: value for at, (_, value) in kept.items()
    }
    assert found[(0x00100010,)][1] == "Müller^Jörg ".encode("latin-1")
    film = pydicom.dcmread(received[str(plain["film"].SOPInstanceUID)])
    assert film.PhotometricInterpretation == "RGB"
    assert film.pixel_array.shape == (2, *pydicom.dcmread(JPEG).pixel_array.shape)


def _get_implicit(suite, plain, folder):
    """Write what a C-GET of the study brings in Implicit VR Little Endian, as it comes."""
    from pynetdicom import AE, evt

    def keep(event):
        request = event.request
        uid = str(request.AffectedSOPInstanceUID)
        meta = FileMeta(str(request.AffectedSOPClassUID), uid, event.context.transfer_syntax)
        (folder / uid).write_bytes(meta.encode() + request.DataSet.getvalue())
        return 0

    classes = [plain["odd"].SOPClassUID, plain["film"].SOPClassUID]
    contexts = [build_context(one, ImplicitVRLittleEndian) for one in classes]
    made = AE("GETTER").associate(
        "127.0.0.1", suite.dicom_port, ae_title=AE_TITLE,
        contexts=[build_context(StudyRootQueryRetrieveInformationModelGet), *contexts],
        ext_neg=[build_role(one, scp_role=True) for one in classes],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )  # fmt: skip
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    asked.StudyInstanceUID = plain["study"]
    final, _ = list(made.send_c_get(asked, StudyRootQueryRetrieveInformationModelGet))[-1]
    made.release()
    assert final.Status == 0


def test_peers_of_one_transfer_syntax_get_every_value(running_suite, plain, tmp_path):
    study = f"StudyInstanceUID={plain['study']}"
    port = str(running_suite.dicom_port)
    with _storescp(tmp_path / "moved", "+xi") as destination:
        _add_node(running_suite, "PLAIN", destination, "plain")
        _dcmtk(
            "movescu", "-S", "-aem", "PLAIN", "-aec", AE_TITLE, "127.0.0.1", port,
            "-k", "QueryRetrieveLevel=STUDY", "-k", study,
        )  # fmt: skip
        assert wait_until(lambda: len(_received(tmp_path / "moved")) == 2, 60)
        _require_same_values(running_suite, plain, _received(tmp_path / "moved"))
    with _storescp(tmp_path / "sent", "+xi") as destination:
        _add_node(running_suite, "PLAIN2", destination, "forwarded to")
        with signed_in(running_suite.web_url) as client:
            nodes = client.get("/api/v1/nodes").json()["items"]
            [node] = [one["id"] for one in nodes if one["ae_title"] == "PLAIN2"]
            body = {"kind": "send", "node_id": node, "study_instance_uid": plain["study"]}
            assert client.post("/api/v1/jobs", json=body).status_code == httpx.codes.CREATED
        assert wait_until(lambda: len(_received(tmp_path / "sent")) == 2, 60)
        _require_same_values(running_suite, plain, _received(tmp_path / "sent"))
    (tmp_path / "got").mkdir()
    _get_implicit(running_suite, plain, tmp_path / "got")
    _require_same_values(running_suite, plain, _received(tmp_path / "got"))


def test_an_unknown_move_destination_is_refused(running_suite, archive):
    said = _dcmtk(
        "movescu", "-v", "-S", "-aem", "NOBODY", "-aec", AE_TITLE, "127.0.0.1",
        str(running_suite.dicom_port), "-k", "QueryRetrieveLevel=STUDY",
        "-k", f"StudyInstanceUID={archive['study']}",
        check=False,
    )  # fmt: skip
    assert "MoveDestinationUnknown" in said.replace(" ", "")


def test_an_unreachable_destination_fails_every_sub_operation(running_suite, archive):
    _add_node(running_suite, "AWAY", free_port(), "away")
    said = _dcmtk(
        "movescu", "-d", "-S", "-aem", "AWAY", "-aec", AE_TITLE, "127.0.0.1",
        str(running_suite.dicom_port), "-k", "QueryRetrieveLevel=STUDY",
        "-k", f"StudyInstanceUID={archive['other']}",
        check=False,
    )  # fmt: skip
    assert "0xa702" in said.lower()


def test_a_missing_file_is_a_warning_with_its_uid(running_suite, archive):
    series = datasets.series(4, size_bytes=5000, PatientID="QR-3")
    assert set(senders.send_objects(running_suite.dicom_port, series)) == {0}
    query = "SELECT path FROM instances WHERE sop_instance_uid = :uid"
    gone = str(series[2].SOPInstanceUID)
    [row] = running_suite.wait_for_rows(1, query, 10, uid=gone)
    (running_suite.storage / row["path"]).unlink()
    running_suite.wait_for_rows(1, query, 10, uid=str(series[3].SOPInstanceUID))
    client = AE("GETTER")
    made = client.associate(
        "127.0.0.1", running_suite.dicom_port, ae_title=AE_TITLE,
        contexts=[build_context(StudyRootQueryRetrieveInformationModelGet),
                  build_context(CTImageStorage, ExplicitVRLittleEndian)],
        ext_neg=[build_role(CTImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, lambda _event: 0)],
    )  # fmt: skip
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    asked.StudyInstanceUID = series[0].StudyInstanceUID
    final, identifier = list(made.send_c_get(asked, StudyRootQueryRetrieveInformationModelGet))[-1]
    made.release()
    assert final.Status == 0xB000
    assert final.NumberOfCompletedSuboperations == 3
    assert identifier.FailedSOPInstanceUIDList == gone


def _retrieve_status(port, model):
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", "1.2.3"
    with senders.association(port, [build_context(model)]) as made:
        if model == GET:
            answers = made.send_c_get(asked, model)
        else:
            answers = made.send_c_move(asked, "NOWHERE", model)
        return list(answers)[-1][0].Status


def test_without_the_database_queries_are_answered_as_the_documents_say(
    tmp_path, own_postgres, broker_url
):
    suite = Suite(tmp_path / "suite", own_postgres.url("draw"), broker_url)
    suite.seed()
    try:
        suite.start("scp")
        assert _find(suite.dicom_port, "STUDY", PatientID="*")[1] == 0
        own_postgres.stop()
        assert _find(suite.dicom_port, "STUDY", PatientID="*")[1] == 0xA700
        for model in (GET, StudyRootQueryRetrieveInformationModelMove):
            assert _retrieve_status(suite.dicom_port, model) == 0xA701
    finally:
        suite.end()
