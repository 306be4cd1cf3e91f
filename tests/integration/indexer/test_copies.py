"""One object, one file: copies of what the index has go, whatever made them.

Not covered: being killed in between (tests/faults/test_copy_kills.py), the services as
processes (tests/faults/test_one_file.py).
"""

import itertools
import os
import random
import shutil
import time

import pytest

from draw_api.adapters.stored_files import VolumeFiles
from draw_indexer.adapters.deletions import PostgresExpiredStudyRepository
from draw_indexer.app import Indexer
from draw_indexer.models import FileMissing
from draw_indexer.settings import IndexerSettings
from draw_shared.contracts.server_config import DuplicatePolicy, FileNaming, StorageStructure
from draw_shared.storage.layout import LATEST_DELETION, Layout
from draw_shared.storage.removal import StorageFiles
from draw_shared.storage.stored_file import describe_file
from support import datasets
from support.indexed import IndexedStorage
from support.receptions import opened, receive, same_instance

pytestmark = pytest.mark.integration

LAYOUTS = [Layout(*pair) for pair in itertools.product(StorageStructure, FileNaming)]
FLAT = Layout(StorageStructure.FLAT, FileNaming.SOP_UID)
SEQUENTIAL = Layout(StorageStructure.STUDY, FileNaming.SEQUENTIAL)
NAMED = "SELECT path FROM instances UNION SELECT path FROM instance_conflicts"


@pytest.fixture
def archive(tmp_path, database):
    made = IndexedStorage(tmp_path, database)
    yield made
    made.close()


def agree(archive):
    """Return whether rows and files are the same, once everything is settled."""
    archive.settle()
    return archive.files() == set(archive.scalars(NAMED))


def test_in_every_layout_what_is_sent_again_after_a_restart_leaves_no_second_file(archive):
    objects = datasets.series(2)
    for layout in LAYOUTS:
        archive.receive(*objects, layout=layout)
        archive.restart()
        archive.receive(*objects, layout=layout)
        assert agree(archive), layout
    assert len(archive.files()) == 2


def test_two_receivers_of_the_same_bytes_at_once_leave_one_file(archive, tmp_path):
    made = datasets.build()
    other = opened(tmp_path, "two")
    first, _ = receive(archive.store, made, SEQUENTIAL)
    second, _ = receive(other, made, SEQUENTIAL)
    assert first.path != second.path
    archive.index(first, second)
    archive.store.release([first])
    other.release([second])
    other.stop(5)
    assert agree(archive)
    assert len(archive.files()) == 1


def test_after_a_change_of_structure_what_is_sent_again_leaves_no_second_file(archive):
    objects = datasets.series(2)
    for structure in StorageStructure:
        archive.receive(*objects, layout=Layout(structure, FileNaming.SOP_UID))
        assert agree(archive), structure
    assert len(archive.files()) == 2


@pytest.mark.parametrize("policy", DuplicatePolicy)
def test_readers_keep_their_path_whatever_counts_as_current(archive, policy):
    archive.duplicates = policy
    made = datasets.build()
    (first,) = archive.receive(made, layout=SEQUENTIAL)
    archive.restart()
    (second,) = archive.receive(made, layout=SEQUENTIAL)
    assert archive.paths(made.StudyInstanceUID) == [first.path]
    [counts] = archive.scalars("SELECT received_at FROM instances")
    assert counts == (first if policy is DuplicatePolicy.KEEP_EXISTING else second).received_at
    assert agree(archive)
    assert archive.files() == {first.path}


@pytest.mark.parametrize("policy", DuplicatePolicy)
def test_versions_that_differ_keep_one_file_each_however_often_they_come(archive, policy):
    archive.duplicates = policy
    made = datasets.build()
    other = same_instance(made, StudyDescription="other bytes")
    for one in (made, other, made, other, made):
        archive.receive(one, layout=SEQUENTIAL)
        archive.restart()
    assert agree(archive)
    assert len(archive.files()) == 2
    assert archive.scalars("SELECT count(*) FROM instance_conflicts") == [1]


def test_the_same_event_again_removes_nothing(archive):
    made = datasets.build()
    first, second = twice(archive, made)
    archive.index(first, second, first, second)
    assert agree(archive)
    assert archive.failures(second, first, attempt=1) == []
    assert agree(archive)
    assert archive.files() == {first.path}


def twice(archive, made):
    """Receive an object twice, to two files; nothing is indexed."""
    first, _ = receive(archive.store, made, SEQUENTIAL)
    archive.restart()
    second, _ = receive(archive.store, made, SEQUENTIAL)
    archive.store.release([first, second])
    assert first.path != second.path
    return first, second


def test_events_of_a_copy_that_is_gone_end_without_a_dead_letter(archive):
    first, second = twice(archive, datasets.build())
    archive.index(first, second)
    archive.settle()
    missing = archive.failures(second)
    assert [type(failure.error) for failure in missing] == [FileMissing], "it may come into view"
    assert archive.failures(second, attempt=1) == []
    # Its number is given to another object.
    archive.restart()
    near = datasets.build(StudyInstanceUID=first.identity.study_instance_uid)
    (other,) = archive.receive(near, layout=SEQUENTIAL)
    assert other.path == second.path
    assert archive.failures(second) == []
    assert agree(archive)
    assert archive.files() == {first.path, other.path}


def test_when_the_first_file_is_missing_the_row_moves_to_the_copy(archive):
    first, second = twice(archive, datasets.build())
    archive.index(first, second)
    (archive.root / first.path).unlink()
    assert agree(archive)
    assert archive.files() == {second.path}


def test_when_the_first_file_is_damaged_the_row_moves_to_the_copy(archive):
    first, second = twice(archive, datasets.build())
    archive.index(first, second)
    damage(archive.root / first.path)
    assert agree(archive)
    assert archive.files() == {second.path}


def damage(path):
    with path.open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"oops")


def test_when_both_are_damaged_both_stay(archive):
    first, second = twice(archive, datasets.build())
    archive.index(first, second)
    for stored in (first, second):
        damage(archive.root / stored.path)
    archive.settle()
    assert archive.files() == {first.path, second.path}
    assert archive.scalars("SELECT path FROM instances") == [first.path]


def test_another_object_that_took_the_copys_name_stays(archive):
    made = datasets.build()
    first, second = twice(archive, made)
    archive.index(first, second)
    other = same_instance(made, StudyDescription="other bytes")
    place = archive.root / second.path
    place.unlink()
    stored, _ = receive(archive.store, other, FLAT)
    (archive.root / stored.path).rename(place)
    archive.settle()
    assert place.exists(), "not the file that was meant"


def test_another_version_that_took_the_copys_name_before_its_event_came_stays(archive):
    made = datasets.build()
    first, second = twice(archive, made)
    archive.index(first)
    place = archive.root / second.path
    place.unlink()
    other, _ = receive(archive.store, same_instance(made, StudyDescription="other"), FLAT)
    (archive.root / other.path).rename(place)
    archive.index(second)
    archive.settle()
    assert place.exists(), "it was announced as the object that the row has, and is not"
    archive.index(other._replace(path=second.path))
    assert agree(archive)
    assert archive.files() == {first.path, second.path}


def test_a_copy_that_is_wanted_again_while_it_goes_is_removed_afterwards(archive):
    made = datasets.build()
    first, second = twice(archive, made)
    archive.index(first, second)
    # This receiver remembers where it has put the copy.
    again, _ = receive(archive.store, made, SEQUENTIAL)
    assert again.path == second.path and again.duplicate
    archive.settle()
    assert archive.files() == {first.path, second.path}
    archive.index(again)
    archive.store.release([again])
    assert agree(archive)
    assert archive.files() == {first.path}


def test_a_copy_whose_name_was_taken_while_it_was_out_of_the_way_goes_too(archive):
    first, second = twice(archive, datasets.build())
    archive.index(first, second)
    place = archive.root / second.path
    files = StorageFiles(archive.root)
    place.rename(archive.root / files.refuge(files.mark(second.path)))
    other, _ = receive(archive.store, datasets.build(), FLAT)
    (archive.root / other.path).rename(place)
    archive.index(other._replace(path=second.path))
    archive.settle()
    assert agree(archive)
    assert archive.files() == {first.path, second.path}


def test_two_names_of_one_file_lose_one(archive):
    (stored,) = archive.receive(datasets.build())
    link = stored._replace(path="objects/link.dcm")
    (archive.root / link.path).hardlink_to(archive.root / stored.path)
    archive.index(link)
    assert agree(archive)
    assert archive.files() == {stored.path}


def test_a_copy_whose_row_is_lost_is_kept_for_reconcile(archive):
    first, second = twice(archive, datasets.build())
    archive.index(first, second)
    (archive.root / first.path).unlink()
    archive.execute("DELETE FROM studies")
    archive.settle()
    assert archive.files() == {second.path}
    archive.index(second)
    assert agree(archive)


# --- deletion --------------------------------------------------------------------------


def test_a_deletion_takes_every_file_of_the_study(archive):
    objects = datasets.series(3)
    uid = objects[0].StudyInstanceUID
    archive.receive(*objects, layout=SEQUENTIAL)
    archive.receive(same_instance(objects[0], StudyDescription="other"), layout=SEQUENTIAL)
    archive.restart()
    archive.receive(objects[1], layout=SEQUENTIAL)  # a copy that is on record
    queued, _ = receive(
        archive.store, objects[2], Layout(StorageStructure.FLAT, FileNaming.SOP_UID)
    )
    never_indexed, _ = receive(archive.store, datasets.build(StudyInstanceUID=uid), SEQUENTIAL)
    assert len(archive.files()) == 7
    gone = archive.delete(uid)
    assert (gone.instances, gone.files) == (3, 5)
    archive.settle()
    archive.index(queued, never_indexed)
    archive.store.release([queued, never_indexed])
    archive.settle()
    assert archive.files() == set()
    assert archive.studies() == set()


def test_what_is_received_after_the_deletion_is_stored_and_stays(archive):
    objects = datasets.series(2)
    uid = objects[0].StudyInstanceUID
    late, _ = receive(archive.store, objects[0], SEQUENTIAL)
    archive.receive(objects[1])
    archive.delete(uid)
    archive.restart()
    new = archive.receive(*objects, layout=SEQUENTIAL)
    archive.index(late)
    assert agree(archive)
    assert archive.files() == {stored.path for stored in new}
    assert archive.scalars("SELECT instance_count FROM studies") == [2]


def test_a_file_of_a_deleted_study_that_is_claimed_again_is_indexed_again(archive):
    made = datasets.build()
    late, _ = receive(archive.store, made)
    archive.receive(datasets.build(StudyInstanceUID=made.StudyInstanceUID))
    archive.delete(made.StudyInstanceUID)
    again, _ = receive(archive.store, made)
    assert again.path == late.path
    archive.index(late, again)
    assert agree(archive)
    assert archive.files() == {again.path}


def test_an_event_of_a_deleted_object_whose_file_is_gone_ends_without_a_dead_letter(archive):
    (stored,) = archive.receive(datasets.build())
    archive.delete(stored.identity.study_instance_uid)
    archive.settle()
    assert archive.failures(stored, attempt=1) == []


def test_a_version_of_another_study_that_was_set_aside_becomes_current_there(archive):
    made = datasets.build()
    archive.receive(made)
    (aside,) = archive.receive(datasets.build(SOPInstanceUID=made.SOPInstanceUID))
    (gone,) = archive.receive(same_instance(made, StudyDescription="other"))
    assert archive.delete(made.StudyInstanceUID).files == 2
    assert agree(archive)
    assert archive.studies() == {aside.identity.study_instance_uid}
    assert archive.files() == {aside.path}
    assert archive.failures(aside, gone, attempt=1) == []
    assert agree(archive)
    assert archive.scalars("SELECT count(*) FROM instance_conflicts") == [0]


def test_of_several_versions_that_were_set_aside_one_becomes_current(archive):
    made = datasets.build()
    archive.receive(made)
    other = datasets.build(SOPInstanceUID=made.SOPInstanceUID)
    first, second = archive.receive(other, same_instance(other, StudyDescription="other"))
    archive.delete(made.StudyInstanceUID)
    assert agree(archive)
    assert archive.paths(other.StudyInstanceUID) == [first.path]
    assert archive.scalars("SELECT path FROM instance_conflicts") == [second.path]


def test_a_version_set_aside_survives_the_tombstone_of_what_named_a_third_study(archive):
    objects = datasets.series(2)
    objects[1].StudyInstanceUID = datasets.generate_uid()
    archive.receive(*objects)  # the second lies in the first's study
    (aside,) = archive.receive(datasets.build(SOPInstanceUID=objects[1].SOPInstanceUID))
    archive.delete(objects[0].StudyInstanceUID)
    assert agree(archive)
    assert archive.files() == {aside.path}
    assert archive.studies() == {aside.identity.study_instance_uid}


def test_a_study_that_is_only_set_aside_is_deleted_by_its_name(archive):
    made = datasets.build()
    (stays,) = archive.receive(made)
    (aside,) = archive.receive(datasets.build(SOPInstanceUID=made.SOPInstanceUID))
    shutil.copy2(archive.root / aside.path, archive.root / "objects/backup.dcm")
    gone = archive.delete(aside.identity.study_instance_uid)
    assert (gone.instances, gone.files) == (0, 1)
    assert archive.delete(aside.identity.study_instance_uid) is None
    archive.settle()
    archive.index(aside._replace(path="objects/backup.dcm"))
    assert agree(archive)
    assert archive.files() == {stays.path}


def test_a_version_that_was_set_aside_for_what_is_lost_becomes_current(archive):
    made = datasets.build()
    (lost,) = archive.receive(made)
    (aside,) = archive.receive(same_instance(made, StudyDescription="other"))
    (archive.root / lost.path).unlink()
    archive.lose(lost)
    assert agree(archive)
    assert archive.paths(made.StudyInstanceUID) == [aside.path]
    assert archive.delete(made.StudyInstanceUID).files == 1


def test_a_version_that_cannot_be_read_is_not_announced_for_ever_and_can_be_deleted(archive):
    made = datasets.build()
    archive.receive(made)
    (aside,) = archive.receive(datasets.build(SOPInstanceUID=made.SOPInstanceUID))
    (archive.root / aside.path).write_bytes(b"damaged")
    archive.delete(made.StudyInstanceUID)
    archive.settle()
    assert archive.scalars("SELECT to_announce FROM instance_conflicts") == [False]
    assert archive.delete(aside.identity.study_instance_uid).files == 1
    assert agree(archive)
    assert archive.files() == set()


def test_what_lies_in_another_study_than_it_names_is_known_for_that_after_its_deletion(archive):
    objects = datasets.series(2)
    objects[1].StudyInstanceUID = datasets.generate_uid()
    _, foreign = archive.receive(*objects)
    archive.receive(datasets.build(StudyInstanceUID=objects[1].StudyInstanceUID))
    archive.delete(objects[1].StudyInstanceUID)
    archive.settle()
    shutil.copy2(archive.root / foreign.path, archive.root / "objects/backup.dcm")
    assert archive.delete(objects[0].StudyInstanceUID).files == 2
    archive.settle()
    archive.index(foreign._replace(path="objects/backup.dcm"))
    assert agree(archive)
    assert archive.files() == set()


def test_a_version_that_waits_to_be_indexed_stays_when_another_lay_in_a_deleted_study(archive):
    here, foreign = datasets.series(2)
    foreign.StudyInstanceUID = datasets.generate_uid()
    archive.receive(here, foreign)
    other, _ = receive(archive.store, same_instance(foreign, StudyDescription="other"), FLAT)
    archive.store.release([other])
    archive.delete(here.StudyInstanceUID)
    archive.index(other)
    assert agree(archive)
    assert archive.files() == {other.path}
    assert archive.studies() == {foreign.StudyInstanceUID}


@pytest.mark.parametrize("when", ["before", "afterwards"])
def test_a_backup_that_is_put_over_what_was_received_anew_takes_nothing_away(archive, when):
    made = datasets.build()
    [first] = archive.receive(made, layout=FLAT)
    place, backup = archive.root / first.path, archive.root / "backup"
    shutil.copy2(place, backup)
    archive.delete(made.StudyInstanceUID)
    archive.settle()
    if when == "before":
        # A copy has its time set when it is written to its end.
        shutil.copyfile(backup, place)
        again, _ = receive(archive.store, made, FLAT)
        shutil.copystat(backup, place)
    else:
        again, _ = receive(archive.store, made, FLAT)
        shutil.copy2(backup, archive.root / "copying")
        (archive.root / "copying").rename(place)
    assert (again.path, again.duplicate) == (first.path, when == "before")
    archive.store.release([again])
    archive.index(again)
    assert agree(archive)
    assert archive.studies() == {made.StudyInstanceUID}
    # By now its file says so itself.
    archive.execute("DELETE FROM studies")
    archive.index(first)
    assert archive.studies() == {made.StudyInstanceUID}
    # It is received no later than it was.
    archive.delete(made.StudyInstanceUID)
    archive.settle()
    shutil.copy2(backup, place)
    archive.index(again)
    archive.settle()
    assert archive.files() == set()


def test_a_tombstone_of_an_earlier_release_does_not_meet_what_lies_in_another_study(archive):
    objects = datasets.series(2)
    objects[1].StudyInstanceUID = datasets.generate_uid()
    stays = archive.receive(*objects)
    foreign = stays[1]
    archive.execute("DELETE FROM instance_conflicts")
    archive.execute(
        "INSERT INTO tombstones (uid, before_ns) VALUES (:uid, :before)",
        uid=foreign.identity.study_instance_uid,
        before=(archive.root / foreign.path).stat().st_mtime_ns + 1,
    )
    archive.index(*stays)
    assert archive.scalars("SELECT path FROM instance_conflicts") == [foreign.path]
    archive.execute("DELETE FROM patients")
    archive.index(*stays)
    assert agree(archive)
    assert archive.files() == {stored.path for stored in stays}


def test_a_copy_of_what_named_another_study_is_counted_and_goes(archive):
    objects = datasets.series(2)
    objects[1].StudyInstanceUID = datasets.generate_uid()
    archive.receive(objects[0])
    first, second = twice(archive, objects[1])
    archive.index(first, second)
    assert archive.delete(objects[0].StudyInstanceUID).files == 3
    assert agree(archive)
    assert archive.files() == set()


def test_an_object_that_names_a_deleted_study_but_lies_in_another_survives_reindexing(archive):
    objects = datasets.series(2)
    objects[1].StudyInstanceUID = datasets.generate_uid()
    stays = archive.receive(*objects)
    archive.receive(datasets.build(StudyInstanceUID=objects[1].StudyInstanceUID))
    archive.delete(objects[1].StudyInstanceUID)
    archive.settle()
    archive.execute("DELETE FROM patients")
    archive.index(*stays)
    assert agree(archive)
    assert archive.files() == {stored.path for stored in stays}


def test_what_a_series_has_when_it_moves_to_another_study_does_not_come_back_either(archive):
    first, second = datasets.series(2)
    first.StudyInstanceUID = datasets.generate_uid()
    # The one that was received first is indexed last, and takes the series to its study.
    earlier, _ = receive(archive.store, second)
    (moved,) = archive.receive(first)
    archive.index(earlier)
    archive.store.release([earlier])
    assert archive.studies() == {second.StudyInstanceUID}
    shutil.copy2(archive.root / moved.path, archive.root / "objects/backup.dcm")
    archive.delete(second.StudyInstanceUID)
    archive.settle()
    archive.index(moved._replace(path="objects/backup.dcm"))
    assert agree(archive)
    assert archive.files() == set()


def test_tombstones_are_forgotten_after_ten_years(archive):
    (stored,) = archive.receive(datasets.build())
    archive.delete(stored.identity.study_instance_uid)
    deletions = PostgresExpiredStudyRepository(archive.database, archive.root, replica="test")
    deletions.forget_old()
    assert archive.scalars("SELECT uid FROM tombstones") == [stored.identity.study_instance_uid]
    archive.execute("UPDATE tombstones SET deleted_at = now() - interval '3654 days'")
    deletions.forget_old()
    assert archive.scalars("SELECT uid FROM tombstones") == []


@pytest.mark.parametrize("seconds", [0.3, 3600])
def test_what_is_received_while_the_clock_is_set_back_stays_whenever_it_is_indexed(
    archive, seconds
):
    objects = datasets.series(2)
    claimed, _ = receive(archive.store, objects[1])
    archive.receive(objects[0])
    archive.set_clock_back(seconds)
    archive.delete(claimed.identity.study_instance_uid)
    archive.settle()
    new = [receive(archive.store, made)[0] for made in objects]
    assert new[1].path == claimed.path
    # The shorter one passes meanwhile, the longer one does not.
    time.sleep(0.4)
    archive.index(claimed, *new)
    archive.store.release([claimed, *new])
    assert agree(archive)
    assert archive.files() == {stored.path for stored in new}
    archive.execute("DELETE FROM patients")
    found = list(VolumeFiles(archive.root).found())
    assert all(file.modified < time.time() + 1 for file in found), "reconcile judges them"
    archive.index(*(describe_file(archive.root, file.path) for file in found))
    assert agree(archive)
    assert archive.scalars("SELECT instance_count FROM studies") == [2]


def test_what_is_deleted_while_the_clock_is_set_back_does_not_come_back(archive):
    objects = datasets.series(2)
    uid = objects[0].StudyInstanceUID
    archive.receive(objects[0])
    archive.set_clock_back(3600)
    archive.delete(uid)
    archive.receive(objects[0])
    late = [receive(archive.store, objects[1])[0] for _ in range(3)]
    archive.delete(uid)
    archive.index(*late)
    archive.settle()
    assert archive.files() == set()
    assert archive.studies() == set()


def test_an_entry_that_is_announced_after_a_restart_is_as_old_as_it_is(archive):
    objects = datasets.series(2)
    archive.receive(objects[0])
    first, again = (receive(archive.store, objects[1])[0] for _ in range(2))
    archive.store.release([first])
    archive.delete(first.identity.study_instance_uid)
    archive.restart()
    recovered = archive.store.recover(again.entry, FLAT)
    assert recovered.path == first.path
    archive.index(recovered)
    archive.settle()
    assert archive.files() == set()


def test_a_restored_volume_learns_the_latest_deletion_from_the_index(archive, database_url):
    broker = "amqp://guest:guest@127.0.0.1:1/"
    settings = IndexerSettings(
        database_url=database_url, broker_url=broker, storage_root=archive.root, replica="one"
    )
    indexer = Indexer(settings)
    for _ in range(2):
        made = datasets.build()
        archive.receive(made)
        archive.set_clock_back(3600)
        archive.delete(made.StudyInstanceUID)
        archive.settle()
        latest = archive.root / LATEST_DELETION
        # At its start, and while it runs: the volume had it when it was looked at last.
        if indexer._database_ready:
            indexer._probe()
        latest.unlink()
        indexer._probe()
        assert latest.stat().st_mtime > time.time() + 1800
        archive.restart()
        archive.receive(made)
        assert agree(archive)
        assert made.StudyInstanceUID in archive.studies()


def test_a_receiver_remembers_the_latest_deletion_that_it_has_seen(archive):
    made = datasets.build()
    archive.receive(made)
    archive.set_clock_back(3600)
    archive.delete(made.StudyInstanceUID)
    archive.receive(datasets.build())
    os.utime(archive.root / LATEST_DELETION, (0, 0))
    archive.receive(made)
    assert agree(archive)
    assert made.StudyInstanceUID in archive.studies()


def test_a_copy_that_goes_keeps_the_study_for_another_retention(archive):
    first, second = twice(archive, datasets.build())
    archive.index(first)
    archive.age(first.identity.study_instance_uid, 40)
    archive.index(second)
    archive.settle()
    assert archive.files() == {first.path}
    archive.clean_up(on=True, days=30).delete_expired()
    assert archive.files() == {first.path}


def test_a_study_with_a_copy_that_has_just_come_is_not_cleaned_up(archive):
    first, second = twice(archive, datasets.build())
    archive.index(first)
    archive.age(first.identity.study_instance_uid, 40)
    archive.index(second)
    archive.clean_up(on=True, days=30).delete_expired()
    assert archive.studies() == {first.identity.study_instance_uid}


# --- whatever happens ------------------------------------------------------------------


class Anything:
    """Receives, announces, deletes and rebuilds at random, and keeps plain sets beside."""

    def __init__(self, archive, seed):
        self.chance = random.Random(seed)
        self.archive = archive
        self.stores = [archive.store, opened(archive.root, "two")]
        self.objects = [made for _ in range(3) for made in datasets.series(2)]
        self.objects.append(same_instance(self.objects[0], StudyDescription="other bytes"))
        # Of another patient.
        self.objects.append(datasets.build(SOPInstanceUID=self.objects[2].SOPInstanceUID))
        self.expected, self.waiting, self.announced = set(), [], []

    def receive(self):
        number = self.chance.randrange(len(self.objects))
        store, layout = self.chance.choice(self.stores), self.chance.choice(LAYOUTS)
        stored, _ = receive(store, self.objects[number], layout)
        store.release([stored])
        self.waiting.append(stored)
        self.expected.add(number)

    def index(self, most=3):
        self.chance.shuffle(self.waiting)
        several, self.waiting = self.waiting[:most], self.waiting[most:]
        self._announce(several)
        self.announced += several

    def index_again(self):
        several = self.chance.sample(self.announced, min(3, len(self.announced)))
        self._announce(several)

    def _announce(self, several):
        """Index; what a removal may bring back is announced again, as the broker does."""
        failures = self.archive.failures(*several, attempt=1)
        assert {type(failure.error) for failure in failures} <= {FileMissing}
        self.waiting += [several[failure.delivery.tag - 1] for failure in failures]

    def delete(self):
        uid = self.chance.choice(self.objects).StudyInstanceUID
        if self.archive.delete(uid) is not None:
            self.expected -= {n for n in self.expected if self.objects[n].StudyInstanceUID == uid}

    def settle(self):
        self.archive.settle()

    def rebuild(self):
        files = sorted(self.archive.files())
        self.archive.index(*(describe_file(self.archive.root, path) for path in files))

    def do(self):
        steps = [self.receive] * 4 + [self.index] * 3
        self.chance.choice([*steps, self.index_again, self.delete, self.settle, self.rebuild])()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_in_whatever_order_rows_and_files_are_what_was_received(archive, seed):
    archive.duplicates = list(DuplicatePolicy)[seed % 2]
    anything = Anything(archive, seed)
    for _ in range(40):
        anything.do()
    anything.index(most=40)
    while anything.waiting:
        archive.settle()
        anything.index(most=40)
    assert agree(archive)
    anything.stores[1].stop(5)
    versions = "SELECT sop_instance_uid || ' ' || encode(content_sha256, 'hex') FROM {}"
    rows = {
        key
        for table in ("instances", "instance_conflicts")
        for key in archive.scalars(versions.format(table))
    }
    files = [archive.content(path) for path in archive.files()]
    assert rows == {f"{file.sop_instance_uid} {file.content_sha256}" for file in files}
    assert len(files) == len(rows) == len(anything.expected)
