"""Expected SOP instances and the index in a real PostgreSQL."""

import pytest

from draw_qr_worker.adapters.catalogue_queries import PostgresStoredObjectRepository
from draw_qr_worker.adapters.item_queries import PostgresItemRepository
from draw_qr_worker.models import ArrivalCounts, Item, Lease, LostLease, Subject, Unlisted
from draw_shared.storage.removal import StorageFiles

pytestmark = pytest.mark.integration

EXPECTED = [Item("1", "1.1", f"1.1.{n}", "9") for n in range(4)]


@pytest.fixture
def index(rows, tmp_path):
    """Return a function that puts an instance into the index, and its file on the storage."""

    def add(uid, series="1.1", study="1", size=100):
        rows.execute("INSERT INTO patients (patient_id) SELECT 'P' WHERE NOT EXISTS"
                     " (SELECT FROM patients)")  # fmt: skip
        rows.execute(
            "INSERT INTO studies (patient_pk, study_instance_uid) SELECT id, :uid FROM patients"
            " ON CONFLICT (study_instance_uid) DO NOTHING",
            uid=study,
        )
        rows.execute(
            "INSERT INTO series (study_pk, series_instance_uid, instance_count, size_bytes)"
            " SELECT id, :uid, 1, :size FROM studies WHERE study_instance_uid = :study"
            " ON CONFLICT (series_instance_uid) DO UPDATE"
            " SET instance_count = series.instance_count + 1,"
            " size_bytes = series.size_bytes + :size",
            uid=series,
            study=study,
            size=size,
        )
        rows.execute(
            "INSERT INTO instances (series_pk, sop_instance_uid, sop_class_uid,"
            " transfer_syntax_uid, path, size_bytes, content_sha256)"
            " SELECT id, :uid, '9', '8', :path, :size, '\\x00'"
            " FROM series WHERE series_instance_uid = :series",
            uid=uid,
            path=f"objects/{uid}",
            series=series,
            size=size,
        )
        file = tmp_path / "objects" / uid
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(size))
        return file

    return add


@pytest.fixture
def items(database, tmp_path):
    return PostgresItemRepository(database, StorageFiles(tmp_path))


@pytest.fixture
def lease(rows, store_of):
    rows.job(rows.node(), kind="retrieve")
    return store_of().claim(None).lease


def test_what_the_index_has_counts_as_arrived_unless_it_shall_not(items, lease, index):
    index("1.1.0")
    found = items.record(lease, EXPECTED, arrives_here=True, here_counts=True)
    assert [item.arrived for item in found] == [True, False, False, False]


def test_recording_twice_changes_nothing(items, lease, index):
    items.record(lease, EXPECTED, arrives_here=True, here_counts=False)
    index("1.1.0")
    found = items.record(lease, EXPECTED, arrives_here=True, here_counts=False)
    assert [item.arrived for item in found] == [False] * 4


def test_looking_marks_and_counts_what_has_arrived(items, lease, index):
    items.record(lease, EXPECTED, arrives_here=True, here_counts=True)
    assert items.count_arrivals(lease.job_id, here_counts=True) == ArrivalCounts(4, 0, 0)
    index("1.1.1", size=70)
    index("1.1.3", size=50)
    index("7.7.7")
    assert items.count_arrivals(lease.job_id, here_counts=False) == ArrivalCounts(4, 0, 0)
    assert items.count_arrivals(lease.job_id, here_counts=True) == ArrivalCounts(4, 2, 120)
    arrived = [item.sop_instance_uid for item in items.items(lease.job_id) if item.arrived]
    assert arrived == ["1.1.1", "1.1.3"]


def test_what_the_index_has_without_its_whole_file_is_not_here(items, lease, index, rows):
    index("1.1.0").unlink()
    index("1.1.1").write_bytes(bytes(99))
    index("1.1.2").rename(whole := index("1.1.3"))
    rows.execute("UPDATE instances SET path = '../x' WHERE sop_instance_uid = '1.1.2'")
    found = items.record(lease, EXPECTED, arrives_here=True, here_counts=True)
    assert [item.arrived for item in found] == [False, False, False, True]
    whole.rename(whole.with_name("1.1.0"))
    assert items.count_arrivals(lease.job_id, here_counts=True).arrived == 2


def test_what_goes_elsewhere_has_not_arrived_by_being_here(items, lease, index):
    index("1.1.0")
    items.record(lease, EXPECTED, arrives_here=False, here_counts=True)
    assert items.count_arrivals(lease.job_id, here_counts=True).arrived == 0


def test_an_instance_of_another_study_has_not_arrived(items, lease, index):
    index("1.1.0", series="2.1", study="2")
    found = items.record(lease, EXPECTED, arrives_here=True, here_counts=True)
    assert not any(item.arrived for item in found)
    assert items.count_arrivals(lease.job_id, here_counts=True) == ArrivalCounts(4, 0, 0)


def test_nothing_stays_expected_of_studies_that_do_not_fit(items, lease):
    other = Item("2", "2.1", "2.1.0", "9")
    items.record(lease, [*EXPECTED, other], arrives_here=True, here_counts=True)
    found = items.record(lease, [], arrives_here=True, here_counts=True, none_of=["2"])
    assert [item.study_instance_uid for item in found] == ["1"] * 4


def test_marks_follow_what_a_peer_says(items, lease):
    items.record(lease, EXPECTED, arrives_here=True, here_counts=False)
    items.mark_these(lease, ["1.1.2"])
    items.mark(lease, all_but=["1.1.0", "1.1.1"])
    assert [item.arrived for item in items.items(lease.job_id)] == [False, False, True, True]


def test_only_the_owner_writes(items, lease):
    stale = Lease(lease.job_id, lease.fence - 1)
    for write in (
        lambda: items.record(stale, EXPECTED, arrives_here=True, here_counts=True),
        lambda: items.mark(stale, all_but=[]),
        lambda: items.mark_these(stale, ["1.1.0"]),
    ):
        with pytest.raises(LostLease):
            write()
    assert not items.items(lease.job_id)


def test_what_the_items_do_not_name_is_counted_by_study_and_by_when_it_came(
    items, lease, index, rows
):
    for uid, series, study in (
        ("1.1.0", "1.1", "1"),
        ("1.1.8", "1.1", "1"),
        ("1.1.9", "1.1", "1"),
        ("1.2.0", "1.2", "1"),
        ("2.1.0", "2.1", "2"),
    ):
        index(uid, series=series, study=study)
    rows.execute(
        "UPDATE instances SET received_at = now() - interval '1 hour'"
        " WHERE sop_instance_uid IN ('1.1.8', '2.1.0')"
    )
    items.record(lease, EXPECTED, arrives_here=True, here_counts=True)
    assert items.unlisted(lease.job_id, ["1", "2", "3"], "") == {
        "1": Unlisted(since=2, size_bytes=200, here=3),
        "2": Unlisted(since=0, size_bytes=0, here=1),
    }
    assert items.unlisted(lease.job_id, ["1"], "1.2") == {"1": Unlisted(1, 100, 1)}


def test_objects_to_send_are_found_by_study_series_and_instance(database, index):
    for uid, series in (("1.1.0", "1.1"), ("1.1.1", "1.1"), ("1.2.0", "1.2")):
        index(uid, series=series)
    catalogue = PostgresStoredObjectRepository(database)

    def found(*subject):
        return [one.item.sop_instance_uid for one in catalogue.objects(Subject(*subject))]

    assert found("1") == ["1.1.0", "1.1.1", "1.2.0"]
    assert found("1", "1.2") == ["1.2.0"]
    assert found("1", "1.1", ("1.1.1",)) == ["1.1.1"]
    assert found("9") == []
