"""Ingests one object: checks it against its request, files it and announces it.

The checks read a few elements at the beginning of the data set. A refused object leaves nothing
behind. An accepted object is durable before `complete` returns; the outbox announces it
afterwards, even if the process crashes in between.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, Protocol

from draw_shared.contracts.identifiers import MAX_UID_LENGTH
from draw_shared.dicom.encoding.part10 import FileMeta
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.dicom.network.service import AssociationInfo, StoreRequest
from draw_shared.dicom.network.statuses import DimseStatus
from draw_shared.errors import Permanent
from draw_shared.storage.identification import identify
from draw_shared.storage.incoming import Incoming, NoSpace
from draw_shared.storage.objects import LAYOUT_KEY, ObjectStore, Stored
from draw_shared.storage.reception import (
    ASSOCIATION_KEY,
    ORDINAL_KEY,
    ORIGINATOR_AE_KEY,
    ORIGINATOR_MESSAGE_KEY,
    REPLICA_KEY,
    USER_KEY,
    FilingRules,
)
from draw_shared.storage.space import Space
from draw_shared.wording import message

UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
REMEMBERED_UIDS: Final = 512
"""Objects of one series arrive together and share their UIDs."""


class SopClassNotNegotiated(Permanent):
    """The request names another SOP class than its presentation context (PS3.7 9.3.1.1)."""


class StoreNotAuthorized(Permanent):
    """The peer has no right to store (PS3.7 annex C)."""


class InvalidSopInstance(Permanent):
    """The SOP Instance UID of the request is not a UID (PS3.5 9)."""


class DataSetDoesNotMatch(Permanent):
    """The data set is of another SOP class or instance than the request says."""


class StudyDoesNotMatch(Permanent):
    """The data set is of another study than the request says (PS3.18 10.5.1.1)."""


class TransferSyntaxNotSupported(Permanent):
    """The data set has a transfer syntax that is not accepted and was not negotiated."""


class Incomprehensible(Permanent):
    """A required identifier of the data set is missing or is not a UID."""


ANSWERS: Final[Mapping[type[Exception], DimseStatus]] = {
    NoSpace: DimseStatus.OUT_OF_RESOURCES,
    DataSetDoesNotMatch: DimseStatus.DATA_SET_DOES_NOT_MATCH,
    StudyDoesNotMatch: DimseStatus.STUDY_DOES_NOT_MATCH,
    TransferSyntaxNotSupported: DimseStatus.TRANSFER_SYNTAX_NOT_SUPPORTED,
    Incomprehensible: DimseStatus.CANNOT_UNDERSTAND,
    Undecodable: DimseStatus.CANNOT_UNDERSTAND,
    InvalidSopInstance: DimseStatus.INVALID_SOP_INSTANCE,
    SopClassNotNegotiated: DimseStatus.SOP_CLASS_NOT_SUPPORTED,
    StoreNotAuthorized: DimseStatus.NOT_AUTHORIZED,
}


def answer_to(error: Exception) -> DimseStatus:
    """Return the C-STORE status of a failure (PS3.4 B.2.3).

    A failure that is not in the table is our fault, so the peer may try again.
    """
    return ANSWERS.get(type(error), DimseStatus.OUT_OF_RESOURCES)


class Outbox(Protocol):
    """Announces durable objects."""

    def announce(self, stored: Stored) -> None:
        """Queue the object for announcement; never waits for the broker."""


class Ingest:
    """Begins the reception of objects under the rules in force."""

    def __init__(
        self,
        objects: ObjectStore,
        space: Space,
        outbox: Outbox,
        rules: Callable[[], FilingRules],
        replica: str,
    ) -> None:
        self._objects = objects
        self._space = space
        self._outbox = outbox
        self._rules = rules
        self._replica = replica

    def begin(
        self, info: AssociationInfo, request: StoreRequest, *, study: str = ""
    ) -> "Reception":
        """Return the reception that receives the data set of this request.

        Args:
            info: who sends it.
            request: what it is said to be.
            study: the study that it must be of; empty: any.

        Raises:
            SopClassNotNegotiated, InvalidSopInstance: the request is invalid.
            NoSpace: there is no room for any object.
        """
        if request.sop_class_uid != request.context.abstract_syntax:
            raise SopClassNotNegotiated(
                message("the SOP class is not that of the presentation context")
            )
        if not is_uid(request.sop_instance_uid):
            raise InvalidSopInstance(message("the SOP Instance UID is malformed"))
        rules = self._rules()
        self._space.require(rules.limits)
        return Reception(self, self._objects.begin(self._meta(info, request, rules)), rules, study)

    def complete(self, incoming: Incoming, rules: FilingRules, study: str = "") -> Stored:
        """Return once the object is durable and will be announced.

        Raises:
            DataSetDoesNotMatch, StudyDoesNotMatch, Incomprehensible, Undecodable: the data set is
                not acceptable.
            NoSpace: nothing is left behind.
        """
        meta = incoming.meta
        found = identify(incoming.head, incoming.data_bytes, meta.transfer_syntax_uid)
        identity = found.identity
        if not found.sop_class_uid or not identity.sop_instance_uid:
            raise Incomprehensible(
                message("the data set does not say which SOP class and instance it is")
            )
        if found.sop_class_uid != meta.sop_class_uid:
            raise DataSetDoesNotMatch(message("the data set is of another SOP class"))
        if identity.sop_instance_uid != meta.sop_instance_uid:
            raise DataSetDoesNotMatch(message("the data set is another SOP instance"))
        if not is_uid(identity.study_instance_uid) or not is_uid(identity.series_instance_uid):
            raise Incomprehensible(
                message("the Study or Series Instance UID is missing or malformed")
            )
        if study and identity.study_instance_uid != study:
            raise StudyDoesNotMatch(message("the data set is of another study"))
        size = incoming.file_bytes
        self._space.require(rules.limits, size, incoming.written_bytes)
        stored = self._objects.commit(incoming, identity, rules.layout)
        if not stored.duplicate:
            self._space.added(size)
        self._outbox.announce(stored)
        return stored

    def _meta(self, info: AssociationInfo, request: StoreRequest, rules: FilingRules) -> FileMeta:
        """Return the file meta group; after a crash the object is announced from it alone."""
        provenance: dict[str, str | int] = {
            ASSOCIATION_KEY: info.association_id,
            REPLICA_KEY: self._replica,
            LAYOUT_KEY: f"{rules.layout.structure}/{rules.layout.naming}",
        }
        if request.ordinal is not None:
            provenance[ORDINAL_KEY] = request.ordinal
        if request.move_originator_ae:
            provenance[ORIGINATOR_AE_KEY] = request.move_originator_ae
        if request.move_originator_message_id is not None:
            provenance[ORIGINATOR_MESSAGE_KEY] = request.move_originator_message_id
        if info.user:
            provenance[USER_KEY] = info.user
        return FileMeta(
            request.sop_class_uid,
            request.sop_instance_uid,
            request.context.transfer_syntax,
            info.calling_ae,
            info.called_ae,
            info.peer_address,
            info.local_address,
            provenance,
        )


class Reception:
    """One object while its data set arrives."""

    def __init__(
        self, ingest: Ingest, incoming: Incoming, rules: FilingRules, study: str = ""
    ) -> None:
        self._ingest = ingest
        self._incoming = incoming
        self._rules = rules
        self._study = study
        # Bound directly, because it is called for every fragment.
        self.write = incoming.write
        self.abandon = incoming.abandon

    def complete(self) -> Stored:
        """Return once the object is durable; raises the errors of `Ingest.complete`."""
        return self._ingest.complete(self._incoming, self._rules, self._study)


@lru_cache(REMEMBERED_UIDS)
def is_uid(text: str) -> bool:
    """Return whether `text` is a UID; leading zeros in a component are tolerated."""
    return len(text) <= MAX_UID_LENGTH and UID.fullmatch(text) is not None
