"""Migrations are one chain, and say how the release before goes on while they run."""

import re
from pathlib import Path

import pytest

import draw_shared.db.migrations
from draw_shared.db.revisions import OLDEST_SERVED, head_revision
from support import migration_rules
from support.next_release import ADD, BUILD, EXPAND, LaterRelease

VERSIONS = sorted(Path(draw_shared.db.migrations.__path__[0], "versions").glob("[0-9]*.py"))
LATER = [path for path in VERSIONS if path.name[:4] > migration_rules.FIRST]


def _said(path, name):
    return re.search(rf"^{name} = (.*)$", path.read_text("utf-8"), re.MULTILINE)[1].strip('"')


def test_each_migration_follows_the_one_before():
    numbers = [_said(path, "revision") for path in VERSIONS]
    assert numbers == [f"{n:04d}" for n in range(1, len(VERSIONS) + 1)]
    assert [path.name.partition("_")[0] for path in VERSIONS] == numbers
    assert [_said(path, "down_revision") for path in VERSIONS] == ["None", *numbers[:-1]]
    assert migration_rules.FIRST <= OLDEST_SERVED <= head_revision() == numbers[-1]


def test_the_range_of_served_schemas_begins_with_the_first_that_says_so():
    first = next(path for path in VERSIONS if path.name.startswith(migration_rules.FIRST))
    assert _said(first, "compatible_from") == migration_rules.FIRST
    assert "compatible_from" not in "".join(
        path.read_text("utf-8") for path in VERSIONS if path < first
    )


def test_the_release_before_can_go_on_while_and_after_each_runs():
    before = migration_rules.FIRST
    found = {}
    for path in LATER:
        migration = migration_rules.read(path)
        found[path.name] = migration_rules.faults(migration, before)
        before = migration.compatible_from
    assert not any(found.values()), found


def _faults(tmp_path, body, **promises):
    later = LaterRelease(tmp_path)
    before = promises.pop("before", later.head)
    path = later.add(body, **{"compatible_from": before, **promises})
    return migration_rules.faults(migration_rules.read(path), before)


@pytest.mark.parametrize("body", [EXPAND, BUILD])
def test_what_adds_is_an_expand(tmp_path, body):
    assert _faults(tmp_path, body) == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('op.drop_column("studies", "held")', "drops nothing"),
        ('op.drop_table("tombstones")', "drops nothing"),
        ('op.drop_index("ix_patients_ambiguous", "patients")', "drops nothing"),
        ('op.drop_constraint("ck_jobs_state", "jobs")', "no constraint but to widen it"),
        ('op.alter_column("studies", "held", new_column_name="kept")', "new and old"),
        ('op.rename_table("studies", "exams")', "new and old"),
        ('op.alter_column("jobs", "node_id", nullable=False)', "leaves columns as they are"),
        ('op.alter_column("jobs", "node_id", type_=sa.Text())', "leaves columns as they are"),
        (
            'op.add_column("jobs", sa.Column("next", sa.Text(), nullable=False))',
            "does not fill a new column",
        ),
        ('op.create_index("ix_jobs_next", "jobs", ["node_id"])', "built CONCURRENTLY"),
        (
            'op.create_index("uq_jobs_next", "jobs", ["node_id"], unique=True)',
            "what is there twice",
        ),
        ('op.create_check_constraint("ck_next", "jobs", "true")', "begins NOT VALID"),
        (f"{BUILD}\n    {EXPAND.strip()}", "a migration of its own"),
        ('op.execute("ALTER TABLE studies DROP COLUMN held")', "drops nothing"),
        (f"{EXPAND}    {ADD.format(table='studies').strip()}", "held while another is waited"),
    ],
)
def test_what_the_release_before_would_fail_on_is_no_expand(tmp_path, body, why):
    assert any(why in fault for fault in _faults(tmp_path, body))


def test_a_check_may_be_widened(tmp_path):
    body = """
    op.drop_constraint("ck_jobs_state", "jobs")
    op.execute("ALTER TABLE jobs ADD CONSTRAINT ck_jobs_state CHECK (state <> '') NOT VALID")
    op.execute("ALTER TABLE jobs VALIDATE CONSTRAINT ck_jobs_state")
    """
    assert _faults(tmp_path, body) == []


@pytest.mark.parametrize(
    ("promises", "why"),
    [
        ({"kind": ""}, '"expand" or "contract"'),
        ({"compatible_from": "0017"}, "leaves compatible_from as it was"),
        ({"kind": "contract"}, "from which release on"),
        ({"kind": "contract", "compatible_from": "9999"}, "from which release on"),
    ],
)
def test_a_migration_says_what_it_is_and_who_can_work_on_it(tmp_path, promises, why):
    assert any(why in fault for fault in _faults(tmp_path, EXPAND, before="0016", **promises))


def test_a_contract_removes(tmp_path):
    later = LaterRelease(tmp_path)
    later.add(EXPAND, compatible_from="0016")
    path = later.add(
        'op.drop_column("studies", "held")', kind="contract", compatible_from=later.head
    )
    assert migration_rules.faults(migration_rules.read(path), "0016") == []
