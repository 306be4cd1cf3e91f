"""The permissions of each service's user at the broker (RabbitMQ access control).

A pattern of names limits what a user may configure (create and delete), write to (publish to,
bind) and read from (consume, bind from). Each service creates the queues that it reads; the
indexer creates the shared exchanges. A message to a queue by name goes through the default
exchange, `amq.default`: consumers use it for retries, and the API for dead letters.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

PRIVATE: Final = r"amq\.gen-.*"
"""The private queue of a connection, which receives the fanout of wake-ups."""


VHOST: Final = "/"


@dataclass(frozen=True, slots=True)
class Rights:
    """Patterns of names in RabbitMQ's syntax; an empty one matches nothing."""

    configure: str
    write: str
    read: str


def _any(*patterns: str) -> str:
    return f"^({'|'.join(patterns)})$" if patterns else ""


RIGHTS: Final[Mapping[str, Rights]] = {
    "scp": Rights(
        configure=_any(PRIVATE),
        write=_any(r"draw\.events", PRIVATE),
        read=_any(r"draw\.control", PRIVATE),
    ),
    "indexer": Rights(
        configure=_any(r"draw\..*", r"indexer\..*", PRIVATE),
        write=_any(r"draw\..*", r"indexer\..*", r"amq\.default", PRIVATE),
        read=_any(r"draw\..*", r"indexer\..*", PRIVATE),
    ),
    "qr-worker": Rights(
        configure=_any(r"qr-worker\..*", PRIVATE),
        write=_any(r"draw\.events", r"qr-worker\..*", r"amq\.default", PRIVATE),
        read=_any(r"draw\.(events|control)", r"qr-worker\..*", PRIVATE),
    ),
    "dicomweb": Rights(
        configure=_any(PRIVATE),
        write=_any(r"draw\.events", PRIVATE),
        read=_any(r"draw\.control", PRIVATE),
    ),
    "api": Rights(
        configure=_any(),
        write=_any(r"draw\.(events|control)", r"amq\.default"),
        read=_any(r".*\.dead", r"draw\.unroutable"),
    ),
}
"""By service."""


def definitions(administrator: tuple[str, str], users: Mapping[str, tuple[str, str]]) -> str:
    """Return the definitions that RabbitMQ loads at each start: users and their permissions.

    Args:
        administrator: name and password of the user with all permissions.
        users: name and password of the user of each service.
    """
    name, password = administrator
    names = {service: user for service, (user, _) in users.items()}
    held = {
        "vhosts": [{"name": VHOST}],
        "users": [
            {"name": name, "password": password, "tags": "administrator"},
            *({"name": n, "password": p, "tags": ""} for n, p in users.values()),
        ],
        "permissions": permissions(name, names),
    }
    return json.dumps(held, indent=1)


def permissions(administrator: str, users: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the permissions of all users in RabbitMQ's import format.

    Args:
        administrator: name of the user with all permissions.
        users: name of the user of each service.
    """
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    return [
        {"user": administrator, "vhost": VHOST, **everything},
        *(
            {"user": user, "vhost": VHOST, **asdict(RIGHTS[service])}
            for service, user in users.items()
        ),
    ]
