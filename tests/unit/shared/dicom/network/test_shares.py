"""Who gets a place when there are few: one peer alone all of them, yet never what others need."""

import threading

import pytest

from draw_shared.dicom.network.shares import Claimant, Limits, Shares, ShareShortage
from support.waiting import wait_until


class Clinic:
    """Peers that ask for places, and go on without waiting."""

    def __init__(self, places=10, reserved=6, **more):
        self.limits = Limits(places, reserved, **more)
        self.shares = Shares(lambda: self.limits)

    def ask(self, address, title="MODALITY", *, listed=False):
        """Return the place, or why there is none."""
        place = self.shares.ask(Claimant(address, title, listed))
        return self.shares.wait(place, 0) or place

    def taken(self, number, address, title="MODALITY", *, listed=False):
        """Return the places that are had of so many asked for."""
        asked = [self.ask(address, title, listed=listed) for _ in range(number)]
        return [place for place in asked if not isinstance(place, ShareShortage)]


def test_one_peer_alone_has_every_place_but_the_reserve():
    clinic = Clinic(places=16)
    assert len(clinic.taken(40, "192.0.2.1")) == 16
    assert clinic.ask("192.0.2.1") is ShareShortage.OF_SHARE


@pytest.mark.parametrize("reserved", [1, 2, 3, 6, 50])
def test_whoever_has_all_of_few_places_gets_none_of_the_reserve(reserved):
    clinic = Clinic(places=1, reserved=reserved)
    assert len(clinic.taken(5, "192.0.2.1")) == 1


def test_another_address_another_title_and_a_listed_title_get_in_beside_a_peer_that_has_all():
    clinic = Clinic()
    clinic.taken(10, "192.0.2.1", "GREEDY")
    others = [
        clinic.ask("192.0.2.1", "BEHIND_THE_SAME_NAT"),
        clinic.ask("192.0.2.2", "GREEDY"),
        clinic.ask("192.0.2.1", "LISTED", listed=True),
    ]
    assert not [place for place in others if isinstance(place, ShareShortage)]


def test_titles_made_up_at_one_address_leave_places_for_others():
    clinic = Clinic()
    had = [clinic.ask("192.0.2.1", f"MADE_UP_{number}") for number in range(50)]
    assert len([place for place in had if not isinstance(place, ShareShortage)]) == 12
    assert not isinstance(clinic.ask("192.0.2.2"), ShareShortage)


def test_many_addresses_leave_places_for_listed_titles():
    clinic = Clinic()
    had = [clinic.ask(f"192.0.2.{number}", f"MADE_UP_{number}") for number in range(50)]
    assert len([place for place in had if not isinstance(place, ShareShortage)]) == 14
    first = clinic.taken(5, "192.0.2.1", "LISTED", listed=True)
    other = clinic.taken(5, "192.0.2.1", "LISTED_TOO", listed=True)
    assert first and other


def test_a_title_from_elsewhere_than_expected_uses_up_nothing_of_the_listed_one():
    clinic = Clinic(per_ae_title=4)
    assert len(clinic.taken(9, "192.0.2.66", "LISTED")) == 4
    assert clinic.ask("192.0.2.67", "LISTED") is ShareShortage.OF_AE_TITLE
    assert len(clinic.taken(9, "192.0.2.2", "LISTED", listed=True)) == 4


def test_an_address_has_no_more_than_it_may():
    clinic = Clinic(per_address=3)
    assert len(clinic.taken(9, "192.0.2.1")) == 3
    assert clinic.ask("192.0.2.1", "OTHER") is ShareShortage.OF_ADDRESS
    assert len(clinic.taken(9, "192.0.2.2")) == 3


def test_without_a_reserve_the_places_are_all_there_are():
    clinic = Clinic(reserved=0)
    clinic.taken(10, "192.0.2.1")
    assert clinic.ask("192.0.2.2", listed=True) is ShareShortage.OF_PLACES


def test_what_is_given_back_is_there_again_and_only_once():
    clinic = Clinic(places=2, reserved=0)
    first, _ = clinic.taken(2, "192.0.2.1")
    for _ in range(3):
        clinic.shares.give_back(first)
    assert clinic.shares.held == 1
    assert len(clinic.taken(5, "192.0.2.1")) == 1


def test_who_has_least_is_served_before_who_came_first():
    clinic = Clinic(places=3, reserved=0)
    [first, _] = clinic.taken(2, "192.0.2.1")
    clinic.taken(1, "192.0.2.3")
    greedy = clinic.shares.ask(Claimant("192.0.2.1", "GREEDY", listed=False))
    modest = clinic.shares.ask(Claimant("192.0.2.2", "MODEST", listed=False))
    clinic.shares.give_back(first)
    assert modest.taken
    assert not greedy.taken
    clinic.shares.give_back(modest)
    assert greedy.taken


def test_who_waits_goes_on_as_soon_as_there_is_a_place_and_who_gives_up_leaves_the_line():
    clinic = Clinic(places=1, reserved=0)
    [held] = clinic.taken(1, "192.0.2.1")
    asked = [clinic.shares.ask(Claimant(f"192.0.2.{n}", "X", listed=False)) for n in (2, 3)]
    answers = {}

    def wait(place):
        answers[place] = clinic.shares.wait(place, 60)

    waiting = [threading.Thread(target=wait, args=(place,)) for place in asked]
    for thread in waiting:
        thread.start()
    clinic.shares.give_back(asked[0])
    clinic.shares.give_back(held)
    for thread in waiting:
        thread.join(60)
    assert answers == {asked[0]: ShareShortage.OF_PLACES, asked[1]: None}
    assert clinic.shares.held == 1


def test_more_places_by_a_change_of_the_limits_are_had_at_once():
    clinic = Clinic(places=1, reserved=0)
    clinic.taken(1, "192.0.2.1")
    waiting = clinic.shares.ask(Claimant("192.0.2.2", "X", listed=False))
    clinic.limits = Limits(3, 0)
    assert not isinstance(clinic.ask("192.0.2.3"), ShareShortage)
    assert wait_until(lambda: waiting.taken)
