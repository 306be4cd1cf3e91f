"""A consumer's position in the change feed, for consumers that move it by transactions."""

from typing import Final

from sqlalchemy import Connection, text
from sqlmodel import Session

from draw_shared.db.session import limit_idling

# A new consumer starts with the changes that happen from now on.
BEGIN: Final = text(
    "INSERT INTO feed_positions (consumer, sequence)"
    " SELECT :consumer, coalesce(max(sequence), 0) FROM changes ON CONFLICT DO NOTHING"
)
ANY_NEW: Final = text(
    "SELECT coalesce((SELECT max(sequence) FROM changes), 0)"
    " > (SELECT sequence FROM feed_positions WHERE consumer = :consumer)"
)
POSITION: Final = text(
    "SELECT sequence FROM feed_positions WHERE consumer = :consumer FOR UPDATE SKIP LOCKED"
)
ADVANCE: Final = text(
    "UPDATE feed_positions SET sequence = :sequence, updated_at = now() WHERE consumer = :consumer"
)


def take_position(session: Session, consumer: str) -> int | None:
    """Return the position, which this transaction holds until it ends.

    None: there is nothing behind it, or another process holds it. A new consumer's first position
    is kept whatever becomes of the transaction.
    """
    known = {"consumer": consumer}
    any_new = session.connection().execute(ANY_NEW, known).scalar()
    if any_new is None:
        session.connection().execute(BEGIN, known)
        session.commit()
    elif not any_new:
        return None
    found: int | None = session.connection().execute(POSITION, known).scalar()
    if found is not None:
        limit_idling(session.connection())
    return found


def advance(connection: Connection, consumer: str, sequence: int) -> None:
    """Move the position behind a change."""
    connection.execute(ADVANCE, {"consumer": consumer, "sequence": sequence})
