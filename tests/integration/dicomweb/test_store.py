"""STOW-RS against a real database, broker, volume and indexer.

Not covered here: how bodies are cut into parts, see the unit tests of the reader.
"""

import contextlib
import io
import json
import time
import xml.etree.ElementTree as ET
from concurrent import futures

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from draw_dicomweb.services.json_parts import MAX_JSON_REQUEST_BYTES
from draw_dicomweb.services.store import MAX_PARTS
from draw_shared.dicom.encoding.part10 import decode
from draw_shared.messaging import topology
from draw_shared.messaging.consumer import Consumer
from draw_shared.storage import spool
from draw_shared.web.http_connection import ConnectionTimeouts
from draw_shared.web.server import WebServer
from support import datasets, service_finder
from support.indexed import IndexedStorage, stored_files
from support.receptions import same_instance
from support.storing import (
    FAILED,
    REFERENCED,
    StoringService,
    add_token,
    begin,
    body_of,
    described,
    json_body,
    media_type,
    part10,
    prepare,
    reasons,
    reported,
)
from support.waiting import wait_until

pytestmark = pytest.mark.integration

STUDIES = "/studies"
STUDY_MISMATCH, NOT_UNDERSTOOD, OUT_OF_RESOURCES = 0xA901, 0xC000, 0xA700
SYNTAX_NOT_SUPPORTED, CLASS_NOT_SUPPORTED = 0xC122, 0x0122


@pytest.fixture(scope="module")
def service(postgres_url, template, broker, tmp_path_factory):
    """One service, shared by the tests of this file, and an indexer that indexes what it stores."""
    root = tmp_path_factory.mktemp("storage")
    with (
        service_finder.cloned_database(postgres_url, template) as database_url,
        broker.vhost() as broker_url,
        contextlib.ExitStack() as ends,
    ):
        made = StoringService(database_url, broker_url, root)
        prepare(made.database, broker_url)
        ends.enter_context(made)
        indexed = IndexedStorage(root, made.database, receiving=False)
        indexer = Consumer(
            broker_url,
            topology.INSTANCE_STORED_WORK,
            indexed._handler.on_instances_stored,
            client="test",
            batch=200,
        )
        indexer.start()
        ends.callback(indexer.stop, 5)
        yield made


def send(service, *parts, path=STUDIES, client=None, **headers):
    """Store these files, and return the answer."""
    return (client or service.client).post(
        path, content=body_of(parts), headers=media_type() | headers
    )


def indexed_path(service, uid):
    """Return where the index has an instance, once it has it."""
    statement = "SELECT path FROM instances WHERE sop_instance_uid = :uid"
    assert wait_until(lambda: service.rows(statement, uid=uid)), uid
    return service.root / service.rows(statement, uid=uid)[0]["path"]


def parts_left(service):
    """Return the files of objects that are not complete."""
    return [path for path in service.dicomweb._objects.spool.iterdir() if path.suffix == ".part"]


def last_request(service):
    return service.rows(
        "SELECT actor, outcome, detail, study_instance_uid, peer_address FROM transactions"
        " WHERE action = 'objects.store' ORDER BY id DESC LIMIT 1"
    )[0]


def test_every_kind_of_file_is_kept_bit_by_bit_and_indexed(service):
    files = datasets.storable_files()
    raw = {}
    for path in files:
        content = path.read_bytes()
        meta, offset = decode(content[:65536])
        raw[meta.sop_instance_uid] = content, meta, offset
    answer = send(service, *(content for content, _, _ in raw.values()))
    assert answer.status_code == 202
    # The meta groups of two files name other instances than their data sets.
    assert reasons(answer) == [0xA900, 0xA900]
    refused = {uid: raw.pop(uid) for uid in reported(answer, FAILED)}
    assert answer.headers["content-type"] == "application/dicom+json"
    assert reported(answer, REFERENCED) == list(raw)
    assert answer.json()["00081190"] == {"vr": "UR"}
    for uid, (content, meta, offset) in raw.items():
        kept = indexed_path(service, uid).read_bytes()
        ours, begins = decode(kept[:65536])
        assert kept[begins:] == content[offset:]
        assert ours.transfer_syntax_uid == meta.transfer_syntax_uid
        assert (ours.sending_ae, ours.sending_address) == ("DICOMWEB", "127.0.0.1")
        assert ours.provenance["user"] == "operator (token test)"
        assert ours.provenance["replica"] == "test-dicomweb"
    lines = service.rows(
        "SELECT sop_instance_uid, status, outcome, calling_ae, actor, association_id, size_bytes"
        " FROM transactions WHERE kind = 'c-store' AND sop_instance_uid = ANY(:uids)",
        uids=list(raw),
    )
    assert {line["sop_instance_uid"] for line in lines} == set(raw)
    assert len(lines) == len(raw)
    assert len({line["association_id"] for line in lines}) == 1
    assert all(line["size_bytes"] and line["outcome"] == "success" for line in lines)
    assert last_request(service) == {
        "actor": "operator (token test)",
        "outcome": "success",
        "detail": f"{len(raw)} stored, {len(refused)} refused",
        "study_instance_uid": None,
        "peer_address": "127.0.0.1",
    }
    assert wait_until(lambda: not spool.entries(service.dicomweb._objects.spool))


def test_a_series_is_named_by_its_addresses_and_its_end_is_known_to_the_index(service):
    series = datasets.series(5)
    study = str(series[0].StudyInstanceUID)
    answer = send(service, *map(part10, series), path=f"{STUDIES}/{study}")
    assert answer.status_code == 200
    report = answer.json()
    address = f"{service.url}/dicom-web/studies/{study}"
    assert report["00081190"]["Value"] == [address]
    item = report[REFERENCED]["Value"][2]
    assert item["00081150"] == {"vr": "UI", "Value": [str(series[2].SOPClassUID)]}
    assert item["00081190"]["Value"] == [
        f"{address}/series/{series[2].SeriesInstanceUID}/instances/{series[2].SOPInstanceUID}"
    ]
    assert last_request(service)["study_instance_uid"] == study
    for made in series:
        indexed_path(service, str(made.SOPInstanceUID))
    [end] = service.rows(
        "SELECT e.released, e.objects, a.ordinals::text AS places FROM association_ends e"
        " JOIN association_arrivals a ON a.association_id = e.association_id"
        " WHERE e.association_id IN (SELECT association_id FROM transactions"
        " WHERE study_instance_uid = :study)",
        study=study,
    )
    assert end == {"released": True, "objects": 5, "places": "{[1,6)}"}
    got = service.client.get(f"/studies/{study}/series")
    assert [one["0020000E"]["Value"] for one in got.json()] == [[str(series[0].SeriesInstanceUID)]]


def test_duplicates_are_known_and_others_with_the_same_uid_become_conflicts(service):
    made = datasets.build(PatientName="First^One")
    other = same_instance(made, PatientName="Other^One")
    uid = str(made.SOPInstanceUID)
    assert send(service, part10(made)).status_code == 200
    before = indexed_path(service, uid)
    files = stored_files(service.root)
    for _ in range(2):
        assert reported(send(service, part10(made)), REFERENCED) == [uid]
    assert stored_files(service.root) == files
    answer = send(service, part10(other), part10(made))
    assert answer.status_code == 200
    assert reported(answer, REFERENCED) == [uid, uid]
    statement = "SELECT path FROM instance_conflicts WHERE sop_instance_uid = :uid"
    assert wait_until(lambda: service.rows(statement, uid=uid))
    [conflict] = stored_files(service.root) - files
    assert conflict.startswith("conflicts/")
    assert pydicom.dcmread(service.root / conflict).PatientName == "Other^One"
    assert pydicom.dcmread(before).PatientName == "First^One"
    details = service.rows(
        "SELECT detail FROM transactions WHERE sop_instance_uid = :uid AND kind = 'c-store'"
        " ORDER BY id",
        uid=uid,
    )
    assert [line["detail"] for line in details] == [
        None, "duplicate", "duplicate", None, "duplicate",
    ]  # fmt: skip


def test_each_object_is_answered_for_itself(service):
    good, stranger = datasets.build(), datasets.build()
    study = str(good.StudyInstanceUID)
    odd_syntax = datasets.build(StudyInstanceUID=study)
    odd_syntax.file_meta.TransferSyntaxUID = "1.2.3.4.5"
    odd_class = datasets.build(StudyInstanceUID=study)
    odd_class.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.1"
    other_class = datasets.build(StudyInstanceUID=study)
    other_class.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    no_series = datasets.build(StudyInstanceUID=study)
    del no_series.SeriesInstanceUID
    parts = [part10(one) for one in (stranger, good)]
    parts += [
        raw(other_class),
        part10(no_series),
        raw(odd_syntax),
        raw(odd_class),
        b"no file",
        part10(good)[:200],
        part10(good)[132:],
    ]
    answer = send(service, *parts, path=f"{STUDIES}/{study}")
    assert answer.status_code == 202, answer.text
    assert reported(answer, REFERENCED) == [str(good.SOPInstanceUID)]
    named = (stranger, other_class, no_series, odd_syntax, odd_class)
    assert reported(answer, FAILED) == [str(one.SOPInstanceUID) for one in named]
    assert reasons(answer)[:5] == [
        STUDY_MISMATCH,
        0xA900,
        NOT_UNDERSTOOD,
        SYNTAX_NOT_SUPPORTED,
        CLASS_NOT_SUPPORTED,
    ]
    assert set(reasons(answer)[5:]) == {NOT_UNDERSTOOD}
    assert len(reasons(answer)) == 8
    assert '299 draw "the data set is of another study"' in answer.headers.get_list("warning")
    assert last_request(service)["detail"] == "1 stored, 8 refused"
    assert not parts_left(service)


def raw(made):
    """Return an object as a file whatever its meta group says."""
    kept = made.file_meta.TransferSyntaxUID, made.file_meta.MediaStorageSOPClassUID
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    content = part10(made)
    data = content[decode(content[:65536])[1] :]
    made.file_meta.TransferSyntaxUID, made.file_meta.MediaStorageSOPClassUID = kept
    buffer = io.BytesIO()
    buffer.write(bytes(128) + b"DICM")
    pydicom.filewriter.write_file_meta_info(buffer, made.file_meta)
    return buffer.getvalue() + data


def test_if_nothing_is_stored_that_is_a_conflict(service):
    made = datasets.build()
    answer = send(service, part10(made), path=f"{STUDIES}/1.2.3")
    assert (answer.status_code, reasons(answer)) == (409, [43265])
    assert REFERENCED not in answer.json()
    before = last_request(service)
    assert (before["outcome"], before["detail"]) == ("failure", "0 stored, 1 refused")
    assert not service.rows(
        "SELECT 1 FROM instances WHERE sop_instance_uid = :uid", uid=str(made.SOPInstanceUID)
    )


@pytest.mark.parametrize(
    "kind",
    [
        'multipart/related; type="application/dicom"; boundary="0f8e"',
        "multipart/related; type=application/dicom; boundary=0f8e",
        "multipart/related; boundary=0f8e",
        'Multipart/Related; Boundary="0f8e"; Type="Application/DICOM"; start="<1>"',
    ],
)
def test_the_media_type_may_be_written_in_many_ways(service, kind):
    body = b"preamble\r\n" + body_of([part10(datasets.build())]) + b"\r\nepilogue"
    answer = service.client.post(STUDIES, content=body, headers={"Content-Type": kind})
    assert answer.status_code == 200, answer.text


def test_one_file_needs_no_parts(service):
    made = datasets.build()
    answer = service.client.post(
        STUDIES, content=part10(made), headers={"Content-Type": "application/dicom"}
    )
    assert answer.status_code == 200
    assert reported(answer, REFERENCED) == [str(made.SOPInstanceUID)]


def test_the_answer_is_had_as_xml(service):
    good, bad = datasets.build(), datasets.build()
    bad.StudyInstanceUID = "x"
    answer = send(service, part10(good), part10(bad), Accept="application/dicom+xml")
    assert answer.headers["content-type"] == "application/dicom+xml"
    root = ET.fromstring(answer.text)  # noqa: S314 - our own
    found = {
        element.attrib["keyword"]: [value.text for value in element.iter() if value.text]
        for element in root
    }
    assert str(good.SOPInstanceUID) in found["ReferencedSOPSequence"]
    assert found["FailedSOPSequence"][-1] == str(NOT_UNDERSTOOD)
    assert send(service, part10(good), Accept="text/html").status_code == 406


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Encoding": "zstd"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=0f8e"}, 415),
        ({"Content-Type": "application/octet-stream"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Content-Type": 'multipart/related; type="application/dicom+xml"; boundary=0f8e'}, 415),
        ({"Content-Type": "multipart/related; type=application/dicom"}, 400),
        ({"Content-Type": b"multipart/related; type=application/dicom; boundary=\xe4"}, 400),
        ({"Content-Type": "multipart/related; type=application/dicom; boundary=other"}, 400),
    ],
)
def test_bodies_that_are_not_taken_are_refused_in_words(service, headers, status):
    before = stored_files(service.root)
    content = body_of([part10(datasets.build())])
    answer = service.client.post(STUDIES, content=content, headers=media_type() | headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert stored_files(service.root) == before


@pytest.mark.security
def test_only_operators_store_and_no_other_site_makes_them(service):
    content = body_of([part10(datasets.build())])
    before = stored_files(service.root)

    def status(client, **headers):
        return client.post(STUDIES, content=content, headers=media_type() | headers).status_code

    assert status(service.client_of()) == 401
    assert status(service.client_of("made up")) == 401
    viewer = service.client_of(add_token(service.database, "viewer"))
    assert status(viewer) == 403
    browser = service.client_of(Cookie=f"draw_session={service.session()}")
    assert status(browser) == 403
    assert status(browser, Origin="https://elsewhere.example") == 403
    assert stored_files(service.root) == before
    assert status(browser, Origin=service.url) == 200
    assert service.client.post("/series", content=b"").status_code == 405
    assert service.client.put(STUDIES, content=b"").headers["allow"] == "GET, HEAD, POST"
    assert service.client.post("/studies/..%2f1", content=content).status_code == 404
    assert service.client.post("/studies/1.2%00", content=content).status_code == 404


def test_what_came_before_a_broken_part_stays_and_nothing_of_that_part(service):
    whole, cut = datasets.build(), datasets.build(size_bytes=3_000_000)
    begun = body_of([part10(whole), part10(cut)])
    answer = service.client.post(STUDIES, content=begun[:-5_000], headers=media_type())
    assert answer.status_code == 400
    assert reported(answer, REFERENCED) == [str(whole.SOPInstanceUID)]
    assert reported(answer, FAILED) == [str(cut.SOPInstanceUID)]
    assert any("last boundary" in one for one in answer.headers.get_list("warning"))
    indexed_path(service, str(whole.SOPInstanceUID))
    assert not parts_left(service)
    line = last_request(service)
    assert line["outcome"] == "failure"
    assert line["detail"].startswith("1 stored, 1 refused: The body ends")


@pytest.mark.security
@pytest.mark.parametrize(
    "headers",
    ["A: \0\r\n", "no colon\r\n", f"A: {'x' * 20_000}\r\n", "A: b\r\n" * 100, "A: ..\rB: c\r\n"],
)
def test_malformed_headers_of_a_part_end_the_request(service, headers):
    content = body_of([part10(datasets.build())], headers=headers)
    answer = service.client.post(STUDIES, content=content, headers=media_type())
    assert answer.status_code == 400
    assert "headers" in answer.json()["detail"]


def test_parts_that_are_encoded_or_of_another_type_are_refused_alone(service):
    good = part10(datasets.build())
    odd = [
        "Content-Type: text/plain\r\n",
        "Content-Type: application/dicom\r\nContent-Transfer-Encoding: base64\r\n",
        "Content-Encoding: gzip\r\n",
    ]
    content = b"".join(body_of([good], headers=one, end="\r\n")[:-8] for one in odd)
    content += body_of([good], headers="Content-Location: ../../etc/passwd\r\n")
    answer = service.client.post(STUDIES, content=content, headers=media_type())
    assert answer.status_code == 202, answer.text
    assert len(reported(answer, REFERENCED)) == 1
    assert reasons(answer) == [NOT_UNDERSTOOD] * 3


@pytest.mark.security
def test_ten_thousand_parts_are_answered_and_more_than_may_be_are_not_read(service):
    answer = send(service, *[b"x"] * 10_000)
    assert answer.status_code == 409
    assert len(reasons(answer)) == 10_000
    good = datasets.build()
    answer = send(service, part10(good), *[b"x"] * MAX_PARTS, part10(datasets.build()))
    assert answer.status_code == 413
    assert reported(answer, REFERENCED) == [str(good.SOPInstanceUID)]
    assert len(reasons(answer)) == MAX_PARTS - 1


def test_objects_beyond_the_configured_size_are_refused(service):
    small, large = datasets.build(), datasets.build(size_bytes=2 * 2**20)
    service.configure("storage.max_object_bytes", 2**20)
    try:
        mixed = send(service, part10(large), part10(small))
        alone = send(service, part10(large))
    finally:
        service.configure("storage.max_object_bytes", 2**33)
    assert (mixed.status_code, reasons(mixed)) == (202, [OUT_OF_RESOURCES])
    assert (alone.status_code, reasons(alone)) == (413, [OUT_OF_RESOURCES])
    assert not parts_left(service)
    assert send(service, part10(large)).status_code == 200


def test_a_full_quota_is_the_answer_of_each_object(service):
    service.configure("storage.max_storage_gb", 1)
    space = service.dicomweb._space
    used = space.used_bytes
    space.added(2**40)
    try:
        answer = send(service, part10(datasets.build()))
    finally:
        space.freed(2**40)
        service.configure("storage.max_storage_gb", 0)
    assert space.used_bytes == used
    assert (answer.status_code, reasons(answer)) == (409, [OUT_OF_RESOURCES])
    assert any("quota" in one for one in answer.headers.get_list("warning"))


def test_a_client_that_goes_away_leaves_what_is_complete_and_nothing_else(service):
    whole, cut = datasets.build(), datasets.build(size_bytes=3_000_000)
    content = body_of([part10(whole), part10(cut)])
    with begin(service, content[:-100_000], len(content)):
        assert wait_until(lambda: parts_left(service))
    assert wait_until(lambda: not parts_left(service))
    indexed_path(service, str(whole.SOPInstanceUID))
    assert wait_until(lambda: "went away" in last_request(service)["detail"])
    assert last_request(service)["detail"] == "1 stored, 1 refused: the client went away"


@pytest.mark.security
def test_a_body_that_goes_on_may_take_long_and_silence_ends_it(service):
    times = ConnectionTimeouts(body=1.0, least_bytes=1000)
    web = WebServer(service.application, "127.0.0.1", 0, trusted_proxies="", times=times)
    web.start()
    try:
        made = datasets.build(size_bytes=3_000_000)
        content = body_of([part10(made)])
        piece = -(-len(content) // 30)
        with begin(service, b"", len(content), web.port) as slow:
            for at in range(0, len(content), piece):
                slow.sendall(content[at : at + piece])
                time.sleep(0.1)
            assert slow.recv(100).startswith(b"HTTP/1.1 200")
        with begin(service, content[: len(content) // 2], len(content), web.port) as silent:
            assert wait_until(lambda: parts_left(service))
            assert silent.recv(100).startswith(b"HTTP/1.1 408")
        assert wait_until(lambda: not parts_left(service))
    finally:
        web.stop(5)


@pytest.mark.security
def test_a_wrong_length_of_the_body_stores_nothing_that_is_not_complete(service):
    made = datasets.build()
    content = body_of([part10(made)])
    with begin(service, content, len(content) - 100) as short:
        assert short.recv(100).startswith(b"HTTP/1.1 400")
    assert not parts_left(service)
    assert not service.rows(
        "SELECT 1 FROM instances WHERE sop_instance_uid = :uid", uid=str(made.SOPInstanceUID)
    )


def test_several_clients_store_at_once_and_every_object_is_there_once(service):
    series = [datasets.series(20) for _ in range(4)]
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(futures.ThreadPoolExecutor(4))
        answers = list(pool.map(lambda one: send(service, *map(part10, one)), series))
    assert [answer.status_code for answer in answers] == [200] * 4
    for made in (one for each in series for one in each):
        indexed_path(service, str(made.SOPInstanceUID))


def send_json(service, content):
    return service.client.post(
        STUDIES, content=content, headers=media_type(kind="application/dicom+json")
    )


def test_metadata_with_bulk_data_beside_it_becomes_objects(service):
    objects = [
        datasets.build(size_bytes=20_000, PatientName="M\xfcller^\xc4nne"),
        datasets.build("RTSTRUCT"),
    ]
    objects = [pydicom.dcmread(io.BytesIO(part10(one))) for one in objects]
    real = pydicom.dcmread(datasets.DATA / "test_files" / "MR_small.dcm")
    real.SOPInstanceUID = generate_uid()
    objects.append(real)
    bulk = {}
    answer = send_json(service, json_body([described(one, bulk) for one in objects], bulk))
    assert answer.status_code == 200, answer.text
    assert len(bulk) == 2
    for made in objects:
        kept = pydicom.dcmread(indexed_path(service, str(made.SOPInstanceUID)))
        assert kept.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert kept.SpecificCharacterSet == "ISO_IR 192"
        kept.SpecificCharacterSet = made.SpecificCharacterSet = None
        assert kept.to_json_dict() == made.to_json_dict()


def test_metadata_that_cannot_be_used_is_refused_alone(service):
    good, lost = datasets.build("RTPLAN"), datasets.build(size_bytes=5_000)
    metadata = [described(lost, {}), described(good, {}), {"00080018": 5}, {}]
    answer = send_json(service, json_body(metadata, {}))
    assert answer.status_code == 202, answer.text
    assert reported(answer, REFERENCED) == [str(good.SOPInstanceUID)]
    assert reported(answer, FAILED) == [str(lost.SOPInstanceUID)]
    assert reasons(answer) == [NOT_UNDERSTOOD] * 3
    single = service.client.post(
        STUDIES,
        content=json.dumps(described(good, {})),
        headers={"Content-Type": "application/dicom+json"},
    )
    assert reported(single, REFERENCED) == [str(good.SOPInstanceUID)]


@pytest.mark.security
@pytest.mark.parametrize(
    ("content", "status"),
    [
        (json_body([], {}), 400),
        (json_body([5], {}), 400),
        (json_body([], {"": b"x"}), 400),
        (json_body([], {}).replace(b"[]", b"{" * 10), 400),
        (json_body([], {}).replace(b"[]", b"[" * 200_000), 400),
        (json_body([], {}).replace(b"[]", b"\xff"), 400),
        (json_body([], {"a": bytes(MAX_JSON_REQUEST_BYTES)}), 413),
    ],
)
def test_bodies_that_are_no_metadata_are_refused_in_words(service, content, status):
    answer = send_json(service, content)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]
