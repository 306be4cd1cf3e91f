"""The servers that tests stand on; containers are not covered here."""

import os
import subprocess
import sys
from uuid import uuid4

import pytest
from sqlalchemy import text

from draw_shared.db.guard import require_served_schema
from draw_shared.db.session import Database
from support.service_finder import ROOT, named
from support.waiting import wait_until
from tools.processes import command_line, find

pytestmark = pytest.mark.integration


def test_a_test_gets_a_migrated_database_of_its_own(database_url, worker_database_url, database):
    assert database_url != worker_database_url
    with database.session() as session:
        require_served_schema(session)
        count = session.connection().execute(text("SELECT count(*) FROM studies")).scalar()
    assert count == 0


def test_a_database_is_gone_after_its_test(postgres_url, database_url):
    other = Database(named(postgres_url, "postgres"))
    with other.session() as session:
        names = session.connection().execute(text("SELECT datname FROM pg_database")).scalars()
        assert database_url.rpartition("/")[2] in set(names)
    other.dispose()


def test_a_test_gets_a_virtual_host_of_its_own(broker, broker_url, worker_broker_url):
    assert broker_url != worker_broker_url
    if broker.management_url:
        name = broker_url.rpartition("/")[2]
        assert broker.manage("GET", f"vhosts/{name}")["name"] == name


ONE_RUN = """
import os
from pathlib import Path

from sqlalchemy import text


def test_that_needs_a_database(database, tmp_path):
    with database.session() as session:
        connection = session.connection()
        assert connection.execute(text("SHOW dynamic_shared_memory_type")).scalar() == "mmap"
        backend = connection.execute(text("SELECT pg_backend_pid()")).scalar()
    status = Path(f"/proc/{backend}/status").read_text()
    server = status.partition("PPid:")[2].split()[0]
    Path(os.environ["TOLD"]).write_text(server)
    (tmp_path / "file").touch()


def test_that_needs_one_beside_it(database_url):
    assert database_url
"""


def test_a_run_leaves_no_files_no_shared_memory_and_no_processes(tmp_path):
    temporary, told = tmp_path / "tmp", tmp_path / "server"
    temporary.mkdir()
    tests = ROOT / "tests" / f"test_run_{uuid4().hex[:12]}.py"
    tests.write_text(ONE_RUN)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DRAW_", "PYTEST_"))}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-o", "addopts=", "--import-mode=importlib", "-q",
             "-p", "no:cacheprovider", "-n", "2", str(tests)],
            cwd=ROOT,
            env=inherited | {"TMPDIR": str(temporary), "TOLD": str(told)},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    finally:
        tests.unlink()
    assert "2 passed" in done.stdout, done.stdout
    assert wait_until(lambda: not list(temporary.glob("draw-tests-*")), 60)
    assert [path for path in temporary.rglob("*") if path.is_file()] == []

    def working():
        return find(lambda pid: any(str(tmp_path) in word for word in command_line(pid)))

    assert wait_until(lambda: not working(), 60)
    segments = subprocess.run(["ipcs", "-m", "-p"], capture_output=True, text=True, check=True)
    assert told.read_text() not in segments.stdout.split()
