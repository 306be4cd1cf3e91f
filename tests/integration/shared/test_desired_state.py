"""What operators want of a replica, read from a real PostgreSQL."""

import json

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from draw_shared.db.session import Database, DatabaseUnavailable
from draw_shared.runtime.desired_state import LOST, DesiredState, Wanted
from draw_shared.runtime.lifecycle import State

pytestmark = pytest.mark.integration

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture
def tell(database):
    """Return a function that says what is wanted of the service or of one replica."""

    def say(wanted, replica="", restarts=0):
        with database.session() as session:
            session.connection().execute(
                text(
                    "INSERT INTO service_controls (service, replica, desired_state,"
                    " restart_generation) VALUES ('scp', :replica, :wanted, :restarts)"
                    " ON CONFLICT (service, replica) DO UPDATE SET desired_state = :wanted,"
                    " restart_generation = :restarts, updated_at = clock_timestamp()"
                ),
                {"replica": replica, "wanted": wanted, "restarts": restarts},
            )
            session.commit()

    return say


@pytest.fixture
def begun(database):
    """Return a function that starts to watch and returns who watches."""
    started = []

    def begin(**how):
        how = {"service": "scp", "replica": "one", **how}
        made = DesiredState(how.pop("database", database), **how)
        made.start()
        started.append(made)
        return made

    yield begin
    for one in started:
        one.stop(5)


def test_without_a_word_a_replica_runs(begun):
    assert begun().wanted == Wanted(running=True)


def test_the_word_to_one_replica_goes_before_that_to_all(begun, tell):
    desired = begun()
    tell("stopped")
    desired.refresh()
    assert not desired.wanted.running
    tell("running", "one")
    desired.refresh()
    assert desired.wanted.running
    tell("stopped", "another")
    desired.refresh()
    assert desired.wanted.running


def test_only_restarts_since_the_start_count(begun, tell):
    tell("running", restarts=3)
    desired = begun()
    heard = []
    desired.on_change(heard.append)
    assert desired.wanted.restarts == 0
    tell("running", restarts=4)
    desired.refresh()
    desired.refresh()
    assert heard == [Wanted(running=True, restarts=1)]


def test_without_auto_start_a_replica_waits_for_the_next_word(begun, tell):
    tell("running")
    desired = begun(auto_start=lambda: False)
    assert not desired.wanted.running
    tell("running")
    desired.refresh()
    assert desired.wanted.running


def test_until_it_is_known_whether_it_starts_by_itself_a_replica_waits(begun):
    answers = [None]
    desired = begun(
        database=Database(NOWHERE, connect_timeout_seconds=1), auto_start=lambda: answers[-1]
    )
    assert not desired.wanted.running
    assert not desired.decided
    answers.append(True)
    with pytest.raises(DatabaseUnavailable):
        desired.refresh()
    assert desired.decided
    assert desired.wanted.running, "the volume knows the configuration, the database is away"
    answers.append(False)
    with pytest.raises(DatabaseUnavailable):
        desired.refresh()
    assert desired.wanted.running, "asked no more"


def test_with_the_database_down_the_last_word_holds(begun, tell, tmp_path):
    file = tmp_path / "config" / "desired.scp.json"
    tell("stopped")
    tell("running", "two")
    assert not begun(file=file).wanted.running
    assert json.loads(file.read_text()) == {"": "stopped", "two": "running"}
    nowhere = Database(NOWHERE, connect_timeout_seconds=1)
    assert not begun(database=nowhere, file=file).wanted.running
    assert begun(database=nowhere).wanted.running
    for replica, runs in (("two", True), ("new", False)):
        assert begun(database=nowhere, file=file, replica=replica).wanted.running == runs


@pytest.mark.parametrize("damaged", ["", '{"": "sto', "[]"])
@pytest.mark.parametrize("word", ["stopped", None])
def test_a_word_that_cannot_be_read_is_no_word_to_start(begun, tell, tmp_path, damaged, word):
    file = tmp_path / "config" / "desired.scp.json"
    file.parent.mkdir()
    file.write_text(damaged)
    with capture_logs() as logs:
        lost = begun(database=Database(NOWHERE, connect_timeout_seconds=1), file=file)
    assert not lost.wanted.running
    assert not lost.decided
    assert lost.trouble == LOST
    assert "desired_state.unknown" in {line["event"] for line in logs}
    if word:
        tell(word)
    told = begun(file=file)
    assert told.decided
    assert not told.trouble
    assert told.wanted.running == (word is None), "the database tells"
    assert json.loads(file.read_text()) == ({"": word} if word else {})


def test_what_is_shown_of_a_process(begun, tell):
    desired = begun()
    assert desired.shown(State.READY) == "ready"
    tell("stopped")
    desired.refresh()
    assert desired.shown(State.READY) == "stopped"
    assert desired.shown(State.READY, busy=True) == "draining"
    assert desired.shown(State.STARTING) == "starting"
