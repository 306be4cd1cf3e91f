"""Ports of storing: who submits, what becomes of objects, and where that is written down."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from draw_dicomweb.models import StoreOutcome
from draw_shared.access.principals import Principal
from draw_shared.dicom.network.service import AssociationInfo


@dataclass(frozen=True, slots=True)
class Submission:
    """One store request, in the form that the receiving path expects."""

    by: Principal
    study: str
    """The study of its address; empty: any."""
    info: AssociationInfo


@dataclass(frozen=True, slots=True)
class SubmissionEnd:
    """How a store request ended."""

    stored: int
    refused: int
    study: str
    """The study of all its objects; empty if they are of several."""
    why: str = ""
    """Why it ended early, in words."""


class StoreLog(Protocol):
    """Writes store requests down in the transaction log."""

    def objects(self, submission: Submission, outcomes: Sequence[StoreOutcome]) -> None:
        """Write a line for each object."""

    def ended(self, submission: Submission, end: SubmissionEnd) -> None:
        """Write a line for the request, and note that nothing more comes with it."""
