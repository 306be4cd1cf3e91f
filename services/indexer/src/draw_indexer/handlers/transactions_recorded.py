"""Handles the transaction log's messages: acknowledges them once their lines are rows."""

from collections.abc import Callable, Sequence

from pydantic import ValidationError

from draw_indexer.models import MalformedMessage
from draw_shared.contracts.transaction import TransactionRecord, TransactionsRecordedV1
from draw_shared.messaging.consumer import Delivery, Failure
from draw_shared.wording import message

Write = Callable[[Sequence[TransactionRecord]], int]


class TransactionsRecorded:
    """Handles `transactions.recorded.v1`."""

    def __init__(self, write: Write, written: Callable[[int], None]) -> None:
        self._write = write
        self._written = written

    def on_transactions_recorded(self, batch: Sequence[Delivery]) -> Sequence[Failure]:
        """Write every line once, however often it arrives; return malformed messages.

        Raises:
            Transient: the database does not answer; the broker delivers the batch again.
        """
        failures: list[Failure] = []
        records: list[TransactionRecord] = []
        for delivery in batch:
            try:
                records += TransactionsRecordedV1.from_bytes(delivery.body).records
            except ValidationError as error:
                reason = MalformedMessage(
                    message("%(number)s fields are wrong or missing", number=error.error_count())
                )
                failures.append(Failure(delivery, reason))
        if records:
            self._written(self._write(records))
        return failures
