"""Counts what the transaction log had received before there were statistics.

A trigger of the log keeps the sums of what is written since. A day is counted again as a whole,
under the lock under which lines of C-STORE are written: what the trigger has counted of it is
replaced, and nothing is written meanwhile.
"""

from datetime import date
from typing import Final

from sqlalchemy import Connection, text

from draw_shared.db.transaction_chain import CHAIN_LOCK

NEXT_DAY: Final = text("SELECT max(day) FROM store_statistics_backlog")
RECOUNT: Final = text("SELECT recount_store_statistics(:day)")
_TAKE_TURN: Final = text("SELECT pg_advisory_xact_lock(:key)")


def count_next_day(connection: Connection) -> date | None:
    """Count the newest day that is still to be counted, and return it; the caller commits."""
    if connection.execute(NEXT_DAY).scalar() is None:
        return None
    connection.execute(_TAKE_TURN, {"key": CHAIN_LOCK})
    day: date | None = connection.execute(NEXT_DAY).scalar()
    if day is not None:
        connection.execute(RECOUNT, {"day": day})
    return day
