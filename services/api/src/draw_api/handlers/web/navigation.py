"""Where things are: the navigation of every page."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Place:
    """One entry of the navigation."""

    path: str
    title: str
    icon: str
    role: str = "viewer"
    also: tuple[str, ...] = ()
    """Other beginnings of paths that belong here."""


NAVIGATION: Final = (
    ("", (Place("/", "Dashboard", "gauge"),)),
    (
        "Archive",
        (
            Place("/studies", "Studies", "layers"),
            Place("/patients", "Patients", "person"),
            Place("/storage", "Storage", "disk"),
        ),
    ),
    (
        "Remote",
        (
            Place("/queries", "Query", "search"),
            Place("/jobs", "Jobs", "tasks"),
            Place("/nodes", "Remote nodes", "nodes"),
        ),
    ),
    (
        "Receiver",
        (
            Place("/transactions", "Transactions", "list"),
            Place("/ae-titles", "AE titles", "key"),
            Place("/config", "Configuration", "sliders"),
        ),
    ),
    (
        "Integration",
        (
            Place("/changes", "Change feed", "feed", also=("/webhooks",)),
            Place("/dead-letters", "Dead letters", "inbox"),
        ),
    ),
    (
        "System",
        (
            Place("/users", "Users and tokens", "people", also=("/tokens",)),
            Place("/about", "About", "info"),
        ),
    ),
)


def place_of(path: str) -> str:
    """Return the path of the entry that a page belongs to."""
    for _, places in NAVIGATION:
        for place in places:
            for beginning in (place.path, *place.also):
                if path == beginning or (beginning != "/" and path.startswith(f"{beginning}/")):
                    return place.path
    return ""
