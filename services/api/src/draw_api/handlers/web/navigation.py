"""The navigation of every page."""

from dataclasses import dataclass
from typing import Final

from draw_api.handlers.web.languages import N_
from draw_shared.access.permissions import Permission


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
    ("", (NavigationEntry("/", N_("Dashboard"), "gauge", Permission.READ_STATUS),)),
    (
        N_("Archive"),
        (
            NavigationEntry(
                "/studies",
                N_("Studies"),
                "layers",
                Permission.READ_ARCHIVE,
                also=("/selection",),
            ),
            NavigationEntry("/patients", N_("Patients"), "person", Permission.READ_ARCHIVE),
            NavigationEntry("/conflicts", N_("Conflicts"), "alert", Permission.READ_ARCHIVE),
            NavigationEntry("/storage", N_("Storage"), "disk", Permission.READ_STORAGE),
            NavigationEntry("/statistics", N_("Statistics"), "chart", Permission.READ_STATUS),
        ),
    ),
    (
        N_("Remote"),
        (
            NavigationEntry(
                "/queries",
                N_("Query"),
                "search",
                Permission.READ_QUERIES,
                also=("/batch-queries",),
            ),
            NavigationEntry("/jobs", N_("Jobs"), "tasks", Permission.READ_JOBS),
            NavigationEntry("/nodes", N_("Remote nodes"), "nodes", Permission.READ_NODES),
            NavigationEntry("/routing", N_("Routing"), "route", Permission.READ_ROUTING),
        ),
    ),
    (
        N_("Receiver"),
        (
            NavigationEntry(
                "/transactions", N_("Transactions"), "list", Permission.READ_TRANSACTIONS
            ),
            NavigationEntry("/ae-titles", N_("AE titles"), "key", Permission.READ_PEERS),
            NavigationEntry(
                "/devices/connect", N_("Connect a device"), "plug", Permission.READ_PEERS
            ),
            NavigationEntry(
                "/config", N_("Configuration"), "sliders", Permission.READ_CONFIGURATION
            ),
        ),
    ),
    (
        N_("Integration"),
        (
            NavigationEntry(
                "/changes", N_("Events"), "feed", Permission.READ_CHANGES, also=("/webhooks",)
            ),
            NavigationEntry(
                "/dead-letters", N_("Failed messages"), "inbox", Permission.MANAGE_DEAD_LETTERS
            ),
        ),
    ),
    (
        N_("System"),
        (
            NavigationEntry("/services", N_("Services"), "gauge", Permission.READ_STATUS),
            NavigationEntry(
                "/users",
                N_("Users and tokens"),
                "people",
                Permission.READ_OWN_CREDENTIALS,
                also=("/tokens",),
            ),
            NavigationEntry("/about", N_("About"), "info", Permission.READ_STATUS),
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
