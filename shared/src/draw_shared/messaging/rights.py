"""What each service's user may do at the broker (RabbitMQ's access control).

A user may configure (make and delete), write to (publish to, bind) and read from (consume, bind
from) what a pattern names. Each service makes the queues that it reads; exchanges belong to all
and are made by the indexer. A message to a queue by its name goes through the default exchange,
`amq.default`: consumers put messages there that they will try again, and the API dead letters.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

PRIVATE: Final = r"amq\.gen-.*"
"""A queue of one connection, in which it hears what is said to all."""


VHOST: Final = "/"


@dataclass(frozen=True, slots=True)
class Rights:
    """Patterns of names, as RabbitMQ wants them; empty names nothing."""

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
    "api": Rights(
        configure=_any(),
        write=_any(r"draw\.(events|control)", r"amq\.default"),
        read=_any(r".*\.dead", r"draw\.unroutable"),
    ),
}
"""By service."""


def definitions(administrator: tuple[str, str], users: Mapping[str, tuple[str, str]]) -> str:
    """Return what RabbitMQ loads at each start: the users of the services and their rights.

    Args:
        administrator: name and password of who may do everything.
        users: by service, name and password.
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
    """Return who may do what, as RabbitMQ imports it.

    Args:
        administrator: name of who may do everything.
        users: by service, the name of its user.
    """
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    return [
        {"user": administrator, "vhost": VHOST, **everything},
        *(
            {"user": user, "vhost": VHOST, **asdict(RIGHTS[service])}
            for service, user in users.items()
        ),
    ]
