"""The indexer's timer: the work that it does whether or not messages arrive."""

from collections.abc import Callable
from datetime import date

import structlog

from draw_shared.db.partitions import Dropped
from draw_shared.db.transaction_chain import Head

log = structlog.get_logger()


class Upkeep:
    """Creates the transaction log's partitions in advance and completes its hash chain."""

    def __init__(
        self,
        make_partitions: Callable[[], list[str]],
        drop_months: Callable[[], Dropped | None],
        extend_chain: Callable[[], Head | None],
        chained: Callable[[int], None],
        count_next_day: Callable[[], date | None],
    ) -> None:
        self._make_partitions = make_partitions
        self._drop_months = drop_months
        self._extend_chain = extend_chain
        self._chained = chained
        self._count_next_day = count_next_day

    def on_partitions(self) -> None:
        """Create missing partitions, and drop those older than the configuration keeps.

        Raises:
            Transient: the database does not answer.
        """
        for name in self._make_partitions():
            log.info("transactions.partition_made", partition=name)
        dropped = self._drop_months()
        if dropped is not None:
            log.info("transactions.dropped", partitions=list(dropped.months), lines=dropped.lines)

    def on_statistics(self) -> None:
        """Count one day of the log from before there were statistics.

        Raises:
            Transient: the database does not answer.
        """
        day = self._count_next_day()
        if day is not None:
            log.info("transactions.day_counted", day=day.isoformat())

    def on_chain(self) -> None:
        """Extend the chain, and log its head for those who keep logs elsewhere.

        Raises:
            Transient: the database does not answer.
        """
        grown = None
        while (more := self._extend_chain()) is not None:
            grown = more
            self._chained(more.added)
        if grown is not None:
            seal = (grown.seal or b"").hex()
            log.info(
                "transactions.chained",
                position=grown.position,
                head=grown.chain_hash.hex(),
                seal=seal,
            )
