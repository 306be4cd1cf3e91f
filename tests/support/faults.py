"""Private servers that a test may stop, kill and start again, on the same port."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from draw_shared.db.migrate import upgrade
from tools.local_postgres import LocalPostgres
from tools.local_rabbitmq import LocalRabbitmq


@contextmanager
def own_postgres(folder: Path) -> Iterator[LocalPostgres]:
    """Yield a PostgreSQL of this test alone, with a migrated database `draw`."""
    server = LocalPostgres(folder, durable=False)
    try:
        server.start()
        server.create_database("draw")
        upgrade(server.url("draw"))
        yield server
    finally:
        server.kill()


@contextmanager
def own_rabbitmq(folder: Path) -> Iterator[LocalRabbitmq]:
    """Yield a RabbitMQ of this test alone."""
    server = LocalRabbitmq(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
