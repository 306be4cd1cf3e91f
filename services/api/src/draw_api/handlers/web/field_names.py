"""What the page calls the fields and parameters in which something is wrong."""

from typing import Final

from draw_api.handlers.web.languages import N_, gettext
from draw_api.handlers.web.words import words

IN_THE_ADDRESS: Final = N_("Address of the page")
NAMES: Final = {
    **dict.fromkeys(
        (
            "action", "edge", "frame", "job_id", "key", "patient_key", "query_id", "queue",
            "row_id", "saved_id", "service", "session_id", "token_id", "transaction_id",
            "user_id", "version", "webhook_id", "object", "step", "here", "trouble",
        ),
        IN_THE_ADDRESS,
    ),
    "accession_number": N_("Accession number"),
    "activity": N_("Activity"),
    "actor": N_("User"),
    "address": N_("Address"),
    "ambiguous": N_("Ambiguous"),
    "before": N_("Page of the list"),
    "body": N_("Entries"),
    "center": N_("Window"),
    "conflicting": N_("Conflicts"),
    "created_by": N_("By"),
    "cursor": N_("Page of the list"),
    "date_from": N_("From"),
    "date_to": N_("To"),
    "days": N_("Days"),
    "first": N_("First day"),
    "first_day": N_("First day"),
    "form": N_("Entries"),
    "group": N_("Kind of action"),
    "held": N_("Held"),
    "inverted": N_("Window"),
    "kind": N_("Kind"),
    "last": N_("Last day"),
    "last_day": N_("Last day"),
    "modality": N_("Modality"),
    "name": N_("Name"),
    "node": N_("Remote node"),
    "node_id": N_("Remote node"),
    "order": N_("Order"),
    "outcome": N_("Outcome"),
    "patient_id": N_("Patient ID"),
    "patient_name": N_("Patient name"),
    "peer": N_("Address of the peer"),
    "peer_address": N_("Address of the peer"),
    "referring_physician": N_("Referring physician"),
    "replica": N_("Replica"),
    "search": N_("Search"),
    "sender": N_("Sender"),
    "since": N_("From"),
    "sort": N_("Order"),
    "span": N_("Span of time"),
    "state": N_("State"),
    "status": N_("Status"),
    "study_instance_uid": "Study Instance UID",
    "series_instance_uid": "Series Instance UID",
    "sop_instance_uid": "SOP Instance UID",
    "uid": "UID",
    "until": N_("To"),
    "user": N_("User"),
    "width": N_("Window"),
}  # fmt: skip
"""The names of what no form model has, by parameter."""


def field_name(field: str) -> str:
    """Return the name of a field in the visitor's language; `field` is its dotted path."""
    known = NAMES.get(field)
    if known is not None:
        return gettext(known)
    parts = [part for part in field.split(".") if part and not part.isdecimal()]
    return words(parts[-1]) if parts else gettext(NAMES["body"])
