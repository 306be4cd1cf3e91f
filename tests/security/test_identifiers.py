"""A patient whose name and number are easy to find is where she has to be, and nowhere else.

She is looked for in every message, log, metric, error text and name that others can see, once by
what goes well and once by what goes wrong. Not covered: PostgreSQL's own log, which lies in the
launcher's home (tests/e2e/test_launcher.py), and folders of other programs, whose names are UIDs.
"""

import os
import stat
from pathlib import Path

import pika
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from draw_shared.messaging import topology
from draw_shared.storage.layout import CONFIG
from support import senders
from support.datasets import build, series
from support.raw_stores import raw_association
from support.suite import Suite, signed_in
from support.waiting import wait_until
from tools.service_process import SERVICES

pytestmark = [pytest.mark.e2e, pytest.mark.security]

FIND = StudyRootQueryRetrieveInformationModelFind
HERSELF = {
    "PatientName": "Zwitschervogel^Canary",
    "PatientID": "KANARI-4711",
    "AccessionNumber": "ACCKANARI",
    "OtherPatientIDs": "KANARI-0815",
    "PatientBirthDate": "19370511",
}
MARKS = ("zwitschervogel", "kanari", "19370511")
EXCHANGES = (topology.EVENTS, topology.CONTROL, topology.NOTICES, topology.UNROUTABLE)
DEAD = "indexer.dead"


def named_in(text):
    """Return what of her a text says."""
    found = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return [mark for mark in MARKS if mark in found.lower()]


class Tap:
    """A queue that hears what everybody says on every exchange."""

    def __init__(self, url):
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        topology.declare(self._channel)
        self.queue = self._channel.queue_declare("", exclusive=True).method.queue
        for exchange in EXCHANGES:
            self._channel.queue_bind(self.queue, exchange, "#")
        self.heard = []

    def listen(self):
        """Take what has come, and return all of it so far as (routing key, body)."""
        while (got := self._channel.basic_get(self.queue, auto_ack=True))[0] is not None:
            self.heard.append((got[0].routing_key, got[2]))
        return self.heard

    def dead(self):
        """Take one dead letter and return it with what its headers say, or nothing."""
        method, properties, body = self._channel.basic_get(DEAD, auto_ack=True)
        return [] if method is None else [body + repr(properties.headers).encode()]

    def close(self):
        self._connection.close()


@pytest.fixture(scope="module")
def told(running_suite):
    """What services, peers and programs were told of her, well and wrongly, by where it was."""
    suite, tap = running_suite, Tap(running_suite.broker_url)
    texts = {}
    try:
        good, damaged = series(3, **HERSELF), build("CT", **HERSELF)
        assert set(senders.send_objects(suite.dicom_port, good)) == {0}
        suite.wait_for_rows(3, "SELECT id FROM instances", 60)
        damage(suite, damaged)
        letters = []
        assert wait_until(lambda: letters.extend(tap.dead()) or letters, 60)
        texts["dead letter"] = letters[0]
        texts["comments"] = repr(refusals(suite, build("CT", **HERSELF)))
        with signed_in(suite.web_url) as client:
            texts |= complaints(client, str(good[0].StudyInstanceUID))
            texts |= jobs(client)
        kinds = {"instance.stored.v2", "transactions.recorded.v1", "series.stable.v1"}
        kinds |= {"job.ready.v1"}
        assert wait_until(lambda: kinds <= {key for key, _ in tap.listen()}, 60)
        texts |= {f"message {n} {key}": body for n, (key, body) in enumerate(tap.heard)}
    finally:
        tap.close()
    suite.start("dicomweb")
    for service in SERVICES:
        texts[f"log of {service.name}"] = suite.log(service.name)
        texts[f"metrics of {service.name}"] = suite.services[service.name].answer("/metrics")[1]
        texts[f"processes of {service.name}"] = words_of(suite.services[service.name].pid)
    return texts


def damage(suite, made):
    """Have an object stored whose file is damaged before the indexer reads it."""
    suite.stop("indexer")
    assert senders.send_objects(suite.dicom_port, [made]) == [0]
    (file,) = suite.storage.glob(f"objects/**/{made.SOPInstanceUID}.dcm")
    file.write_bytes(b"KANARI-4711 and no DICOM")
    suite.start("indexer")


def refusals(suite, made):
    """Return what a sender and an asker are answered who do it wrongly."""
    with raw_association(suite.dicom_port, made) as association:
        del made.StudyInstanceUID
        refused = association.answer(made)
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    for keyword, value in HERSELF.items():
        setattr(asked, keyword, value)
    asked.StudyDate = "KANARI"
    with senders.association(suite.dicom_port, [build_context(FIND, ImplicitVRLittleEndian)]) as to:
        answers = [status for status, _ in to.send_c_find(asked, FIND)]
        asked.QueryRetrieveLevel = "KANARI"
        answers += [status for status, _ in to.send_c_find(asked, FIND)]
    assert refused[0] != 0
    return refused, [str(answer) for answer in answers]


def complaints(client, study):
    """Return what the API says about requests that name her and are wrong."""
    name, number = HERSELF["PatientName"], HERSELF["PatientID"]
    query = {"node_ids": [1], "level": "STUDY", "keys": {"PatientName": name, "StudyDate": number}}
    answers = [
        client.get("/api/v1/studies", params={"patient_name": name, "date_from": number}),
        client.get("/api/v1/patients", params={"patient_id": number, "ambiguous": name}),
        client.get(f"/api/v1/studies/{study}/series/{number}/instances"),
        client.get(f"/api/v1/instances/{number}"),
        client.post("/api/v1/queries", json=query),
        client.post("/api/v1/jobs", json={"kind": "send", "node_id": number, "name": name}),
        client.post("/api/v1/users", json={"name": name, "role": number}),
    ]
    assert {answer.status_code // 100 for answer in answers} == {4}
    return {f"{n} {answer.request.method} {answer.status_code}": answer.text
            for n, answer in enumerate(answers)}  # fmt: skip


def jobs(client):
    """Have a node asked for her, which does not answer; return what is said of that."""
    node = {"name": "away", "ae_title": "AWAY", "host": "127.0.0.1", "port": 1}
    made = client.post("/api/v1/nodes", json=node).raise_for_status().json()
    echo = {"kind": "echo", "node_id": made["id"]}
    job = client.post("/api/v1/jobs", json=echo).raise_for_status().json()
    return {"job": client.get(f"/api/v1/jobs/{job['id']}").text}


def words_of(pid):
    """Return the command lines of a service and its children, which everybody on the machine sees.

    Its environment is for its own user.
    """
    group = os.getpgid(pid)
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) == group:
                found.append((folder / "cmdline").read_bytes())
        except (OSError, ProcessLookupError):
            continue
    assert found
    return b"\n".join(found)


def test_nothing_that_others_see_names_her(told):
    assert len(told) > 20
    assert {where: named for where, text in told.items() if (named := named_in(text))} == {}


def test_only_the_services_user_and_group_see_names_on_the_volume(running_suite, told):
    assert told
    named, open_to_others = [], []
    for folder, folders, files in os.walk(running_suite.storage):
        # Made by the test itself, and has AE titles, no patients.
        folders[:] = [name for name in folders if name != CONFIG]
        for name in (*folders, *files):
            path = Path(folder, name)
            named += [path] if named_in(name) else []
            mode = stat.S_IMODE(path.stat(follow_symlinks=False).st_mode)
            if mode & stat.S_IRWXO or mode & stat.S_IWGRP:
                open_to_others.append((str(path), oct(mode)))
    assert named, "the structure names folders by Patient ID"
    assert all(path.is_relative_to(running_suite.storage / "objects") for path in named)
    assert open_to_others == []


def test_an_older_volume_is_closed_to_others_by_the_next_start(tmp_path, database_url, broker_url):
    suite = Suite(tmp_path, database_url, broker_url)
    suite.seed()
    old = [suite.storage / name for name in ("objects", "objects/KANARI", "spool", "conflicts")]
    for folder in old:
        folder.mkdir()
        folder.chmod(0o755)
    try:
        suite.start("scp")
    finally:
        suite.end()
    modes = {folder.name: stat.S_IMODE(folder.stat().st_mode) for folder in old}
    assert modes == {"objects": 0o750, "KANARI": 0o755, "spool": 0o750, "conflicts": 0o750}
