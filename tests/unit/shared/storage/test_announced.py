"""Records of what was announced: whole or not there, in the order of announcing."""

import pytest

from draw_shared.storage import layout
from draw_shared.storage.announced import AnnouncedRecords
from support.publishing import announcement


@pytest.fixture
def spool(tmp_path):
    folder = tmp_path / layout.SPOOL / "one"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def records(tmp_path):
    return AnnouncedRecords(tmp_path)


def kept(records):
    return [records.read(name) for name in records.names(100)]


def files(tmp_path):
    return sorted(path.suffix for path in (tmp_path / layout.ANNOUNCED).iterdir())


def test_a_record_says_what_was_announced_until_it_is_settled(records, spool, tmp_path):
    assert records.names(100) == [], "a volume of an earlier release"
    made = [announcement() for _ in range(3)]
    records.keep(made, spool)
    [record] = kept(records)
    assert (list(record.objects), record.tries, record.damaged) == (made, 0, False)
    assert list(spool.iterdir()) == []
    records.settle(record)
    records.settle(record)
    assert (kept(records), files(tmp_path)) == ([], [])
    assert records.read(record.name) is None


def test_what_is_announced_again_goes_behind_the_others_and_is_counted(records, spool):
    for _ in range(2):
        records.keep([announcement()], spool)
    first, second = kept(records)
    name = records.postpone(first)
    assert records.names(1) == [second.name]
    assert records.names(2) == [second.name, name]
    again = records.read(name)
    assert (again.objects, again.tries) == (first.objects, 1)
    assert records.read(records.postpone(again)).tries == 2


@pytest.mark.parametrize("damage", [b"nonsense", b"\xff\xfe", b'{"schema_version": 1}', b"{"])
def test_what_is_damaged_costs_no_other_line_and_is_set_aside_in_the_end(
    records, spool, tmp_path, damage
):
    made = [announcement(), announcement()]
    records.keep(made, spool)
    [name] = records.names(1)
    path = tmp_path / layout.ANNOUNCED / name
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + damage + b"\n" + second)
    record = records.read(name)
    assert (list(record.objects), record.damaged) == (made, True)
    records.settle(record)
    assert (records.names(100), files(tmp_path)) == ([], [".damaged"])


def test_what_cannot_be_read_at_all_is_set_aside(records, spool, tmp_path, monkeypatch):
    records.keep([announcement()], spool)
    folder = tmp_path / layout.ANNOUNCED
    (folder / "0.0.jsonl").mkdir()
    monkeypatch.setattr("draw_shared.storage.announced.MAX_RECORD_BYTES", 10)
    for record in kept(records):
        assert (list(record.objects), record.damaged) == ([], True)
        records.settle(record)
    assert files(tmp_path) == [".damaged", ".damaged"]


def test_what_a_crash_left_half_written_is_no_record(records, spool):
    (spool / "0.0.jsonl.part").write_bytes(b"{")
    records.keep([announcement()], spool)
    assert len(kept(records)) == 1
