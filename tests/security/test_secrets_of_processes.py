"""Processes that read what others have sent know no secret; a service knows its own and no other.

What a process was started with is read from the kernel, and so is whom it is connected to.
"""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import make_url

from support import datasets, senders, service_finder
from support.raw_stores import raw_association
from support.suite import ADMIN_PASSWORD, ROLE_PASSWORD, Suite, signed_in
from support.waiting import wait_until
from tools.processes import command_line, environment, group_members
from tools.service_process import SERVICES

pytestmark = pytest.mark.e2e

READING = ("draw_indexer.adapters.reader_process", "draw_api.adapters.object_child")
SECRET = re.compile(r"DRAW_(?!LOG_)\w*(URL|FILE|PASSWORD|SECRET)=")
RECEIVING, ANNOUNCING = "draw_scp.receiving", "draw_scp.announcing"


@pytest.fixture(scope="module")
def suite(tmp_path_factory, postgres_url, template, broker):
    """A suite at work, with each of the processes that services start."""
    with (
        service_finder.cloned_database(postgres_url, template) as database_url,
        broker.vhost() as broker_url,
    ):
        suite = Suite(
            tmp_path_factory.mktemp("suite"), database_url, broker_url, DRAW_SCP_PROCESSES="2"
        )
        suite.seed()
        try:
            suite.start(*suite.services)
            made = datasets.build()
            assert senders.send_objects(suite.dicom_port, [made]) == [0]
            look_at(suite, made)
            have_another_process_receive(suite, made)
            yield suite
        finally:
            suite.end()


def look_at(suite, made):
    """Have a picture of an object drawn."""
    found = "SELECT FROM instances WHERE sop_instance_uid = :uid"
    assert suite.wait_for_rows(1, found, 60, uid=made.SOPInstanceUID)
    with signed_in(suite.web_url) as client:
        client.get(f"/api/v1/instances/{made.SOPInstanceUID}/elements").raise_for_status()


def have_another_process_receive(suite, made):
    """Let two senders have their say at once."""
    with raw_association(suite.dicom_port, made), raw_association(suite.dicom_port, made):
        assert wait_until(lambda: RECEIVING in children(suite), 60)


def children(suite):
    """Return, by the module that they run, the processes that services have started."""
    found = {}
    for process in suite.services.values():
        for pid in group_members(process.pid):
            words = command_line(pid)
            if pid != process.pid and "-m" in words:
                found.setdefault(words[words.index("-m") + 1], []).append(pid)
    return found


def connected_to(pid):
    """Return the ports that a process is connected to."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            inodes.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, _, remote, _, *_, inode = line.split()[:10]
        if inode in inodes:
            ports.add(int(remote.partition(":")[2], 16))
    return ports


def secrets(pid):
    """Return what of a process's environment would let it in somewhere."""
    values = (
        "postgresql://",
        "amqp://",
        ROLE_PASSWORD,
        service_finder.USER_PASSWORD,
        ADMIN_PASSWORD,
    )
    return [
        pair
        for pair in environment(pid)
        if any(value in pair for value in values) or SECRET.match(pair)
    ]


def test_each_kind_of_process_is_looked_at(suite):
    assert {*READING, RECEIVING, ANNOUNCING} <= set(children(suite))


def test_who_reads_what_others_have_sent_knows_no_secret(suite):
    servers = {make_url(suite.database_url).port, make_url(suite.broker_url).port}
    for module, pids in children(suite).items():
        for pid in pids if module != ANNOUNCING else ():
            assert secrets(pid) == [], module
            assert not connected_to(pid) & servers, module


def test_who_announces_knows_the_broker_and_nothing_else(suite):
    for pid in children(suite)[ANNOUNCING]:
        [told] = secrets(pid)
        assert told.startswith("DRAW_BROKER_URL=amqp://draw-test-scp:")
        assert make_url(suite.database_url).port not in connected_to(pid)


@pytest.mark.parametrize("name", [service.name for service in SERVICES])
def test_a_service_is_told_its_own_secrets_and_no_other_s(suite, name):
    told = dict(pair.split("=", 1) for pair in secrets(suite.services[name].pid))
    assert make_url(told.pop("DRAW_DATABASE_URL")).username == f"draw_test_{name.replace('-', '_')}"
    assert make_url(told.pop("DRAW_BROKER_URL")).username == f"draw-test-{name}"
    told.pop("DRAW_ADMIN_PASSWORD" if name == "api" else "", None)
    told.pop("DRAW_TRANSACTION_KEYS_FILE" if name in {"indexer", "dicomweb", "api"} else "", None)
    assert told == {}


def test_nobody_but_the_services_roles_works_in_the_database(suite):
    rows = suite.rows(
        "SELECT DISTINCT usename, usesuper FROM pg_stat_activity JOIN pg_user USING (usename)"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    expected = {f"draw_test_{service.name.replace('-', '_')}" for service in SERVICES}
    own = make_url(suite.database_url).username
    assert {row["usename"] for row in rows} - {own} == expected
