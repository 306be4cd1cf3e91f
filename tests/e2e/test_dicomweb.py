"""The DICOMweb service as a process: who gets in, what is found, and that it is recorded."""

import os
import re
import subprocess
import time
from email import message_from_bytes
from pathlib import Path

import httpx
import pytest

from draw_dicomweb.handlers.guards import KNOWN_SECONDS
from support import datasets, senders
from support.service_finder import ROOT
from support.suite import signed_in
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.needs("curl")]

OBJECTS = 3
AS_STORED = "transfer-syntax=*"
RETRIEVED = """
    SELECT actor, action, study_instance_uid, sop_instance_uid FROM transactions
    WHERE replica LIKE '%dicomweb' ORDER BY id
"""


@pytest.fixture(scope="module")
def suite(running_suite):
    """The suite with DICOMweb."""
    running_suite.start("dicomweb")
    return running_suite


@pytest.fixture(scope="module")
def stored(suite):
    """The objects of a series that is indexed, and the files that hold them."""
    made = datasets.series(OBJECTS)
    assert set(senders.send_objects(suite.dicom_port, made)) == {0}
    suite.wait_for_rows(OBJECTS, "SELECT id FROM instances", 60)
    files = {Path(f).stem: Path(f) for f in suite.storage.glob("objects/**/*.dcm")}
    return made, [files[one.SOPInstanceUID].read_bytes() for one in made]


@pytest.fixture(scope="module")
def token(suite):
    """A bearer token that may read."""
    with signed_in(suite.web_url) as client:
        answer = client.post("/api/v1/tokens", json={"name": "viewer", "role": "viewer"})
        return answer.raise_for_status().json()["token"]


@pytest.fixture(scope="module")
def client(suite, token):
    """A program with that token."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=suite.dicomweb_url, headers=headers, timeout=60) as client:
        yield client


def test_nobody_gets_in_without_a_session_or_a_token(suite, stored):
    study = stored[0][0].StudyInstanceUID
    for path in ("studies", f"studies/{study}"):
        for headers in ({}, {"Authorization": "Bearer unknown"}, {"Cookie": "draw_session=no"}):
            answer = httpx.get(f"{suite.dicomweb_url}/{path}", headers=headers)
            assert answer.status_code == httpx.codes.UNAUTHORIZED, (path, headers)


def test_a_session_of_the_page_counts_until_it_ends(suite, stored):
    asked = f"{suite.dicomweb_url}/studies"
    with signed_in(suite.web_url) as page:
        cookies = dict(page.cookies)
        assert httpx.get(asked, cookies=cookies).json()
        page.delete("/api/v1/session").raise_for_status()
    time.sleep(KNOWN_SECONDS)
    assert httpx.get(asked, cookies=cookies).status_code == httpx.codes.UNAUTHORIZED


def test_what_is_stored_is_found_at_each_level(client, stored):
    first = stored[0][0]
    [study] = client.get("/studies", params={"PatientID": first.PatientID}).json()
    assert study["0020000D"]["Value"] == [first.StudyInstanceUID]
    series = f"/studies/{first.StudyInstanceUID}/series"
    [found] = client.get(series).json()
    assert found["0020000E"]["Value"] == [first.SeriesInstanceUID]
    instances = client.get(f"{series}/{first.SeriesInstanceUID}/instances").json()
    uids = {one["00080018"]["Value"][0] for one in instances}
    assert uids == {one.SOPInstanceUID for one in stored[0]}
    # What an answer calls the address of an object is one.
    address = instances[0]["00081190"]["Value"][0]
    assert client.get(address).status_code == httpx.codes.OK


def test_what_a_parameter_cannot_be_is_a_bad_request_in_words(client, stored):
    for wrong in ("limit=x", "offset=-1", "fuzzymatching=maybe", "limit=99999999999999"):
        answer = client.get(f"/studies?{wrong}")
        assert answer.status_code == httpx.codes.BAD_REQUEST, wrong
        assert answer.json()["detail"].startswith(wrong.partition("=")[0])
    odd = client.get("/studies?Nonsense=1&limit=1")
    assert odd.status_code == httpx.codes.OK
    assert "Nonsense" in odd.headers["warning"]


def test_objects_come_as_they_are_stored(client, stored):
    made, files = stored
    accept = {"Accept": f'multipart/related; type="application/dicom"; {AS_STORED}'}
    answer = client.get(f"/studies/{made[0].StudyInstanceUID}", headers=accept)
    kind = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    parts = message_from_bytes(kind + answer.content).get_payload()
    assert sorted(part.get_payload(decode=True) for part in parts) == sorted(files)
    one = f"/studies/{made[0].StudyInstanceUID}/series/{made[0].SeriesInstanceUID}"
    alone = client.get(
        f"{one}/instances/{made[0].SOPInstanceUID}",
        headers={"Accept": f"application/dicom; {AS_STORED}"},
    )
    assert alone.content == files[0]


def test_each_retrieve_is_a_line_of_the_transaction_log(suite, client, stored):
    first = stored[0][0]
    study, sop = str(first.StudyInstanceUID), str(first.SOPInstanceUID)
    before = len(suite.rows(RETRIEVED))
    client.get("/studies").raise_for_status()
    client.get(f"/studies/{study}").raise_for_status()
    series = f"/studies/{study}/series/{first.SeriesInstanceUID}"
    client.get(f"{series}/instances/{sop}").raise_for_status()
    assert client.get("/studies/1.2.3").status_code == httpx.codes.NOT_FOUND
    lines = [tuple(line.values()) for line in suite.rows(RETRIEVED)[before:]]
    assert lines == [
        ("admin (token viewer)", "study.retrieve", study, None),
        ("admin (token viewer)", "instance.retrieve", study, sop),
    ]


def test_requests_are_counted_by_template_and_name_nobody(suite, client, stored):
    client.get(f"/studies/{stored[0][0].StudyInstanceUID}").raise_for_status()
    shown = suite.services["dicomweb"].answer("/metrics")[1]
    assert 'route="/dicom-web/studies/{studies}",status="200"' in shown
    assert stored[0][0].StudyInstanceUID not in shown


def test_the_page_shows_the_service_and_gives_it_no_orders(suite):
    with signed_in(suite.web_url) as page:

        def states():
            found = page.get("/api/v1/services/dicomweb").json()
            return found["controllable"], [one["state"] for one in found["replicas"]]

        assert wait_until(lambda: states() == (False, ["ready"]), 60)
        answer = page.post("/api/v1/services/dicomweb/stop")
        assert answer.status_code == httpx.codes.CONFLICT
        assert "dicomweb" in page.get("/services").text


# --- metadata, frames and bulk data --------------------------------------------------------------


def series_path(stored):
    first = stored[0][0]
    return f"/studies/{first.StudyInstanceUID}/series/{first.SeriesInstanceUID}"


@pytest.mark.parametrize("level", ["study", "series", "instance"])
def test_metadata_are_those_of_the_files(client, stored, level):
    first, base = stored[0][0], series_path(stored)
    path = {
        "study": f"/studies/{first.StudyInstanceUID}",
        "series": base,
        "instance": f"{base}/instances/{first.SOPInstanceUID}",
    }[level]
    answer = client.get(f"{path}/metadata")
    assert answer.headers["content-type"] == "application/dicom+json"
    found = {one["00080018"]["Value"][0]: one for one in answer.json()}
    expected = stored[0] if level != "instance" else [first]
    assert found.keys() == {one.SOPInstanceUID for one in expected}
    told = found[first.SOPInstanceUID]
    assert told["00100010"]["Value"] == [{"Alphabetic": str(first.PatientName)}]
    # Relative to the address that was asked (RFC 3986), and right at each level.
    bulk = httpx.URL(str(answer.url)).join(told["7FE00010"]["BulkDataURI"])
    assert client.get(str(bulk)).content == first.PixelData


def test_metadata_are_asked_for_anew_only_when_they_are_new(client, suite):
    stored = (datasets.series(2), [])
    assert set(senders.send_objects(suite.dicom_port, stored[0])) == {0}
    uids = [one.SOPInstanceUID for one in stored[0]]
    held = "SELECT id FROM instances WHERE sop_instance_uid = ANY(:uids)"
    suite.wait_for_rows(2, held, 60, uids=uids)
    path = f"{series_path(stored)}/metadata"
    first = client.get(path)
    known = {"If-None-Match": first.headers["etag"]}
    again = client.get(path, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.json() == first.json()
    assert first.headers["content-encoding"] == "gzip"
    one = stored[0][0]
    same = {
        key: getattr(one, key)
        for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    }
    more = datasets.build("CT", InstanceNumber=77, **same)
    assert set(senders.send_objects(suite.dicom_port, [more])) == {0}
    suite.wait_for_rows(1, "SELECT id FROM instances WHERE instance_number = 77", 60)
    newer = client.get(path, headers=known)
    assert newer.headers["etag"] != first.headers["etag"]
    assert [one["00080018"]["Value"] for one in newer.json()][-1] == [more.SOPInstanceUID]


def test_frames_come_in_parts_or_alone(client, stored):
    first = stored[0][0]
    path = f"{series_path(stored)}/instances/{first.SOPInstanceUID}/frames/1"
    alone = client.get(path, headers={"Accept": "application/octet-stream"})
    assert alone.content == first.PixelData
    parts = client.get(path)
    message = message_from_bytes(
        f"Content-Type: {parts.headers['content-type']}\r\n\r\n".encode() + parts.content
    )
    [part] = message.get_payload()
    assert part.get_content_type() == "application/octet-stream"
    assert first.PixelData in parts.content
    for wrong, status in (("0", 404), ("2", 404), ("1000000000", 404), ("x", 404), ("-1", 404)):
        assert client.get(path[:-1] + wrong).status_code == status, wrong
    nothing = client.get(path, headers={"Accept": "image/jpeg"})
    assert nothing.status_code == httpx.codes.NOT_ACCEPTABLE
    assert "application/octet-stream" in nothing.json()["detail"]


def test_parts_of_bulk_data_are_had_by_range(client, stored):
    first = stored[0][0]
    path = f"{series_path(stored)}/instances/{first.SOPInstanceUID}/bulkdata/7FE00010"
    whole = first.PixelData
    part = client.get(path, headers={"Range": "bytes=10-19"})
    assert part.status_code == httpx.codes.PARTIAL_CONTENT
    assert part.content == whole[10:20]
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
    assert client.get(path, headers={"Range": "bytes=-4"}).content == whole[-4:]
    beyond = client.get(path, headers={"Range": f"bytes={len(whole)}-"})
    assert beyond.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE
    assert client.get(path, headers={"Range": "nonsense"}).content == whole
    assert client.get(path.replace("7FE00010", "00100010")).status_code == httpx.codes.NOT_FOUND


def test_the_examples_of_the_documentation_work(suite, stored, tmp_path):
    with signed_in(suite.web_url) as page:
        made = page.post("/api/v1/tokens", json={"name": "examples", "role": "operator"})
        token = made.raise_for_status().json()["token"]
    first = stored[0][0]
    file = tmp_path / "file.dcm"
    file.write_bytes(stored[1][0])
    given = {
        "DICOMWEB": suite.dicomweb_url,
        "TOKEN": token,
        "STUDY": first.StudyInstanceUID,
        "SERIES": first.SeriesInstanceUID,
        "INSTANCE": first.SOPInstanceUID,
        "FILE": str(file),
        "PATH": os.environ["PATH"],
    }
    text = (ROOT / "docs" / "dicomweb.md").read_text(encoding="utf-8")
    examples = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 4
    for example in examples:
        command = ["bash", "-euc", example]
        done = subprocess.run(command, env=given, cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, (example, done.stderr)
        assert done.stdout.strip() not in {b"", b"[]"}, example
    assert (tmp_path / "object.dcm").read_bytes() == stored[1][0]
    assert (tmp_path / "frame.raw").read_bytes() == first.PixelData
