"""Ports of writing the index: one transaction for each batch."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from draw_indexer.models import (
    AnnouncedObject,
    Arrival,
    CurrentVersion,
    DepartedObjects,
    IndexChanges,
    PatientKey,
    Row,
    Whereabouts,
)


class IndexTransaction(Protocol):
    """The index within one transaction."""

    def find_departed(self, arrivals: Sequence[Arrival]) -> DepartedObjects:
        """Return the arrivals that were deleted, and those whose file is gone or must go.

        When the batch is written, the files of deleted objects are recorded for removal.
        """

    def versions(self, uids: Sequence[str]) -> Mapping[str, CurrentVersion]:
        """Return the current versions of these SOP instances."""

    def series(self, uids: Sequence[str]) -> Mapping[str, Row]:
        """Return these series, with `study_instance_uid`."""

    def studies(self, uids: Sequence[str]) -> Mapping[str, Row]:
        """Return these studies, with their patient's row under `patient`."""

    def patients(self, keys: Sequence[PatientKey]) -> Mapping[PatientKey, Row]:
        """Return these patients."""

    def write(self, changes: IndexChanges) -> Mapping[str, int]:
        """Write all changes of a batch, and return how many rows of each table."""

    def commit(self) -> None:
        """Commit the transaction."""


class IndexRepository(Protocol):
    """Reads and writes the index."""

    def writing(self) -> AbstractContextManager[IndexTransaction]:
        """Wait until no other writer is at work, and begin a transaction.

        Raises:
            Transient: the database does not answer.
            SchemaMismatch: this release cannot serve the schema.
            Refused: the database rejects these rows.
        """

    def look_up(self, objects: Sequence[AnnouncedObject]) -> Sequence[Whereabouts]:
        """Return what is known of each of these objects, whose file is not at the announced path.

        Raises:
            Transient: the database does not answer.
        """
