"""Says in words what the destinations of routing are."""

from collections.abc import Mapping
from typing import Any, Final

from draw_api.handlers.web.languages import N_, _, gettext
from draw_api.handlers.web.words import words

KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "node": (N_("Remote node"), N_("Sends objects to a remote node by C-STORE.")),
    "folder": (N_("Folder"), N_("Puts each series into a folder of its own.")),
    "celery": (N_("Celery task"), N_("Starts a task of Celery workers for each series.")),
    "webhook": (N_("Webhook"), N_("Tells a receiver which series it is.")),
    "group": (N_("Group of destinations"), N_("Several destinations under one name.")),
    "priors": (
        N_("Earlier studies"),
        N_("Retrieves earlier studies of the patient from a remote node."),
    ),
}
"""By the kind, what it is called and what it does."""
POINTS: Final = ("remote_node", "path", "task", "members")
"""Fields of which one says where a destination leads."""


def kind_words(kind: str) -> str:
    """Return what a kind of destination is called."""
    return gettext(KINDS[kind][0]) if kind in KINDS else words(kind)


def kind_help(kind: str) -> str:
    """Return what a kind of destination does; empty when there are no words for it."""
    return gettext(KINDS[kind][1]) if kind in KINDS else ""


def leads_to(stored: Mapping[str, Any]) -> str:
    """Return where a destination in its stored form leads."""
    if "webhook_id" in stored:
        return _("number %(number)s", number=stored["webhook_id"])
    point = next((stored[name] for name in POINTS if name in stored), "")
    return point if isinstance(point, str) else ", ".join(point)
