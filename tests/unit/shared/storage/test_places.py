"""What messages say of where an object lies, and who can read it."""

import stat

import pytest

from draw_shared.contracts.instance import InstanceStoredV2, instance_stored
from draw_shared.storage.layout import PLACE_KEY
from draw_shared.storage.place_key import PlaceKeyDamaged
from draw_shared.storage.places import Places, Unopened
from support.publishing import announcement

pytestmark = pytest.mark.security

EVENT = announcement().model_copy(update={"path": "objects/CANARY-4711/1.2/1.3/1.4.dcm"})


def read_again(message):
    return instance_stored(message.to_bytes())


def test_whoever_has_the_volume_opens_it_and_the_message_says_nothing(tmp_path):
    message = Places(tmp_path).seal(EVENT)
    assert b"CANARY" not in message.to_bytes()
    found = read_again(message)
    assert Places(tmp_path).unseal(found) == EVENT.path
    kept = set(InstanceStoredV2.model_fields) - {"path", "place", "schema_version"}
    assert {name: getattr(found, name) for name in kept} == {
        name: getattr(EVENT, name) for name in kept
    }


def test_the_release_before_can_parse_it_and_finds_nothing_there(tmp_path):
    found = type(EVENT).from_bytes(Places(tmp_path).seal(EVENT).to_bytes())
    assert found.path == "objects/.sealed"
    assert (found.sop_instance_uid, found.event_id) == (EVENT.sop_instance_uid, EVENT.event_id)


def test_what_the_release_before_has_announced_is_still_read():
    assert instance_stored(EVENT.to_bytes()) == EVENT


def test_a_place_is_good_for_no_other_object_and_no_other_volume(tmp_path):
    here, there = Places(tmp_path), Places(tmp_path / "other")
    (tmp_path / "other").mkdir()
    message = here.seal(EVENT)
    for change in ({"sop_instance_uid": "1.9"}, {"content_sha256": "cd" * 32}, {"place": "AAAA"}):
        with pytest.raises(Unopened):
            here.unseal(message.model_copy(update=change))
    with pytest.raises(Unopened):
        there.unseal(message)
    there.make()
    with pytest.raises(Unopened):
        there.unseal(message)


def test_a_volume_that_is_replaced_under_a_running_process_is_noticed(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    reader, writer = Places(one), Places(other)
    reader.seal(EVENT)
    message = writer.seal(EVENT)
    (one / PLACE_KEY).write_bytes((other / PLACE_KEY).read_bytes())
    assert reader.unseal(message) == EVENT.path


def test_the_key_is_made_once_and_is_for_those_who_may_read_the_objects(tmp_path):
    places = [Places(tmp_path) for _ in range(3)]
    messages = [one.seal(EVENT) for one in places]
    assert [places[0].unseal(message) for message in messages] == [EVENT.path] * 3
    (key,) = tmp_path.iterdir()
    assert key.stat().st_size == 64
    assert not stat.S_IMODE(key.stat().st_mode) & stat.S_IRWXO


def test_a_file_that_is_no_key_is_said_and_left_alone(tmp_path):
    (tmp_path / PLACE_KEY).write_bytes(b"short")
    with pytest.raises(PlaceKeyDamaged):
        Places(tmp_path).seal(EVENT)
    assert (tmp_path / PLACE_KEY).read_bytes() == b"short"
