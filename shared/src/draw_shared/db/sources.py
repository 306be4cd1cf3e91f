"""How rows name the object that a value is from, in `sources`."""

from datetime import datetime


def source_name(received_at: datetime, sop_instance_uid: str, content_sha256: str) -> str:
    """Return an object's name in `sources`; the order of names is that of reception."""
    moment = received_at.strftime("%Y%m%dT%H%M%S.%f")
    return f"{moment} {sop_instance_uid} {content_sha256[:12]}"
