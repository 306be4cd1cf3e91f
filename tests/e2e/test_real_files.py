"""Every storable file of pydicom's test data goes all the way through the suite.

Sent byte by byte by pynetdicom, and as DCMTK encodes them by storescu. Query and retrieve are
not covered here.
"""

import hashlib
import time
from pathlib import Path

import pytest

from support import datasets, senders
from support.suite import all_pages, signed_in
from tools.processes import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

INDEX_SECONDS = 60.0
# DCMTK 3.6.7 cannot read these itself.
UNREADABLE_FOR_DCMTK = {"SC_rgb_jpeg.dcm", "rtdose_rle.dcm", "rtdose_rle_1frame.dcm"}


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


def _studies(client):
    return {s["study_instance_uid"] for s in all_pages(client, "/api/v1/studies", limit=500)}


def _wait_for_studies(client, wanted):
    began = time.monotonic()
    assert wait_until(lambda: wanted <= _studies(client), INDEX_SECONDS), (
        f"not in the index: {wanted - _studies(client)}"
    )
    return time.monotonic() - began


def _study_uids(paths):
    return {str(senders.read(path).StudyInstanceUID) for path in paths}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sent")
    distinct = datasets.distinct(datasets.storable_files())
    return [senders.with_agreeing_meta(path, folder) for path in distinct]


def test_the_set_is_not_empty(files):
    assert len(files) > 120


def test_pynetdicom_stores_every_file_and_finds_it_within_2_seconds(running_suite, files):
    statuses = senders.send_files(running_suite.dicom_port, files)
    assert {path.name: hex(status) for path, status in statuses.items() if status} == {}
    with signed_in(running_suite.web_url) as client:
        _wait_for_studies(client, _study_uids(files))
        sent = {datasets.sop_instance_uid(path) for path in files}
        assert wait_until(lambda: sent <= set(_indexed(client)), INDEX_SECONDS)


def test_files_lie_where_the_structure_says_with_the_bytes_that_were_sent(running_suite, files):
    rows = running_suite.rows(
        "SELECT sop_instance_uid, study_instance_uid, series_instance_uid, path FROM instances"
        " JOIN series ON series.id = series_pk JOIN studies ON studies.id = study_pk"
    )
    found = {row["sop_instance_uid"]: row for row in rows}
    for path in files:
        row = found[datasets.sop_instance_uid(path)]
        stored = running_suite.storage / row["path"]
        folders = Path(row["path"]).parts
        assert folders[0] == "objects"
        assert folders[-3:] == (
            row["study_instance_uid"],
            row["series_instance_uid"],
            f"{row['sop_instance_uid']}.dcm",
        )
        assert datasets.encoded_data_set(stored) == datasets.encoded_data_set(path), path.name
        assert senders.transfer_syntax(stored) == senders.transfer_syntax(path)


def test_the_hash_in_the_index_is_that_of_the_bytes(running_suite, files):
    with signed_in(running_suite.web_url) as client:
        indexed = _indexed(client)
    for path in files:
        sent = hashlib.sha256(datasets.encoded_data_set(path)).hexdigest()
        assert indexed[datasets.sop_instance_uid(path)]["content_sha256"] == sent, path.name


def test_dcmtk_stores_every_file_and_finds_it_within_2_seconds(running_suite):
    everything = datasets.storable_files()
    fresh = [path for path in everything if path.name not in UNREADABLE_FOR_DCMTK]
    studies_before = running_suite.rows("SELECT count(*) AS n FROM studies")[0]["n"]
    assert senders.storescu(running_suite.dicom_port, fresh) == []
    with signed_in(running_suite.web_url) as client:
        _wait_for_studies(client, _study_uids(fresh))
    assert running_suite.rows("SELECT count(*) AS n FROM studies")[0]["n"] == studies_before


def test_what_was_sent_twice_is_indexed_once(running_suite, files):
    rows = running_suite.rows("SELECT sop_instance_uid FROM instances")
    uids = [row["sop_instance_uid"] for row in rows]
    assert len(uids) == len(set(uids)) == len(files)


def test_nothing_is_left_in_the_spool_once_announced(running_suite):
    spool = running_suite.storage / "spool"
    assert wait_until(lambda: not list(spool.rglob("*.dcm")) + list(spool.rglob("*.part")), 60)


def test_logs_name_no_patient(running_suite, files):
    names = {str(senders.read(path).get("PatientName", "")) for path in files}
    written = "".join(running_suite.log(name) for name in running_suite.services)
    assert {name for name in names if len(name) > 5 and name in written} == set()
