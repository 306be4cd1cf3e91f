"""The navigation of every page."""

from dataclasses import dataclass
from typing import Final

from draw_api.models.permissions import Permission


@dataclass(frozen=True, slots=True)
class NavigationEntry:
    """One entry of the navigation."""

    path: str
    title: str
    icon: str
    permission: Permission
    """The permission to see it; the entry is hidden without it."""
    also: tuple[str, ...] = ()
    """Other beginnings of paths that belong to this entry."""


NAVIGATION: Final = (
    ("", (NavigationEntry("/", "Dashboard", "gauge", Permission.READ_STATUS),)),
    (
        "Archive",
        (
            NavigationEntry("/studies", "Studies", "layers", Permission.READ_ARCHIVE),
            NavigationEntry("/patients", "Patients", "person", Permission.READ_ARCHIVE),
            NavigationEntry("/conflicts", "Conflicts", "alert", Permission.READ_ARCHIVE),
            NavigationEntry("/storage", "Storage", "disk", Permission.READ_STORAGE),
        ),
    ),
    (
        "Remote",
        (
            NavigationEntry(
                "/queries",
                "Query",
                "search",
                Permission.READ_QUERIES,
                also=("/batch-queries",),
            ),
            NavigationEntry("/jobs", "Jobs", "tasks", Permission.READ_JOBS),
            NavigationEntry("/nodes", "Remote nodes", "nodes", Permission.READ_NODES),
        ),
    ),
    (
        "Receiver",
        (
            NavigationEntry("/transactions", "Transactions", "list", Permission.READ_TRANSACTIONS),
            NavigationEntry("/ae-titles", "AE titles", "key", Permission.READ_PEERS),
            NavigationEntry("/config", "Configuration", "sliders", Permission.READ_CONFIGURATION),
        ),
    ),
    (
        "Integration",
        (
            NavigationEntry(
                "/changes", "Events", "feed", Permission.READ_CHANGES, also=("/webhooks",)
            ),
            NavigationEntry(
                "/dead-letters", "Failed messages", "inbox", Permission.MANAGE_DEAD_LETTERS
            ),
        ),
    ),
    (
        "System",
        (
            NavigationEntry("/services", "Services", "gauge", Permission.READ_STATUS),
            NavigationEntry(
                "/users",
                "Users and tokens",
                "people",
                Permission.READ_OWN_CREDENTIALS,
                also=("/tokens",),
            ),
            NavigationEntry("/about", "About", "info", Permission.READ_STATUS),
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
