"""Passwords are compared at the same cost whether somebody is known or not."""

from draw_api.adapters.passwords import NOBODYS, Argon2Passwords


def test_who_is_not_known_is_compared_at_today_s_cost_and_never_let_in():
    passwords = Argon2Passwords()
    assert not passwords.outdated(NOBODYS)
    assert not passwords.matches("", "nobody's password")
    assert passwords.matches(NOBODYS, "nobody's password")
