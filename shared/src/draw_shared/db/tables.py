"""The tables of the suite's database: shape only, no behaviour.

Text that DICOM compares octet by octet (UIDs, identifiers, normalised search text) has
collation "C", so that a plain B-tree also serves prefix searches.
"""

from datetime import UTC, date, datetime, time
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    Time,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import INT4MULTIRANGE, JSONB
from sqlmodel import Field, SQLModel

from draw_shared.db.study_order import STUDIED_AT
from draw_shared.dicom.network.rights import EVERY_RIGHT

metadata: Final[MetaData] = SQLModel.metadata
metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

QUERY_MODELS: Final = ("study", "patient", "patient_study")
"""Study Root, Patient Root, and the retired Patient/Study Only."""
JOB_STATES: Final = (
    "scheduled",
    "queued",
    "running",
    "waiting",
    "cancelling",
    "complete",
    "unproved",
    "partial",
    "failed",
    "cancelled",
)


def _now() -> datetime:
    return datetime.now(UTC)


def _identity() -> Column[int]:
    return Column(BigInteger, Identity(), primary_key=True)


def _exact(*, nullable: bool = False, unique: bool = False, index: bool = False) -> Column[str]:
    return Column(
        Text(collation="C"),
        nullable=nullable,
        unique=unique or None,
        index=index or None,
        server_default=None if nullable or unique else "",
    )


def _plain(*, nullable: bool = False) -> Column[str]:
    return Column(Text, nullable=nullable, server_default=None if nullable else "")


def _moment(*, nullable: bool = False, now: bool = True, index: bool = False) -> Column[datetime]:
    return Column(
        DateTime(timezone=True),
        nullable=nullable,
        index=index or None,
        server_default=text("now()") if now and not nullable else None,
    )


def _whole(kind: type[Integer] = Integer) -> Column[int]:
    return Column(kind, nullable=False, server_default="0")


def _texts(default: str = "") -> Column[list[str]]:
    return Column(ARRAY(Text(collation="C")), nullable=False, server_default=f"{{{default}}}")


def _document(default: str | None = "{}") -> Column[Any]:
    return Column(JSONB, nullable=default is None, server_default=default)


def _flag(*, default: bool = False) -> Any:  # noqa: ANN401 - SQLModel's Field is typed so
    return Field(default=default, sa_column_kwargs={"server_default": text(str(default).lower())})


def _parent(
    target: str, *, ondelete: str = "CASCADE", nullable: bool = False, index: bool = True
) -> Column[Any]:
    """Return a reference; without `index` another one begins with this column."""
    key = ForeignKey(target, ondelete=ondelete)
    return Column(key, nullable=nullable, index=index or None)


def _trigrams(name: str, column: str) -> Index:
    return Index(name, column, postgresql_using="gin", postgresql_ops={column: "gin_trgm_ops"})


class PatientRow(SQLModel, table=True):
    """One patient as identified by PatientID and its issuer.

    Objects without a PatientID identify nobody: each of their studies gets its own patient, with an
    empty `patient_id` and the study in `unidentified_study_uid`. `sources` names the object behind
    each attribute, also in studies and series: `<time of reception> <SOP Instance UID> <hash>`, the
    commonest under the empty key.
    """

    __tablename__ = "patients"
    __table_args__ = (
        UniqueConstraint(
            "patient_id",
            "issuer_of_patient_id",
            "unidentified_study_uid",
            name="uq_patients_identity",
        ),
        _trigrams("ix_patients_name_search_trigrams", "name_search"),
        _trigrams("ix_patients_patient_id_trigrams", "patient_id"),
        Index("ix_patients_size_bytes", "size_bytes", "id"),
        Index("ix_patients_name_search_id", "name_search", "id"),
        Index("ix_patients_ambiguous", "id", postgresql_where=text("ambiguous")),
    )

    id: int | None = Field(default=None, sa_column=_identity())
    patient_id: str = Field(sa_column=_exact())
    issuer_of_patient_id: str = Field(default="", sa_column=_exact())
    unidentified_study_uid: str = Field(default="", sa_column=_exact())
    name: str = Field(default="", sa_column=_plain())
    name_search: str = Field(default="", sa_column=_exact())
    birth_date: date | None = Field(default=None, sa_column=Column(Date, index=True))
    sex: str = Field(default="", sa_column=_exact())
    attributes: dict[str, Any] = Field(default_factory=dict, sa_column=_document())
    sources: dict[str, str] = Field(default_factory=dict, sa_column=_document())
    study_count: int = Field(default=0, sa_column=_whole())
    series_count: int = Field(default=0, sa_column=_whole())
    instance_count: int = Field(default=0, sa_column=_whole(BigInteger))
    size_bytes: int = Field(default=0, sa_column=_whole(BigInteger))
    ambiguous: bool = _flag()
    """Whether current objects name several people: other names with other birth dates."""
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())
    updated_at: datetime = Field(default_factory=_now, sa_column=_moment())


class StatedPersonRow(SQLModel, table=True):
    """One person whom current objects of a study name, of a patient who has several names.

    Without other names of the patient there is no row: `patients` says it all.
    """

    __tablename__ = "stated_persons"
    __table_args__ = (_trigrams("ix_stated_persons_name_search_trigrams", "name_search"),)

    id: int | None = Field(default=None, sa_column=_identity())
    patient_pk: int = Field(sa_column=_parent("patients.id"))
    study_pk: int = Field(sa_column=_parent("studies.id"))
    name: str = Field(default="", sa_column=_plain())
    name_search: str = Field(default="", sa_column=_exact())
    birth_date: date | None = Field(default=None, sa_column=Column(Date, index=True))
    sex: str = Field(default="", sa_column=_exact())


class StudyRow(SQLModel, table=True):
    """One study; counts and modalities are those of its current objects."""

    __tablename__ = "studies"
    __table_args__ = (
        Index("ix_studies_study_date_time", "study_date", "study_time"),
        Index("ix_studies_modalities", "modalities", postgresql_using="gin"),
        Index("ix_studies_last_received_at", "last_received_at"),
        Index("ix_studies_size_bytes", "size_bytes", "id"),
        Index("ix_studies_studied_at", text(STUDIED_AT), "id"),
        Index("ix_studies_description_search_id", "description_search", "id"),
        Index("ix_studies_held", "id", postgresql_where=text("held")),
        Index(
            "ix_studies_unsettled", "last_received_at", postgresql_where=text("stable_at IS NULL")
        ),
        _trigrams("ix_studies_accession_number_trigrams", "accession_number"),
        _trigrams("ix_studies_description_search_trigrams", "description_search"),
        _trigrams("ix_studies_referring_physician_search_trigrams", "referring_physician_search"),
    )

    id: int | None = Field(default=None, sa_column=_identity())
    patient_pk: int = Field(sa_column=_parent("patients.id"))
    study_instance_uid: str = Field(sa_column=_exact(unique=True))
    study_date: date | None = Field(default=None, sa_column=Column(Date))
    study_time: time | None = Field(default=None, sa_column=Column(Time))
    accession_number: str = Field(default="", sa_column=_exact(index=True))
    study_id: str = Field(default="", sa_column=_exact(index=True))
    description: str = Field(default="", sa_column=_plain())
    description_search: str = Field(default="", sa_column=_exact())
    referring_physician: str = Field(default="", sa_column=_plain())
    referring_physician_search: str = Field(default="", sa_column=_exact())
    attributes: dict[str, Any] = Field(default_factory=dict, sa_column=_document())
    sources: dict[str, str] = Field(default_factory=dict, sa_column=_document())
    persons: list[str] = Field(default_factory=list, sa_column=_texts())
    """Persons whom current objects name, see `InstanceRow.stated_person`, each with its patient."""
    modalities: list[str] = Field(default_factory=list, sa_column=_texts())
    sop_classes: list[str] = Field(default_factory=list, sa_column=_texts())
    series_count: int = Field(default=0, sa_column=_whole())
    instance_count: int = Field(default=0, sa_column=_whole())
    size_bytes: int = Field(default=0, sa_column=_whole(BigInteger))
    new_instance_count: int = Field(default=0, sa_column=_whole())
    """Objects that have come since it was complete the last time."""
    held: bool = _flag()
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())
    updated_at: datetime = Field(default_factory=_now, sa_column=_moment())
    last_received_at: datetime = Field(default_factory=_now, sa_column=_moment())
    stable_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))


class StudyWordsRow(SQLModel, table=True):
    """The words by which people look for a study, each after a space; triggers keep them.

    They are in names of its patient and of whom else its objects name, in Patient ID, accession
    number (both also without punctuation) and description.
    """

    __tablename__ = "study_words"
    __table_args__ = (_trigrams("ix_study_words_trigrams", "words"),)

    study_pk: int = Field(
        sa_column=Column(
            ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
        )
    )
    words: str = Field(default="", sa_column=_exact())


class SeriesRow(SQLModel, table=True):
    """One series."""

    __tablename__ = "series"
    __table_args__ = (
        Index(
            "ix_series_unsettled", "last_received_at", postgresql_where=text("stable_at IS NULL")
        ),
        Index("ix_series_modality_last_received_at", "modality", "last_received_at"),
    )

    id: int | None = Field(default=None, sa_column=_identity())
    study_pk: int = Field(sa_column=_parent("studies.id"))
    series_instance_uid: str = Field(sa_column=_exact(unique=True))
    modality: str = Field(default="", sa_column=_exact())
    series_number: int | None = Field(default=None, sa_column=Column(Integer))
    description: str = Field(default="", sa_column=_plain())
    body_part_examined: str = Field(default="", sa_column=_exact())
    performed_date: date | None = Field(default=None, sa_column=Column(Date, index=True))
    performed_time: time | None = Field(default=None, sa_column=Column(Time))
    request_attributes: list[Any] = Field(default_factory=list, sa_column=_document("[]"))
    attributes: dict[str, Any] = Field(default_factory=dict, sa_column=_document())
    sources: dict[str, str] = Field(default_factory=dict, sa_column=_document())
    persons: list[str] = Field(default_factory=list, sa_column=_texts())
    sop_classes: list[str] = Field(default_factory=list, sa_column=_texts())
    instance_count: int = Field(default=0, sa_column=_whole())
    size_bytes: int = Field(default=0, sa_column=_whole(BigInteger))
    new_instance_count: int = Field(default=0, sa_column=_whole())
    """Objects that have come since it was complete the last time."""
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())
    updated_at: datetime = Field(default_factory=_now, sa_column=_moment())
    last_received_at: datetime = Field(default_factory=_now, sa_column=_moment())
    stable_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))


class SeriesMetadataRow(SQLModel, table=True):
    """The metadata of one series as a document, as it was in one state of the series."""

    __tablename__ = "series_metadata"

    series_pk: int = Field(
        sa_column=Column(
            BigInteger,
            ForeignKey("series.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        )
    )
    state: str = Field(sa_column=_exact())
    """Digest of the objects that it was made from."""
    document: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """DICOM JSON, compressed with gzip."""
    made_at: datetime = Field(default_factory=_now, sa_column=_moment())


class InstanceRow(SQLModel, table=True):
    """One SOP instance: the file that is current for its UID."""

    __tablename__ = "instances"

    id: int | None = Field(default=None, sa_column=_identity())
    series_pk: int = Field(sa_column=_parent("series.id"))
    sop_instance_uid: str = Field(sa_column=_exact(unique=True))
    sop_class_uid: str = Field(sa_column=_exact())
    transfer_syntax_uid: str = Field(sa_column=_exact())
    instance_number: int | None = Field(default=None, sa_column=Column(Integer))
    attributes: dict[str, Any] = Field(default_factory=dict, sa_column=_document())
    path: str = Field(sa_column=_plain())
    size_bytes: int = Field(default=0, sa_column=_whole(BigInteger))
    content_sha256: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    received_at: datetime = Field(default_factory=_now, sa_column=_moment())
    association_id: str = Field(default="", sa_column=_exact())
    calling_ae: str = Field(default="", sa_column=_exact())
    peer_address: str = Field(default="", sa_column=_plain())
    move_originator_ae: str = Field(default="", sa_column=_exact())
    stated_patient: str = Field(default="", sa_column=_exact())
    """The patient the object names: PatientID, or `PatientID^^^issuer`."""
    stated_person: str | None = Field(default=None, sa_column=_exact(nullable=True))
    """Birth date, sex and name that it gives him, see `dicom.persons`; null: not read yet."""
    header_damage: str = Field(default="", sa_column=_plain())
    """What its header was read past, in words without values; empty: a header as it should be."""


class IndexTotalRow(SQLModel, table=True):
    """A sum over the index, kept by triggers on `studies` and `series` as their rows change.

    Of kind `studies` all studies are one, of kind `held` those that are held; of kind
    `modality` there is one for each modality of series, by its name.
    """

    __tablename__ = "index_totals"

    kind: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    name: str = Field(default="", sa_column=Column(Text(collation="C"), primary_key=True))
    number: int = Field(default=0, sa_column=_whole(BigInteger))
    instances: int = Field(default=0, sa_column=_whole(BigInteger))
    size_bytes: int = Field(default=0, sa_column=_whole(BigInteger))


class InstanceConflictRow(SQLModel, table=True):
    """Another object that arrived under a SOP Instance UID the index already had."""

    __tablename__ = "instance_conflicts"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "content_sha256"),
        Index("ix_instance_conflicts_to_announce", "id", postgresql_where=text("to_announce")),
    )

    id: int | None = Field(default=None, sa_column=_identity())
    sop_instance_uid: str = Field(sa_column=_exact())
    study_instance_uid: str = Field(sa_column=_exact(index=True))
    path: str = Field(sa_column=_plain())
    size_bytes: int = Field(default=0, sa_column=_whole(BigInteger))
    content_sha256: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    reason: str = Field(sa_column=_plain())
    calling_ae: str = Field(default="", sa_column=_exact())
    received_at: datetime = Field(default_factory=_now, sa_column=_moment())
    to_announce: bool = _flag()
    """Whether what was current is gone, so that this one has to be announced again."""


class ReceptionDayRow(SQLModel, table=True):
    """Objects indexed on one day (UTC); all rows sum to the total."""

    __tablename__ = "reception_days"

    day: date = Field(sa_column=Column(Date, primary_key=True))
    objects: int = Field(default=0, sa_column=_whole(BigInteger))
    size_bytes: int = Field(default=0, sa_column=_whole(BigInteger))


class StoreStatisticsRow(SQLModel, table=True):
    """C-STOREs of one day (UTC), sender and SOP class, of one span of store times.

    A trigger of `transactions` keeps them. `bucket` is -1 for failures and -2 for a store without
    a time; otherwise the time was at most 2^(bucket/2) ms, the last bucket has all longer ones.
    """

    __tablename__ = "store_statistics"

    day: date = Field(sa_column=Column(Date, primary_key=True))
    calling_ae: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    sop_class_uid: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    bucket: int = Field(sa_column=Column(SmallInteger, primary_key=True))
    objects: int = Field(default=0, sa_column=_whole(BigInteger))
    size_bytes: int = Field(default=0, sa_column=_whole(BigInteger))


class StoreStatisticsBacklogRow(SQLModel, table=True):
    """A day whose lines were written before there were statistics, and are still to be counted."""

    __tablename__ = "store_statistics_backlog"

    day: date = Field(sa_column=Column(Date, primary_key=True))


class ChangeRow(SQLModel, table=True):
    """One entry of the ordered change feed."""

    __tablename__ = "changes"
    __table_args__ = (Index("ix_changes_kind_sequence", "kind", "sequence"),)

    sequence: int | None = Field(default=None, sa_column=_identity())
    occurred_at: datetime | None = Field(
        default=None,
        sa_column=Column(
            DateTime(timezone=True), nullable=False, server_default=text("next_change_moment()")
        ),
    )
    kind: str = Field(sa_column=_exact())
    study_instance_uid: str = Field(default="", sa_column=_exact())
    series_instance_uid: str = Field(default="", sa_column=_exact())
    sop_instance_uid: str = Field(default="", sa_column=_exact())
    reason: str = Field(default="", sa_column=_exact())
    """Why a series or study counts as complete, see `CompletionReason`."""
    new_instance_count: int | None = Field(default=None, sa_column=Column(Integer))
    """Objects of it that have come since it was complete the last time."""


class AssociationArrivalRow(SQLModel, table=True):
    """Which objects of an association the indexers have dealt with, until all are.

    `ordinals` holds their places among all that the association stored.
    """

    __tablename__ = "association_arrivals"

    association_id: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    ordinals: Any = Field(
        default=None, sa_column=Column(INT4MULTIRANGE, nullable=False, server_default="{}")
    )
    updated_at: datetime = Field(default_factory=_now, sa_column=_moment(index=True))


class AssociationEndRow(SQLModel, table=True):
    """The end of an association that stored objects, until all of them are indexed."""

    __tablename__ = "association_ends"

    association_id: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    released: bool = _flag()
    objects: int = Field(default=0, sa_column=_whole())
    """How many objects it stored."""
    ended_at: datetime = Field(default_factory=_now, sa_column=_moment(index=True))


class SeriesArrivalRow(SQLModel, table=True):
    """An association that brought objects of a series since the series was complete."""

    __tablename__ = "series_arrivals"
    __table_args__ = (
        Index("ix_series_arrivals_released", "series_pk", postgresql_where=text("released")),
    )

    series_pk: int = Field(
        sa_column=Column(ForeignKey("series.id", ondelete="CASCADE"), primary_key=True)
    )
    association_id: str = Field(sa_column=Column(Text(collation="C"), primary_key=True, index=True))
    calling_ae: str = Field(default="", sa_column=_exact())
    counted: bool = _flag()
    """Whether its objects have ordinals, so that its end will be known."""
    ended_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    """When it ended; null until all that it stored is indexed."""
    released: bool = _flag()


class ProvedArrivalRow(SQLModel, table=True):
    """A series or study of which a retrieve job has proved that all has arrived."""

    __tablename__ = "proved_arrivals"

    uid: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    job_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    proved_at: datetime = Field(default_factory=_now, sa_column=_moment(index=True))


class FileDeletionRow(SQLModel, table=True):
    """A file to remove: its rows are deleted.

    Inode and modification time identify the file; a later file of the same name stays.
    """

    __tablename__ = "file_deletions"

    id: int | None = Field(default=None, sa_column=_identity())
    path: str = Field(sa_column=_exact(index=True))
    sop_instance_uid: str = Field(default="", sa_column=_exact())
    inode: int = Field(default=0, sa_column=_whole(BigInteger))
    modified_ns: int = Field(default=0, sa_column=_whole(BigInteger))
    size_bytes: int = Field(default=0, sa_column=_whole(BigInteger))
    study_instance_uid: str = Field(default="", sa_column=_exact())
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())


class FileCopyRow(SQLModel, table=True):
    """A second file of an object that the index has; goes once the first is proved to be whole."""

    __tablename__ = "file_copies"

    id: int | None = Field(default=None, sa_column=_identity())
    path: str = Field(sa_column=_exact(index=True))
    sop_instance_uid: str = Field(sa_column=_exact())
    content_sha256: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    inode: int = Field(default=0, sa_column=_whole(BigInteger))
    modified_ns: int = Field(default=0, sa_column=_whole(BigInteger))
    size_bytes: int = Field(default=0, sa_column=_whole(BigInteger))
    study_instance_uid: str = Field(default="", sa_column=_exact(index=True))
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())


class TombstoneRow(SQLModel, table=True):
    """A study that was deleted, or an object deleted with a study that it does not name.

    Files of it that were received earlier are never indexed again.
    """

    __tablename__ = "tombstones"

    uid: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    """Study Instance UID; of a single object SOP Instance UID and SHA-256, with a colon between.

    Releases before that have only the SOP Instance UID, of every version of the object.
    """
    before_ns: int = Field(default=0, sa_column=_whole(BigInteger))
    """Files with an earlier time of modification are deleted; nanoseconds since 1970."""
    deleted_by: str = Field(default="", sa_column=_plain())
    deleted_at: datetime = Field(default_factory=_now, sa_column=_moment(index=True))


class DeletedStudyRow(SQLModel, table=True):
    """Whose study was deleted: the transaction log names no patient, and the index has forgotten.

    Only who has the permission to read deletions sees it. It goes when its month of the log goes.
    """

    __tablename__ = "deleted_studies"
    __table_args__ = (
        Index("ix_deleted_studies_patient_id", "patient_id", "deleted_at"),
        Index("ix_deleted_studies_study_instance_uid", "study_instance_uid", "deleted_at"),
    )

    id: int | None = Field(default=None, sa_column=_identity())
    study_instance_uid: str = Field(sa_column=_exact())
    patient_id: str = Field(default="", sa_column=_exact())
    study_date: date | None = Field(default=None, sa_column=Column(Date))
    description: str = Field(default="", sa_column=_plain())
    modalities: list[str] = Field(default_factory=list, sa_column=_texts())
    deleted_by: str = Field(default="", sa_column=_plain())
    deleted_at: datetime = Field(default_factory=_now, sa_column=_moment(index=True))


class TransactionRow(SQLModel, table=True):
    """One line of the audit log; partitioned by month of `occurred_at`."""

    __tablename__ = "transactions"
    __table_args__ = (
        UniqueConstraint("record_id", "occurred_at"),
        Index("ix_transactions_occurred_at", "occurred_at"),
        Index("ix_transactions_kind_occurred_at", "kind", "occurred_at"),
        Index("ix_transactions_calling_ae_occurred_at", "calling_ae", "occurred_at"),
        Index("ix_transactions_called_ae_occurred_at", "called_ae", "occurred_at"),
        Index(
            "ix_transactions_unsuccessful",
            "outcome",
            "occurred_at",
            postgresql_where=text("outcome <> 'success'"),
        ),
        Index(
            "ix_transactions_actor_occurred_at",
            "actor",
            "occurred_at",
            postgresql_where=text("actor IS NOT NULL"),
        ),
        Index(
            "ix_transactions_action_occurred_at",
            "action",
            "occurred_at",
            postgresql_where=text("action IS NOT NULL"),
        ),
        # An object has a line or two; its study and its association have many.
        Index("ix_transactions_sop_instance_uid", "sop_instance_uid", postgresql_using="hash"),
        Index(
            "ix_transactions_study_instance_uid",
            "study_instance_uid",
            postgresql_where=text("study_instance_uid IS NOT NULL"),
        ),
        Index(
            "ix_transactions_association_id",
            "association_id",
            postgresql_where=text("association_id IS NOT NULL"),
        ),
        Index("ix_transactions_chain_position", "chain_position"),
        Index("ix_transactions_unchained", "id", postgresql_where=text("chain_hash IS NULL")),
        {"postgresql_partition_by": "RANGE (occurred_at)"},
    )

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(), primary_key=True))
    occurred_at: datetime = Field(sa_column=Column(DateTime(timezone=True), primary_key=True))
    record_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    kind: str = Field(sa_column=_exact())
    outcome: str = Field(sa_column=_exact())
    replica: str = Field(sa_column=_exact())
    association_id: str | None = Field(default=None, sa_column=_exact(nullable=True))
    calling_ae: str | None = Field(default=None, sa_column=_exact(nullable=True))
    called_ae: str | None = Field(default=None, sa_column=_exact(nullable=True))
    peer_address: str | None = Field(default=None, sa_column=_plain(nullable=True))
    status: int | None = Field(default=None, sa_column=Column(Integer))
    duration_seconds: float | None = None
    size_bytes: int | None = Field(default=None, sa_column=Column(BigInteger))
    objects: int | None = Field(default=None, sa_column=Column(Integer))
    sop_class_uid: str | None = Field(default=None, sa_column=_exact(nullable=True))
    sop_instance_uid: str | None = Field(default=None, sa_column=_exact(nullable=True))
    study_instance_uid: str | None = Field(default=None, sa_column=_exact(nullable=True))
    actor: str | None = Field(default=None, sa_column=_plain(nullable=True))
    action: str | None = Field(default=None, sa_column=_exact(nullable=True))
    detail: str | None = Field(default=None, sa_column=_plain(nullable=True))
    chain_position: int | None = Field(default=None, sa_column=Column(BigInteger))
    chain_hash: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    attestation: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    seal: bytes | None = Field(default=None, sa_column=Column(LargeBinary))


class ServerConfigVersionRow(SQLModel, table=True):
    """One version of the configuration document; the highest is in force."""

    __tablename__ = "server_config"

    version: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    document: dict[str, Any] = Field(sa_column=_document(None))
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())
    created_by: str = Field(sa_column=_plain())
    comment: str = Field(default="", sa_column=_plain())


class RoutingDocumentRow(SQLModel, table=True):
    """One version of the rules of routing; the highest is in force."""

    __tablename__ = "routing_documents"

    version: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    document: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())
    created_by: str = Field(sa_column=_plain())
    comment: str = Field(default="", sa_column=_plain())


class AllowedAeTitleRow(SQLModel, table=True):
    """A calling AE title on the list: what it may do, and what it has to prove."""

    __tablename__ = "allowed_ae_titles"

    id: int | None = Field(default=None, sa_column=_identity())
    ae_title: str = Field(sa_column=_exact(unique=True))
    description: str = Field(default="", sa_column=_plain())
    expected_ip: str = Field(default="", sa_column=_plain())
    rights: list[str] = Field(default_factory=list, sa_column=_texts(",".join(EVERY_RIGHT)))
    move_destinations: list[str] = Field(default_factory=list, sa_column=_texts())
    certificates: list[str] = Field(default_factory=list, sa_column=_texts())
    settle_time_seconds: int | None = Field(default=None, sa_column=Column(Integer))
    """Time from the end of its associations until their series count as complete; null: usual."""
    active: bool = _flag(default=True)
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())
    updated_at: datetime = Field(default_factory=_now, sa_column=_moment())


class ServiceReplicaRow(SQLModel, table=True):
    """One running process of a service, as its heartbeat last described it."""

    __tablename__ = "service_replicas"

    replica: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    service: str = Field(sa_column=_exact(index=True))
    host: str = Field(default="", sa_column=_plain())
    address: str = Field(default="", sa_column=_plain())
    state: str = Field(sa_column=_exact())
    started_at: datetime = Field(default_factory=_now, sa_column=_moment())
    heartbeat_at: datetime = Field(default_factory=_now, sa_column=_moment())
    active_associations: int = Field(default=0, sa_column=_whole())
    config_version: int = Field(default=0, sa_column=_whole())
    last_error: str = Field(default="", sa_column=_plain())
    details: dict[str, Any] = Field(default_factory=dict, sa_column=_document())


class ServiceControlRow(SQLModel, table=True):
    """An operator's order to a service; an empty replica means all."""

    __tablename__ = "service_controls"

    service: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    replica: str = Field(
        default="", sa_column=Column(Text(collation="C"), primary_key=True, server_default="")
    )
    desired_state: str = Field(sa_column=_exact())
    restart_generation: int = Field(default=0, sa_column=_whole())
    updated_at: datetime = Field(default_factory=_now, sa_column=_moment())
    updated_by: str = Field(default="", sa_column=_plain())


class RemoteNodeRow(SQLModel, table=True):
    """A remote application entity that jobs talk to and C-MOVE may send to."""

    __tablename__ = "remote_nodes"
    __table_args__ = (CheckConstraint(f"query_model IN {QUERY_MODELS}", name="query_model"),)

    id: int | None = Field(default=None, sa_column=_identity())
    name: str = Field(sa_column=_exact(unique=True))
    ae_title: str = Field(sa_column=_exact(index=True))
    host: str = Field(sa_column=_plain())
    port: int = Field(sa_column=Column(Integer, nullable=False))
    calling_ae: str = Field(default="", sa_column=_exact())
    supports_find: bool = _flag(default=True)
    supports_move: bool = _flag(default=True)
    supports_get: bool = _flag()
    query_model: str = Field(
        default="study",
        sa_column=Column(Text(collation="C"), nullable=False, server_default="study"),
    )
    timeout_seconds: int = Field(
        default=30, sa_column=Column(Integer, nullable=False, server_default="30")
    )
    max_pdu_bytes: int = Field(
        default=16384, sa_column=Column(Integer, nullable=False, server_default="16384")
    )
    move_destination: str = Field(default="", sa_column=_exact())
    stores_from: list[str] = Field(default_factory=list, sa_column=_texts())
    tls: bool = _flag()
    tls_fingerprint: str = Field(default="", sa_column=_exact())
    max_associations: int = Field(
        default=2, sa_column=Column(SmallInteger, nullable=False, server_default="2")
    )
    max_bytes_per_second: int = Field(default=0, sa_column=_whole(BigInteger))
    windows: list[Any] = Field(default_factory=list, sa_column=_document("[]"))
    paused: bool = _flag()
    active: bool = _flag(default=True)
    circuit: dict[str, Any] = Field(default_factory=dict, sa_column=_document())
    congestion: dict[str, Any] = Field(default_factory=dict, sa_column=_document())
    capabilities: dict[str, Any] = Field(default_factory=dict, sa_column=_document())
    last_test: dict[str, Any] = Field(default_factory=dict, sa_column=_document())
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())
    updated_at: datetime = Field(default_factory=_now, sa_column=_moment())


class JobRow(SQLModel, table=True):
    """Work against a remote node: the row is the truth, queue messages only wake workers.

    `subject` is the same for jobs that would fetch the same thing to the same place.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state IN {JOB_STATES}", name="state"),
        Index(
            "ix_jobs_claimable",
            "priority",
            "not_before",
            postgresql_where=text("state IN ('scheduled', 'queued', 'waiting')"),
        ),
        Index(
            "ix_jobs_leased",
            "lease_until",
            postgresql_where=text("state IN ('running', 'cancelling')"),
        ),
        Index(
            "ix_jobs_queue",
            "node_id",
            "priority",
            "created_at",
            "id",
            postgresql_where=text("state = 'queued'"),
        ),
        Index("ix_jobs_created_at", "created_at"),
        Index("ix_jobs_state_created_at", "state", "created_at"),
        Index("ix_jobs_node_id_created_at", "node_id", "created_at"),
        Index("ix_jobs_finished_at_node_id", "finished_at", "node_id"),
        Index("ix_jobs_without_parent", "created_at", postgresql_where=text("parent_id IS NULL")),
        Index(
            "ix_jobs_unfinished_subject",
            "subject",
            postgresql_where=text("finished_at IS NULL AND subject <> ''"),
        ),
    )

    id: UUID = Field(default_factory=uuid4, sa_column=Column(Uuid, primary_key=True))
    kind: str = Field(sa_column=_exact())
    subject: str = Field(default="", sa_column=_exact())
    state: str = Field(default="queued", sa_column=_exact())
    node_id: int | None = Field(
        default=None,
        sa_column=_parent("remote_nodes.id", ondelete="SET NULL", nullable=True, index=False),
    )
    parent_id: UUID | None = Field(default=None, sa_column=_parent("jobs.id", nullable=True))
    priority: int = Field(
        default=5, sa_column=Column(SmallInteger, nullable=False, server_default="5")
    )
    not_before: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    parameters: dict[str, Any] = Field(default_factory=dict, sa_column=_document())
    progress: dict[str, Any] = Field(default_factory=dict, sa_column=_document())
    result: dict[str, Any] = Field(default_factory=dict, sa_column=_document())
    error: str = Field(default="", sa_column=_plain())
    attempts: int = Field(default=0, sa_column=_whole())
    fence: int = Field(default=0, sa_column=_whole(BigInteger))
    lease_owner: str = Field(default="", sa_column=_exact())
    lease_until: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    cancel_requested: bool = _flag()
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())
    created_by: str = Field(default="", sa_column=_plain())
    started_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    finished_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))


class JobAttemptRow(SQLModel, table=True):
    """One execution of a job, kept for ever with the job."""

    __tablename__ = "job_attempts"
    __table_args__ = (UniqueConstraint("job_id", "number"),)

    id: int | None = Field(default=None, sa_column=_identity())
    job_id: UUID = Field(sa_column=_parent("jobs.id", index=False))
    number: int = Field(sa_column=Column(Integer, nullable=False))
    fence: int = Field(sa_column=Column(BigInteger, nullable=False))
    worker: str = Field(sa_column=_exact())
    started_at: datetime = Field(default_factory=_now, sa_column=_moment())
    finished_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    outcome: str = Field(default="", sa_column=_exact())
    error: str = Field(default="", sa_column=_plain())
    progress: dict[str, Any] = Field(default_factory=dict, sa_column=_document())


class RetrieveItemRow(SQLModel, table=True):
    """One SOP instance that a job must bring, and the time of its arrival.

    With `arrives_here` the place is our index; any process marks the arrival.
    """

    __tablename__ = "retrieve_items"
    __table_args__ = (UniqueConstraint("job_id", "sop_instance_uid"),)

    id: int | None = Field(default=None, sa_column=_identity())
    job_id: UUID = Field(sa_column=_parent("jobs.id", index=False))
    study_instance_uid: str = Field(sa_column=_exact(index=True))
    series_instance_uid: str = Field(default="", sa_column=_exact())
    sop_instance_uid: str = Field(sa_column=_exact(index=True))
    sop_class_uid: str = Field(default="", sa_column=_exact())
    arrives_here: bool = _flag(default=True)
    arrived_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))


class QueryRow(SQLModel, table=True):
    """One operator's query; its work is a batch job of the same id with a child for each node."""

    __tablename__ = "queries"
    __table_args__ = (
        Index("ix_queries_created_by", "created_by", "created_at", "id"),
        Index("ix_queries_node_ids", "node_ids", postgresql_using="gin"),
    )

    id: UUID = Field(
        sa_column=Column(Uuid, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    )
    level: str = Field(sa_column=_exact())
    keys: dict[str, Any] = Field(default_factory=dict, sa_column=_document())
    node_ids: list[int] = Field(
        default_factory=list,
        sa_column=Column(ARRAY(BigInteger), nullable=False, server_default="{}"),
    )
    fingerprint: str = Field(sa_column=_exact(index=True))
    created_at: datetime = Field(
        default_factory=_now,
        sa_column=Column(
            DateTime(timezone=True), nullable=False, server_default=text("now()"), index=True
        ),
    )
    created_by: str = Field(default="", sa_column=_plain())
    expires_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    opened_from: dict[str, Any] = Field(default_factory=dict, sa_column=_document())
    """The query and attributes of the match that was opened by this one; empty: asked by itself."""


class SavedQueryRow(SQLModel, table=True):
    """A query that a user has saved under a name, to run it again."""

    __tablename__ = "saved_queries"
    __table_args__ = (UniqueConstraint("user_id", "name"),)

    id: int | None = Field(default=None, sa_column=_identity())
    user_id: int = Field(sa_column=_parent("users.id", index=False))
    name: str = Field(default="", sa_column=_exact())
    shared: bool = _flag()
    query: dict[str, Any] = Field(default_factory=dict, sa_column=_document())
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())


class QueryResultRow(SQLModel, table=True):
    """One match of a query."""

    __tablename__ = "query_results"
    __table_args__ = (UniqueConstraint("query_id", "node_id", "unique_key"),)

    id: int | None = Field(default=None, sa_column=_identity())
    query_id: UUID = Field(sa_column=_parent("queries.id", index=False))
    node_id: int = Field(sa_column=_parent("remote_nodes.id"))
    unique_key: str = Field(sa_column=_exact())
    attributes: dict[str, Any] = Field(default_factory=dict, sa_column=_document())


class BatchQueryRow(SQLModel, table=True):
    """One list of questions; its work is a batch job of the same id with a child for each node."""

    __tablename__ = "batch_queries"
    __table_args__ = (Index("ix_batch_queries_kept", "id", postgresql_where=text("NOT expired")),)

    id: UUID = Field(
        sa_column=Column(Uuid, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    )
    columns: list[str] = Field(default_factory=list, sa_column=_texts())
    lines: int = Field(default=0, sa_column=_whole())
    kept_seconds: int = Field(default=0, sa_column=_whole())
    """How long the answers are kept after the end."""
    expired: bool = _flag()
    created_at: datetime = Field(
        default_factory=_now,
        sa_column=Column(
            DateTime(timezone=True), nullable=False, server_default=text("now()"), index=True
        ),
    )
    created_by: str = Field(default="", sa_column=_plain())


class BatchQueryLineRow(SQLModel, table=True):
    """One question of a list; `number` is its line in the list."""

    __tablename__ = "batch_query_lines"
    __table_args__ = (UniqueConstraint("batch_query_id", "number"),)

    id: int | None = Field(default=None, sa_column=_identity())
    batch_query_id: UUID = Field(
        sa_column=Column(ForeignKey("batch_queries.id", ondelete="CASCADE"), nullable=False)
    )
    number: int = Field(sa_column=Column(Integer, nullable=False))
    keys: dict[str, Any] = Field(default_factory=dict, sa_column=_document())


class BatchQueryAnswerRow(SQLModel, table=True):
    """What one node said to one question; `studies` empties when the answer expires."""

    __tablename__ = "batch_query_answers"
    __table_args__ = (
        CheckConstraint("state IN ('complete', 'truncated', 'failed')", name="state"),
    )

    line_id: int = Field(
        sa_column=Column(
            BigInteger, ForeignKey("batch_query_lines.id", ondelete="CASCADE"), primary_key=True
        )
    )
    node_id: int = Field(
        sa_column=Column(
            BigInteger,
            ForeignKey("remote_nodes.id", ondelete="CASCADE"),
            primary_key=True,
            index=True,
        )
    )
    state: str = Field(sa_column=_exact())
    found: int = Field(default=0, sa_column=_whole())
    studies: list[Any] = Field(default_factory=list, sa_column=_document("[]"))
    error: str = Field(default="", sa_column=_plain())
    answered_at: datetime = Field(default_factory=_now, sa_column=_moment())


class RoutingBatchRow(SQLModel, table=True):
    """Rules applied to series that are in the archive already, some at a time.

    `position` is the last series that was looked at, `until` the last one that there was.
    """

    __tablename__ = "routing_batches"
    __table_args__ = (
        CheckConstraint("state IN ('running', 'complete', 'cancelled', 'failed')", name="state"),
    )

    id: UUID = Field(default_factory=uuid4, sa_column=Column(Uuid, primary_key=True))
    routing_version: int = Field(sa_column=Column(Integer, nullable=False))
    rules: list[str] = Field(default_factory=list, sa_column=_texts())
    """Names of the rules; empty: all that are active."""
    criteria: dict[str, Any] = Field(default_factory=dict, sa_column=_document())
    state: str = Field(default="running", sa_column=_exact())
    position: int = Field(default=0, sa_column=_whole(BigInteger))
    until: int = Field(default=0, sa_column=_whole(BigInteger))
    series_count: int = Field(default=0, sa_column=_whole())
    delivery_count: int = Field(default=0, sa_column=_whole())
    error: str = Field(default="", sa_column=_plain())
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())
    created_by: str = Field(default="", sa_column=_plain())
    finished_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))


class RoutingDecisionRow(SQLModel, table=True):
    """What the rules said about one series, study or object; nothing said, no row.

    `sequence` is the change of the feed that had them looked at, the generation of a series; null:
    it was a batch.
    """

    __tablename__ = "routing_decisions"
    __table_args__ = (
        CheckConstraint(
            "trigger IN ('series_complete', 'study_complete', 'instance')", name="trigger"
        ),
    )

    id: int | None = Field(default=None, sa_column=_identity())
    sequence: int | None = Field(
        default=None, sa_column=Column(BigInteger, nullable=True, unique=True)
    )
    batch_id: UUID | None = Field(
        default=None, sa_column=_parent("routing_batches.id", nullable=True)
    )
    routing_version: int = Field(sa_column=Column(Integer, nullable=False))
    trigger: str = Field(sa_column=_exact())
    study_instance_uid: str = Field(default="", sa_column=_exact(index=True))
    series_instance_uid: str = Field(default="", sa_column=_exact())
    sop_instance_uid: str = Field(default="", sa_column=_exact())
    applied: list[str] = Field(default_factory=list, sa_column=_texts())
    undecided: list[str] = Field(default_factory=list, sa_column=_texts())
    destinations: list[str] = Field(default_factory=list, sa_column=_texts())
    decided_at: datetime = Field(default_factory=_now, sa_column=_moment(index=True))


class PostponedDecisionRow(SQLModel, table=True):
    """A decision with rules that depend on a file that could not be read: it is looked at again."""

    __tablename__ = "routing_postponed"

    decision_id: int = Field(
        sa_column=Column(
            BigInteger, ForeignKey("routing_decisions.id", ondelete="CASCADE"), primary_key=True
        )
    )
    look_again_at: datetime = Field(
        sa_column=Column(DateTime(timezone=True), nullable=False, index=True)
    )


class DeliveryRow(SQLModel, table=True):
    """What one decision sends to one destination, until it has arrived or is given up.

    `target` is the destination that it is sent to now: the same, or a member of a group.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        CheckConstraint(
            "state IN ('pending', 'running', 'waiting', 'delivered', 'partial', 'failed',"
            " 'superseded')",
            name="state",
        ),
        UniqueConstraint("decision_id", "destination"),
        Index(
            "ix_deliveries_unfinished",
            "destination",
            "created_at",
            "id",
            postgresql_where=text("finished_at IS NULL"),
        ),
        Index(
            "ix_deliveries_finished",
            "finished_at",
            "destination",
            postgresql_where=text("finished_at IS NOT NULL"),
        ),
        Index("ix_deliveries_state", "state", "id"),
        Index("ix_deliveries_destination_state", "destination", "state", "id"),
    )

    id: int | None = Field(default=None, sa_column=_identity())
    decision_id: int = Field(sa_column=_parent("routing_decisions.id", index=False))
    destination: str = Field(sa_column=_exact())
    study_instance_uid: str = Field(default="", sa_column=_exact(index=True))
    series_instance_uid: str = Field(default="", sa_column=_exact(index=True))
    sop_instance_uid: str = Field(default="", sa_column=_exact())
    payload: dict[str, Any] = Field(default_factory=dict, sa_column=_document())
    """What a webhook is told beside the identifiers: the values of its fields."""
    state: str = Field(
        default="pending",
        sa_column=Column(Text(collation="C"), nullable=False, server_default="pending"),
    )
    target: str = Field(default="", sa_column=_exact())
    target_since: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    job_id: UUID | None = Field(
        default=None, sa_column=_parent("jobs.id", ondelete="SET NULL", nullable=True)
    )
    attempts: int = Field(default=0, sa_column=_whole())
    failures: int = Field(default=0, sa_column=_whole())
    """In a row, of the target."""
    instance_count: int = Field(default=0, sa_column=_whole())
    delivered_count: int = Field(default=0, sa_column=_whole())
    error: str = Field(default="", sa_column=_plain())
    created_at: datetime = Field(default_factory=_now, sa_column=_moment(index=True))
    started_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    next_attempt_at: datetime = Field(default_factory=_now, sa_column=_moment())
    give_up_at: datetime = Field(default_factory=_now, sa_column=_moment())
    finished_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))


class DeliveredObjectRow(SQLModel, table=True):
    """One object, in one content, that an endpoint has answered for, or a folder was given."""

    __tablename__ = "delivered_objects"

    endpoint: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    sop_instance_uid: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    content_sha256: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    """Empty while the content is being replaced, as nobody knows then what is there."""
    delivery_id: int = Field(sa_column=_parent("deliveries.id"))
    status: int = Field(default=0, sa_column=_whole())
    answered_at: datetime = Field(default_factory=_now, sa_column=_moment())
    """The last time; of the contents of an object the latest is what the endpoint has."""
    origin: str | None = Field(default=None, sa_column=Column(Text))
    """Who sent it here, as `AE@address`, if that is who has sent the first content; else null."""
    hops: int = Field(default=0, sa_column=_whole())
    """How often it went there although somebody else had sent it here."""


class RoutedPriorRow(SQLModel, table=True):
    """One study of which nothing was here before a delivery had it retrieved.

    It does not ask for earlier studies itself.
    """

    __tablename__ = "routed_priors"

    study_instance_uid: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    delivery_id: int = Field(
        sa_column=Column(
            BigInteger,
            ForeignKey("deliveries.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
            index=True,
        )
    )


class DestinationStateRow(SQLModel, table=True):
    """How a destination does, by its name; no row: it is active and nothing was sent yet."""

    __tablename__ = "destination_states"
    __table_args__ = (CheckConstraint("mode IN ('active', 'paused', 'draining')", name="mode"),)

    name: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    mode: str = Field(
        default="active",
        sa_column=Column(Text(collation="C"), nullable=False, server_default="active"),
    )
    mode_since: datetime = Field(default_factory=_now, sa_column=_moment())
    mode_by: str = Field(default="", sa_column=_plain())
    failures: int = Field(default=0, sa_column=_whole())
    """In a row, of all deliveries."""
    failing_since: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    last_attempt_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    last_success_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    last_error_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    last_error: str = Field(default="", sa_column=_plain())
    in_force: str = Field(default="", sa_column=_exact())
    """Of a group: the member that gets what comes; one that is down and only tried does not."""


class StandingQueryRow(SQLModel, table=True):
    """A query that is asked by a schedule, in a time zone."""

    __tablename__ = "standing_queries"
    __table_args__ = (
        Index("ix_standing_queries_due", "next_run_at", postgresql_where=text("active")),
    )

    id: int | None = Field(default=None, sa_column=_identity())
    name: str = Field(sa_column=_exact(unique=True))
    active: bool = _flag(default=True)
    query: dict[str, Any] = Field(default_factory=dict, sa_column=_document())
    schedule: str = Field(default="", sa_column=_exact())
    zone: str = Field(default="", sa_column=_exact())
    retrieve: bool = _flag()
    """Whether what is not here is retrieved."""
    most: int = Field(default=100, sa_column=Column(Integer, nullable=False, server_default="100"))
    """Studies that one run retrieves."""
    next_run_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())
    created_by: str = Field(default="", sa_column=_plain())
    updated_at: datetime = Field(default_factory=_now, sa_column=_moment())


class StandingQueryRunRow(SQLModel, table=True):
    """One run of a standing query."""

    __tablename__ = "standing_query_runs"
    __table_args__ = (
        CheckConstraint(
            "state IN ('asking', 'retrieving', 'complete', 'partial', 'failed', 'skipped')",
            name="state",
        ),
        UniqueConstraint("standing_query_id", "scheduled_for"),
        Index(
            "ix_standing_query_runs_unfinished",
            "id",
            postgresql_where=text("finished_at IS NULL"),
        ),
    )

    id: int | None = Field(default=None, sa_column=_identity())
    standing_query_id: int = Field(sa_column=_parent("standing_queries.id", index=False))
    scheduled_for: datetime = Field(default_factory=_now, sa_column=_moment())
    run_by: str = Field(default="", sa_column=_plain())
    """Who ran it; empty: the schedule."""
    state: str = Field(default="asking", sa_column=_exact())
    query_id: UUID | None = Field(default=None, sa_column=Column(Uuid, nullable=True))
    retrieve_ids: list[UUID] = Field(
        default_factory=list,
        sa_column=Column(ARRAY(Uuid), nullable=False, server_default="{}"),
    )
    """One for each node that has something that is not here."""
    found: int = Field(default=0, sa_column=_whole())
    already_here: int = Field(default=0, sa_column=_whole())
    requested: int = Field(default=0, sa_column=_whole())
    on_the_way: int = Field(default=0, sa_column=_whole())
    """Studies that somebody else had requested."""
    left_out: int = Field(default=0, sa_column=_whole())
    error: str = Field(default="", sa_column=_plain())
    started_at: datetime = Field(default_factory=_now, sa_column=_moment())
    finished_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))


class FeedPositionRow(SQLModel, table=True):
    """One consumer's position in the change feed."""

    __tablename__ = "feed_positions"

    consumer: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    sequence: int = Field(default=0, sa_column=_whole(BigInteger))
    updated_at: datetime = Field(default_factory=_now, sa_column=_moment())


class WebhookRow(SQLModel, table=True):
    """A URL that receives changes; the secret signs them and is shown once."""

    __tablename__ = "webhooks"

    id: int | None = Field(default=None, sa_column=_identity())
    url: str = Field(sa_column=_plain())
    secret: str = Field(sa_column=_plain())
    previous_secret: str = Field(default="", sa_column=_plain())
    previous_secret_until: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    kinds: list[str] = Field(default_factory=list, sa_column=_texts())
    active: bool = _flag(default=True)
    description: str = Field(default="", sa_column=_plain())
    since_sequence: int = Field(default=0, sa_column=_whole(BigInteger))
    failing_since: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    disabled_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    disabled_reason: str = Field(default="", sa_column=_exact())
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())
    created_by: str = Field(default="", sa_column=_plain())
    updated_at: datetime = Field(default_factory=_now, sa_column=_moment())


class WebhookDeliveryRow(SQLModel, table=True):
    """One change on its way to one webhook."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_id", "sequence"),
        CheckConstraint("state IN ('pending', 'delivered', 'dead')", name="state"),
        Index(
            "ix_webhook_deliveries_due",
            "webhook_id",
            "next_attempt_at",
            "id",
            postgresql_where=text("state = 'pending'"),
        ),
        Index(
            "ix_webhook_deliveries_unfinished",
            "webhook_id",
            "state",
            "sequence",
            postgresql_where=text("state <> 'delivered'"),
        ),
        Index(
            "ix_webhook_deliveries_finished",
            "state",
            "finished_at",
            postgresql_where=text("finished_at IS NOT NULL"),
        ),
    )

    id: int | None = Field(default=None, sa_column=_identity())
    webhook_id: int = Field(
        sa_column=Column(ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False)
    )
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))
    kind: str = Field(sa_column=_exact())
    body: str = Field(sa_column=_plain())
    state: str = Field(default="pending", sa_column=_exact())
    attempts: int = Field(default=0, sa_column=_whole())
    next_attempt_at: datetime = Field(default_factory=_now, sa_column=_moment())
    last_status: int | None = Field(default=None, sa_column=Column(Integer))
    last_error: str = Field(default="", sa_column=_plain())
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())
    finished_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))


class UserRow(SQLModel, table=True):
    """A person who may sign in."""

    __tablename__ = "users"
    __table_args__ = (CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role"),)

    id: int | None = Field(default=None, sa_column=_identity())
    name: str = Field(sa_column=_exact(unique=True))
    role: str = Field(sa_column=_exact())
    password_hash: str = Field(default="", sa_column=_plain())
    active: bool = _flag(default=True)
    external_subject: str | None = Field(
        default=None, sa_column=Column(Text(collation="C"), unique=True)
    )
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())
    last_login_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    language: str = Field(default="", sa_column=_exact())


class WebSessionRow(SQLModel, table=True):
    """A signed-in browser; the cookie holds the token, the table only its SHA-256."""

    __tablename__ = "web_sessions"

    token_hash: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    user_id: int = Field(sa_column=_parent("users.id"))
    csrf_token: str = Field(sa_column=_exact())
    address: str = Field(default="", sa_column=_plain())
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())
    expires_at: datetime = Field(sa_column=_moment(now=False))


class ApiTokenRow(SQLModel, table=True):
    """A program's bearer token, of which only the SHA-256 is kept."""

    __tablename__ = "api_tokens"

    id: int | None = Field(default=None, sa_column=_identity())
    name: str = Field(sa_column=_exact())
    role: str = Field(sa_column=_exact())
    token_hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False, unique=True))
    user_id: int = Field(sa_column=_parent("users.id"))
    active: bool = _flag(default=True)
    created_at: datetime = Field(default_factory=_now, sa_column=_moment())
    expires_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    last_used_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))


class SchemaRevisionRow(SQLModel, table=True):
    """A migration that was applied, and the oldest release that works after it."""

    __tablename__ = "schema_revisions"

    revision: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    compatible_from: str = Field(sa_column=_exact())
    applied_at: datetime = Field(default_factory=_now, sa_column=_moment())
