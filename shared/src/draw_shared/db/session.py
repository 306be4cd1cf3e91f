"""The only access to the database: a pooled engine, and sessions that the edge commits."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlmodel import Session

from draw_shared.db.guard import UNDEFINED, require_served_schema
from draw_shared.errors import Transient
from draw_shared.wording import message


class DatabaseUnavailable(Transient):
    """PostgreSQL does not answer or aborted this transaction in favour of another; try again."""


MAX_IDLE_SECONDS: Final = 60
"""How long a process that has the turn of all may leave PostgreSQL without a statement."""
LIMIT_IDLING: Final = text(
    "SELECT set_config('idle_in_transaction_session_timeout', CAST(:milliseconds AS text), true)"
)
RETRYABLE_SQLSTATES = frozenset(
    {
        "25P03",  # idle_in_transaction_session_timeout
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "53300",  # too_many_connections
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
    }
)


def sqlalchemy_url(url: str) -> str:
    """Return `url` for SQLAlchemy with psycopg 3; any PostgreSQL scheme name is accepted."""
    scheme, _, rest = url.partition("://")
    if scheme not in {"postgresql", "postgres", "postgresql+psycopg"} or not rest:
        raise ValueError("a database URL begins with postgresql://")
    return f"postgresql+psycopg://{rest}"


def limit_idling(connection: Connection) -> None:
    """Have PostgreSQL end this transaction if it is left alone.

    A lock for which all others wait would stay with a process that is stopped, or whose machine
    is gone without a word, for hours.
    """
    connection.execute(LIMIT_IDLING, {"milliseconds": int(MAX_IDLE_SECONDS * 1000)})


class Database:
    """Engine and sessions of one process.

    A session is one transaction. Its opener commits it; leaving the block without a commit
    rolls back.

    Args:
        plan_for_values: never prepare statements, so PostgreSQL plans each one for its values.
            Filtered lists need it: the plan for a frequent value reads everything to find a rare
            one. `SELECT *` needs it: a prepared one fails once the table gets another column.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 5,
        connect_timeout_seconds: int = 5,
        plan_for_values: bool = False,
    ) -> None:
        self.engine: Engine = create_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            # Parameters may contain names of patients, and error texts go to the log.
            hide_parameters=True,
            connect_args={
                "connect_timeout": connect_timeout_seconds,
                "application_name": "draw",
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                **({"prepare_threshold": None} if plan_for_values else {}),
            },
        )

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Yield a session for one transaction.

        Raises:
            DatabaseUnavailable: the connection failed, none became free, or the transaction
                may be tried again.
            SchemaMismatch: a statement failed because this release cannot serve the schema.
        """
        with (
            answering_outages(),
            self._blaming_the_schema(),
            Session(self.engine, expire_on_commit=False) as session,
        ):
            yield session

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()

    @contextmanager
    def _blaming_the_schema(self) -> Iterator[None]:
        """Turn a failed statement into SchemaMismatch if this release cannot serve the schema."""
        try:
            yield
        except ProgrammingError as error:
            if getattr(error.orig, "sqlstate", None) in UNDEFINED:
                with Session(self.engine) as session:
                    require_served_schema(session)
            raise


@contextmanager
def answering_outages() -> Iterator[None]:
    """Turn lost or refused connections, an empty pool and deadlocks into DatabaseUnavailable."""
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseUnavailable(message("every connection is in use")) from error
    except (OperationalError, InterfaceError) as error:
        raise DatabaseUnavailable(type(error.orig).__name__) from error
    except DBAPIError as error:
        sqlstate = getattr(error.orig, "sqlstate", None)
        if error.connection_invalidated or sqlstate in RETRYABLE_SQLSTATES:
            raise DatabaseUnavailable(str(sqlstate)) from error
        raise
