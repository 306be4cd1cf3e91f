"""How the `sources` column of a row names the object that a value comes from."""

from datetime import datetime


def source_name(received_at: datetime, sop_instance_uid: str, content_sha256: str) -> str:
    """Return an object's name in `sources`; names sort by the time of reception."""
    moment = received_at.strftime("%Y%m%dT%H%M%S.%f")
    return f"{moment} {sop_instance_uid} {content_sha256[:12]}"
