"""C-FIND: parses an identifier, queries the index, and encodes the answers."""

from collections.abc import Callable, Iterator
from typing import Final

from draw_scp.ports.query import MatchCatalogue
from draw_shared.dicom.network.service import Matches, OperationRefused
from draw_shared.dicom.network.shares import Claimant
from draw_shared.dicom.network.statuses import DimseStatus
from draw_shared.dicom.query.answers import Answers
from draw_shared.dicom.query.query import Constant, FindQuery
from draw_shared.dicom.query.remaining import remaining_conditions
from draw_shared.wording import message

ONLINE: Final = b"ONLINE"


class TooManyMatches(OperationRefused):
    """There are more matches than the configuration allows."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            DimseStatus.OUT_OF_RESOURCES,
            message("more than %(limit)s matches, here are some", limit=limit),
        )


class FindService:
    """Answers queries from the index.

    Args:
        ae_title: our AE title, from which matches can be retrieved.
        limit: returns the largest number of matches; 0 means no limit.
    """

    def __init__(
        self, catalogue: MatchCatalogue, ae_title: Callable[[], str], limit: Callable[[], int]
    ) -> None:
        self._catalogue = catalogue
        self._ae_title = ae_title
        self._limit = limit

    def answers(
        self, query: FindQuery, transfer_syntax_uid: str, by: Claimant
    ) -> Iterator[Matches]:
        """Yield the encoded answers in portions; a portion may be empty.

        Raises:
            TooManyMatches: the limit was yielded, and there are more.
            Transient: the index does not answer; the answers are incomplete.
        """
        constants = {
            Constant.RETRIEVE_AE_TITLE: self._ae_title().encode("ascii", "replace"),
            Constant.INSTANCE_AVAILABILITY: ONLINE,
        }
        answers = Answers(query, transfer_syntax_uid, constants)
        status = (
            DimseStatus.PENDING if query.complete else DimseStatus.PENDING_WITHOUT_OPTIONAL_KEYS
        )
        limit = self._limit()
        left = limit or None
        fits = remaining_conditions(query)
        for rows in self._catalogue.matches(query, by):
            found = [row for row in rows if fits(row)] if fits else rows
            yield Matches([answers.encode(row) for row in found[:left]], status)
            if left is None:
                continue
            if len(found) > left:
                raise TooManyMatches(limit)
            left -= len(found)
