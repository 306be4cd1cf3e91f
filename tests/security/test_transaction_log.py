"""Whoever writes the database, but has no key, cannot change the transaction log unnoticed.

Each test tampers as somebody may who knows this code and owns every row: he computes hashes anew
and moves seals. Then the indexer goes on, so that what it finds must not be sealed over either.
Not covered: what the broker brings, and lines that were not there to begin with.
"""

import random
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import text

from draw_shared.db import partitions
from draw_shared.db.seals import Keyring
from draw_shared.db.transaction_chain import Sealing
from draw_shared.db.transaction_gaps import NotAsSealed
from draw_shared.db.transaction_lines import COLUMNS, link
from draw_shared.db.transaction_verification import verify
from support import arrivals
from support.sealed_log import KEYS, NOW, PLACE, SealedLog, filled, managed, rehashed

pytestmark = [pytest.mark.integration, pytest.mark.security]

ATTACKS = 100
OTHER = Keyring.read("somebody else's key, long enough for one")


@pytest.fixture(scope="module")
def own_database(postgres_url, template):
    with arrivals.shared_database(postgres_url, template) as database:
        yield database


@pytest.fixture
def connection(own_database):
    with own_database.session() as session:
        yield session.connection()
        session.rollback()


@pytest.fixture
def log(connection):
    return filled(connection)


def tamper(log, statement, **values):
    assert log.connection.execute(text(statement), values).rowcount


def reasons(found):
    return " ".join(one.reason for one in found.breaks)


def actions(found):
    return [one.action for one in found.findings]


def test_what_nobody_touched_is_intact(log):
    found = log.verify()
    assert found.intact, (found.breaks, found.findings)
    assert (found.sealed, found.waiting, found.first_position) == (True, 0, 1)


def test_deleting_the_first_lines_and_altering_the_next_is_a_breach(connection):
    log = SealedLog(connection).begin().report(*[NOW] * 9)
    known = log.sealing.known
    tamper(log, "DELETE FROM transactions WHERE chain_position <= 5")
    tamper(log, "UPDATE transactions SET calling_ae = 'FORGED' WHERE chain_position = 6")
    assert "5 lines are missing" in reasons(log.verify(known))


@pytest.mark.parametrize(
    "detail",
    [
        "5 lines before 2026-03, up to position 5",
        f"lines 1 to 5, after {'0' * 64}, last {{hash}}, dropped, up to position 5",
    ],
)
def test_a_statement_that_lines_were_dropped_needs_the_key(connection, detail):
    log = SealedLog(connection).begin().report(*[NOW] * 9)
    known = log.sealing.known
    of_five = next(row for row in log.lines() if row["chain_position"] == 5)["chain_hash"]
    tamper(log, "DELETE FROM transactions WHERE chain_position <= 5")
    words = detail.format(hash=bytes(of_five).hex())
    managed(connection, "transactions.drop", detail=words, keyring=None)
    log.extend()
    found = log.verify(known)
    assert "5 lines are missing" in reasons(found)
    assert actions(found) == ["transactions.not_attested"]
    managed(connection, "transactions.drop", detail=words, keyring=OTHER)
    log.extend()
    assert "5 lines are missing" in reasons(log.verify(known))


def test_a_line_that_nobody_attests_is_named_when_it_is_chained(log):
    managed(log.connection, "user.create", detail="by hand", keyring=None)
    [place] = [row["id"] for row in log.lines() if row["detail"] == "by hand"]
    log.extend()
    [line] = [row for row in log.lines() if row["id"] == place]
    [finding] = log.verify().findings
    assert finding.action == "transactions.not_attested"
    assert f"lines {line['chain_position']}: " in finding.detail


def test_an_operators_line_that_was_changed_before_it_was_chained_is_named(log):
    managed(log.connection, "study.delete", detail="by somebody")
    tamper(log, "UPDATE transactions SET actor = 'somebody else' WHERE detail = 'by somebody'")
    log.extend()
    assert actions(log.verify()) == ["transactions.not_attested"]


def test_a_cut_end_is_named_by_the_indexer_that_goes_on(log):
    last = log.sealing.known.position
    tamper(log, "DELETE FROM transactions WHERE chain_position > :from", **{"from": last - 3})
    assert f"ends at line {last - 3}" in reasons(log.verify())
    log.report()
    found = log.verify()
    assert actions(found) == ["transactions.cut"]
    assert not found.intact


def test_seals_cannot_be_taken_off_to_write_anew_what_they_sealed(log):
    last = log.sealing.known.position
    tamper(log, "UPDATE transactions SET seal = NULL WHERE chain_position > :p", p=last - 3)
    tamper(log, "UPDATE transactions SET detail = 'anew' WHERE chain_position = :p", p=last)
    rehashed(log, last)
    log.report()
    assert actions(log.verify()) == ["transactions.cut"]


def test_what_a_release_before_wrote_is_told_apart_from_what_was_sealed(log):
    SealedLog(log.connection, None).report()
    assert "have no seal" in reasons(log.verify())
    log.report()
    found = log.verify()
    assert actions(found) == ["transactions.not_sealed"]
    assert not found.breaks


def test_somebody_may_accept_what_was_found_and_nothing_else(log):
    managed(log.connection, "user.create", keyring=None)
    log.extend()
    found = log.verify()
    assert not found.intact
    words = f"up to line {found.head.position}: looked at"
    managed(log.connection, "transactions.accepted", detail=words, keyring=None)
    log.extend()
    assert not any(one.accepted for one in log.verify().findings)
    managed(log.connection, "transactions.accepted", detail=words)
    log.extend()
    assert [one.accepted for one in log.verify().findings] == [True, False]
    tamper(log, "UPDATE transactions SET detail = 'anew' WHERE chain_position = 8")
    assert log.verify().breaks


def test_a_log_that_was_not_sealed_is_sealed_as_it_is_found(connection):
    said = "9 lines before 2020-01, up to position 2"
    managed(connection, "transactions.drop", detail=said, keyring=None)
    unsealed = SealedLog(connection, None)
    unsealed.report(*[NOW] * 4)
    unsealed.extend()
    tamper(unsealed, "DELETE FROM transactions WHERE chain_position <= 2")
    managed(connection, "user.create", keyring=None)
    log = SealedLog(connection).begin()
    log.report()
    found = log.verify()
    assert found.intact, (found.breaks, found.findings)
    assert (found.first_position, found.as_found) == (3, 6)
    tamper(log, "UPDATE transactions SET detail = 'anew' WHERE chain_position = 3")
    assert "dropped were changed" in reasons(log.verify())


def test_a_gap_that_nobody_explained_is_not_explained_by_the_beginning_of_seals(connection):
    unsealed = SealedLog(connection, None)
    unsealed.report(*[NOW] * 6)
    tamper(unsealed, "DELETE FROM transactions WHERE chain_position = 3")
    log = SealedLog(connection).begin().report()
    assert "1 lines are missing" in reasons(log.verify())


def test_the_beginning_of_seals_cannot_be_moved_behind_what_was_written_anew(connection):
    log = SealedLog(connection).begin().report(*[NOW] * 3).report(NOW)
    tamper(log, "UPDATE transactions SET seal = NULL, chain_position = chain_position + 1")
    tamper(log, "UPDATE transactions SET calling_ae = 'FORGED' WHERE chain_position = 3")
    begun = "UPDATE transactions SET chain_position = 9 WHERE action = 'transactions.sealing_begun'"
    tamper(log, begun)
    rehashed(log, 1)
    found = verify(connection, keyring=KEYS)
    assert "lines 1 to 5 have no seal" in reasons(found)
    assert found.as_found == 0


def test_a_copy_of_a_line_is_named_though_its_original_was_attested(log):
    unique = "ALTER TABLE transactions DROP CONSTRAINT uq_transactions_record_id_occurred_at"
    log.connection.execute(text(unique))
    said = ", ".join([*COLUMNS[1:], "attestation"])
    copied = f"""
        INSERT INTO transactions ({said}) SELECT {said} FROM transactions
        WHERE action = 'config.update'
    """  # noqa: S608 - names of columns
    tamper(log, copied)
    log.extend()
    found = log.verify()
    last = found.head.position
    assert [(one.position, one.reason) for one in found.breaks] == [
        (last, "the line is a copy of another one")
    ]


def test_sealing_begins_once(log):
    before = len(log.lines())
    SealedLog(log.connection).begin()
    assert len(log.lines()) == before


def test_months_that_go_one_after_the_other_leave_one_gap_that_is_explained(log):
    log.drop(date(2020, 3, 1))
    found = log.verify()
    assert found.intact, (found.breaks, found.findings)
    dropped = [row["detail"] for row in log.lines() if row["action"] == "transactions.drop"]
    assert dropped[-1].startswith("lines 2 to 7, after ")


def test_nothing_is_dropped_that_would_take_the_proof_of_a_forgery_with_it(connection):
    partitions.ensure_months(connection, date(2020, 1, 1), ahead=2)
    january, february = datetime(2020, 1, 31, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC)
    log = SealedLog(connection).begin().report(february, february)
    # A line of January that came late, and lies between the lines of February.
    log.report(january).report()
    tamper(log, "UPDATE transactions SET detail = 'anew', seal = NULL WHERE chain_position = 3")
    _, two, three, *_ = log.lines()
    anew = link(bytes(two["chain_hash"]), 3, three)
    tamper(log, "UPDATE transactions SET chain_hash = :h WHERE chain_position = 3", h=anew)
    with pytest.raises(NotAsSealed, match="line 4 or its predecessor was changed"):
        log.drop(date(2020, 2, 1))


def test_retention_does_not_take_what_somebody_dated_back(log):
    position = log.sealing.known.position - 1
    tamper(
        log,
        "UPDATE transactions SET occurred_at = '2001-01-01' WHERE chain_position = :p",
        p=position,
    )
    with pytest.raises(NotAsSealed, match=f"line {position} or its predecessor was changed"):
        log.drop(date(2020, 2, 1))
    managed(log.connection, "transactions.accepted", detail=f"up to line {position}: seen")
    log.extend()
    assert log.drop(date(2020, 2, 1)).lines == 1


def test_a_month_that_has_the_end_of_the_chain_goes_and_the_chain_goes_on(connection):
    partitions.ensure_months(connection, date(2020, 1, 1), ahead=1)
    log = SealedLog(connection, None).report(*[datetime(2020, 1, 9, tzinfo=UTC)] * 3)
    log.drop(date(2020, 2, 1))
    log.report()
    assert [row["chain_position"] for row in log.lines()] == [4, 5]
    assert log.verify(keyring=None).intact


def test_a_key_is_replaced_while_the_old_one_still_checks(log):
    both = Keyring((*OTHER.keys, *KEYS.keys))
    log.sealing = Sealing(both, "indexer", log.sealing.known)
    log.report()
    assert log.verify(keyring=both).intact
    assert "by a key that is not here" in reasons(log.verify(keyring=OTHER))
    assert "by a key that is not here" in reasons(log.verify(keyring=KEYS))


def test_without_a_key_only_the_chain_is_checked_and_the_report_says_so(log):
    found = log.verify(keyring=None)
    assert (found.intact, found.sealed) == (True, False)


# --- any tampering with up to three lines ----------------------------------------------


def edit(chance, log, line):
    column, value = chance.choice(
        [
            ("detail", "'anew'"), ("status", "7"), ("outcome", "'failure'"), ("actor", "NULL"),
            ("calling_ae", "'OTHER'"), ("objects", "1"), ("replica", "''"),
            ("record_id", "gen_random_uuid()"), ("occurred_at", "occurred_at + interval '1 ms'"),
        ]
    )  # fmt: skip
    changed = f"{column} = {value}"
    tamper(log, f"UPDATE transactions SET {changed} WHERE id = :id", id=line["id"])  # noqa: S608


def delete(chance, log, line):
    tamper(log, "DELETE FROM transactions WHERE id = :id", id=line["id"])


def insert(chance, log, line):
    """Insert an operator's line, chained by him or by the indexer."""
    action = chance.choice(["user.create", "transactions.drop", "transactions.accepted"])
    managed(log.connection, action, detail=f"up to position {line['chain_position']}", keyring=None)
    if chance.random() < 0.7:
        statement = """
            UPDATE transactions SET chain_position = :p, chain_hash = sha256('x'), seal = :seal
            WHERE chain_position IS NULL
        """
        seal = chance.choice([None, line["seal"]])
        tamper(log, statement, p=line["chain_position"], seal=seal)


def swap(chance, log, line):
    other = chance.choice([one for one in log.lines() if one["id"] != line["id"]])
    for one, two in ((line, other), (other, line)):
        values = {"position": two["chain_position"], "hash": two["chain_hash"]}
        values |= {"seal": two["seal"], "id": one["id"], "at": one["occurred_at"]}
        log.connection.execute(PLACE, values)


def strip_seals(log, start):
    log.connection.execute(
        text("UPDATE transactions SET seal = NULL WHERE chain_position >= :p"), {"p": start}
    )


def content(log):
    """Return what the log says, in its order."""
    return [{k: v for k, v in row.items() if k != "seal"} for row in log.lines()]


def attack(chance, log):
    """Do up to three things to lines of the log and cover them up as well as can be."""
    for _ in range(chance.randint(1, 3)):
        lines = [row for row in log.lines() if row["chain_position"] is not None]
        line = chance.choice([*lines, *lines[-3:] * 2])
        chance.choice([edit, delete, insert, swap])(chance, log, line)
    start = chance.choice([1, 1, 8, 12])
    if chance.random() < 0.6:
        rehashed(log, 2 if start == 1 else start)
    if chance.random() < 0.4:
        strip_seals(log, start)


def test_whatever_is_done_to_up_to_three_lines_is_named(log):
    before, known = content(log), log.sealing
    done = 0
    for seed in range(ATTACKS):
        chance = random.Random(seed)
        log.sealing = known
        with log.connection.begin_nested() as attempt:
            attack(chance, log)
            if content(log) != before:
                done += 1
                if seed % 2 or any(row["chain_position"] is None for row in log.lines()):
                    log.extend()
                    log.report()
                found = log.verify()
                assert not found.intact, f"seed {seed}"
            attempt.rollback()
    assert done > ATTACKS * 0.9
    log.sealing = known
    assert log.verify().intact
