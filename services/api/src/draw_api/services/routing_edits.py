"""Changes one rule or destination of a document, and leaves the rest as it is.

A change takes the stored form of the document that the visitor has read and returns the whole new
one; whether that is a document is checked where it is put in force.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from draw_shared.contracts.failures import Conflict, NotFound
from draw_shared.wording import message

Part = Mapping[str, Any]
"""A rule or a destination in its stored form."""
DocumentChange = Callable[[Mapping[str, Any]], dict[str, Any]]

NO_RULE: Final = message("There is no rule of this name.")
NO_DESTINATION: Final = message("There is no destination of this name.")


def put_rule(rule: Part, replaced: str = "") -> DocumentChange:
    """Return the change that puts a rule in the place of another; without that, at the end.

    Raises:
        NotFound: the change finds no rule of that name.
    """

    def change(document: Mapping[str, Any]) -> dict[str, Any]:
        return {**document, "rules": _put(document["rules"], rule, replaced, NO_RULE)}

    return change


def switch_rule(name: str, *, active: bool) -> DocumentChange:
    """Return the change that has a rule looked at, or passed over."""

    def change(document: Mapping[str, Any]) -> dict[str, Any]:
        rules = list(document["rules"])
        place = _place(rules, name, NO_RULE)
        rules[place] = {**rules[place], "active": active}
        return {**document, "rules": rules}

    return change


def move_rule(name: str, steps: int) -> DocumentChange:
    """Return the change that moves a rule so many places down, at most to the end."""

    def change(document: Mapping[str, Any]) -> dict[str, Any]:
        rules = list(document["rules"])
        place = _place(rules, name, NO_RULE)
        rule = rules.pop(place)
        rules.insert(max(0, place + steps), rule)
        return {**document, "rules": rules}

    return change


def remove_rule(name: str) -> DocumentChange:
    """Return the change that takes a rule out."""

    def change(document: Mapping[str, Any]) -> dict[str, Any]:
        rules = list(document["rules"])
        del rules[_place(rules, name, NO_RULE)]
        return {**document, "rules": rules}

    return change


def put_destination(destination: Part, replaced: str = "") -> DocumentChange:
    """Return the change that puts a destination in the place of another, or at the end.

    Rules and groups that name the other one name this one then.

    Raises:
        NotFound: the change finds no destination of that name.
    """

    def change(document: Mapping[str, Any]) -> dict[str, Any]:
        held = [_renamed(one, "members", replaced, destination) for one in document["destinations"]]
        rules = [_renamed(one, "destinations", replaced, destination) for one in document["rules"]]
        destinations = _put(held, destination, replaced, NO_DESTINATION)
        return {**document, "destinations": destinations, "rules": rules}

    return change


def remove_destination(name: str) -> DocumentChange:
    """Return the change that takes a destination out.

    Raises:
        NotFound: the change finds no destination of that name.
        Conflict: rules or groups name it.
    """

    def change(document: Mapping[str, Any]) -> dict[str, Any]:
        destinations = list(document["destinations"])
        place = _place(destinations, name, NO_DESTINATION)
        users = users_of_destination(document, name)
        if users:
            raise Conflict(
                message(
                    "%(name)s is still named by %(users)s; take it out there first.",
                    name=name,
                    users=", ".join(users),
                )
            )
        del destinations[place]
        return {**document, "destinations": destinations}

    return change


def users_of_destination(document: Mapping[str, Any], name: str) -> list[str]:
    """Return the names of the rules and groups that name a destination."""
    return [
        *(one["name"] for one in document["rules"] if name in one["destinations"]),
        *(one["name"] for one in document["destinations"] if name in one.get("members", ())),
    ]


def place_of(parts: Sequence[Part], name: str) -> int:
    """Return the place of a rule or destination, or of the one that would be added."""
    return next((place for place, one in enumerate(parts) if one["name"] == name), len(parts))


def _put(parts: Sequence[Part], part: Part, replaced: str, missing: str) -> list[Part]:
    """Return parts with one in the place of another, or at the end."""
    if not replaced:
        return [*parts, part]
    place = _place(parts, replaced, missing)
    return [*parts[:place], part, *parts[place + 1 :]]


def _renamed(part: Part, field: str, name: str, destination: Part) -> Part:
    """Return a part whose field has a destination's new name instead of its old one."""
    named = part.get(field, ())
    if name not in named:
        return part
    return {**part, field: [destination["name"] if one == name else one for one in named]}


def _place(parts: Sequence[Part], name: str, missing: str) -> int:
    """Return the place of a part; NotFound in these words when there is none."""
    place = place_of(parts, name)
    if place == len(parts):
        raise NotFound(missing)
    return place
