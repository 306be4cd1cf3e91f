"""Ports of the index as the indexer writes it: one transaction for each batch."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from draw_indexer.models import (
    AnnouncedObject,
    Arrival,
    Departed,
    IndexChanges,
    Known,
    PatientKey,
    Row,
    Whereabouts,
)


class IndexTransaction(Protocol):
    """The index within one transaction."""

    def departed(self, arrivals: Sequence[Arrival]) -> Departed:
        """Return those of which something was deleted, and whose file went with it or may not stay.

        Files of what was deleted are recorded as to be removed when the batch is written.
        """

    def versions(self, uids: Sequence[str]) -> Mapping[str, Known]:
        """Return the current versions of these SOP instances."""

    def series(self, uids: Sequence[str]) -> Mapping[str, Row]:
        """Return these series, with `study_instance_uid`."""

    def studies(self, uids: Sequence[str]) -> Mapping[str, Row]:
        """Return these studies, with their patient's row under `patient`."""

    def patients(self, keys: Sequence[PatientKey]) -> Mapping[PatientKey, Row]:
        """Return these patients."""

    def write(self, changes: IndexChanges) -> Mapping[str, int]:
        """Write all that a batch changes, and return how many rows of which table."""

    def commit(self) -> None:
        """Make it true."""


class IndexRepository(Protocol):
    """The way to the index."""

    def writing(self) -> AbstractContextManager[IndexTransaction]:
        """Wait until no other writer is at work, and begin a transaction.

        Raises:
            Transient: the database does not answer.
            SchemaMismatch: this release cannot serve the schema.
            Refused: the database does not take these rows.
        """

    def sought(self, objects: Sequence[AnnouncedObject]) -> Sequence[Whereabouts]:
        """Return what is known of each of these, which do not lie where they were announced.

        Raises:
            Transient: the database does not answer.
        """
