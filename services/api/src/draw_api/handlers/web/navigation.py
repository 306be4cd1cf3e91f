"""Where things are: the navigation of every page."""

from dataclasses import dataclass
from typing import Final

from draw_api.models.permissions import Permission


@dataclass(frozen=True, slots=True)
class Place:
    """One entry of the navigation."""

    path: str
    title: str
    icon: str
    permission: Permission
    """What one needs to see it; who may not is not shown the way."""
    also: tuple[str, ...] = ()
    """Other beginnings of paths that belong here."""


NAVIGATION: Final = (
    ("", (Place("/", "Dashboard", "gauge", Permission.READ_STATUS),)),
    (
        "Archive",
        (
            Place("/studies", "Studies", "layers", Permission.READ_ARCHIVE),
            Place("/patients", "Patients", "person", Permission.READ_ARCHIVE),
            Place("/conflicts", "Conflicts", "alert", Permission.READ_ARCHIVE),
            Place("/storage", "Storage", "disk", Permission.READ_STORAGE),
        ),
    ),
    (
        "Remote",
        (
            Place(
                "/queries",
                "Query",
                "search",
                Permission.READ_QUERIES,
                also=("/batch-queries",),
            ),
            Place("/jobs", "Jobs", "tasks", Permission.READ_JOBS),
            Place("/nodes", "Remote nodes", "nodes", Permission.READ_NODES),
        ),
    ),
    (
        "Receiver",
        (
            Place("/transactions", "Transactions", "list", Permission.READ_TRANSACTIONS),
            Place("/ae-titles", "AE titles", "key", Permission.READ_PEERS),
            Place("/config", "Configuration", "sliders", Permission.READ_CONFIGURATION),
        ),
    ),
    (
        "Integration",
        (
            Place("/changes", "Change feed", "feed", Permission.READ_CHANGES, also=("/webhooks",)),
            Place("/dead-letters", "Dead letters", "inbox", Permission.MANAGE_DEAD_LETTERS),
        ),
    ),
    (
        "System",
        (
            Place(
                "/users",
                "Users and tokens",
                "people",
                Permission.READ_OWN_CREDENTIALS,
                also=("/tokens",),
            ),
            Place("/about", "About", "info", Permission.READ_STATUS),
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
