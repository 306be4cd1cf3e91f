"""Generates `deploy/rabbitmq/permissions.json`, the broker permissions for make-secrets.sh."""

import json
from pathlib import Path
from typing import Final

from draw_shared.messaging.rights import RIGHTS, permissions

ADMINISTRATOR: Final = "draw"


def pages() -> dict[Path, str]:
    """Return the text of the generated file by its path in the tree."""
    users = {service: f"draw_{service.replace('-', '_')}" for service in RIGHTS}
    text = json.dumps(permissions(ADMINISTRATOR, users), indent=1)
    return {Path("deploy/rabbitmq/permissions.json"): f"{text}\n"}
