"""The attributes that the index holds at each level: their VRs and where their values are stored.

This is the only such table: the indexer writes by it, C-FIND matches and answers by it, and the
conformance statement lists it. A value is stored in a column of its level's table or, without a
column, as text in the level's `attributes` document under its keyword: decoded, otherwise as in
the data set, with several values joined by a backslash. A column of type date or time holds only
what can be parsed (PS3.5 6.2). Text that cannot, or that is more precise than the column
(fractions beyond microseconds), is also stored in `attributes` under the same keyword, and C-FIND
returns it. Absent and empty values are not in `attributes`.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from draw_shared.dicom.encoding import dictionary


class Level(IntEnum):
    """Levels of the query/retrieve information models, from the top (PS3.4 C.6)."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3


@dataclass(frozen=True, slots=True)
class IndexedAttribute:
    """One attribute in the index.

    `column` names the column of the level's table (`patients`, `studies`, `series`,
    `instances`); empty means the document `attributes`. `search` names the column with the
    comparable text, if there is one.
    """

    keyword: str
    tag: int
    vr: str
    level: Level
    column: str = ""
    search: str = ""


def _attribute(level: Level, keyword: str, column: str = "", search: str = "") -> IndexedAttribute:
    tag = dictionary.tag_of(keyword)
    if tag is None:
        raise LookupError(keyword)
    return IndexedAttribute(keyword, tag, dictionary.vr_of(tag), level, column, search)


def _plain(level: Level, *keywords: str) -> tuple[IndexedAttribute, ...]:
    return tuple(_attribute(level, keyword) for keyword in keywords)


ATTRIBUTES: Final = (
    _attribute(Level.PATIENT, "PatientName", "name", "name_search"),
    _attribute(Level.PATIENT, "PatientID", "patient_id"),
    _attribute(Level.PATIENT, "IssuerOfPatientID", "issuer_of_patient_id"),
    _attribute(Level.PATIENT, "PatientBirthDate", "birth_date"),
    _attribute(Level.PATIENT, "PatientSex", "sex"),
    *_plain(
        Level.PATIENT, "PatientBirthTime", "OtherPatientIDs", "OtherPatientNames", "EthnicGroup",
        "PatientComments", "PatientSpeciesDescription", "ResponsiblePerson",
    ),
    _attribute(Level.STUDY, "StudyInstanceUID", "study_instance_uid"),
    _attribute(Level.STUDY, "StudyDate", "study_date"),
    _attribute(Level.STUDY, "StudyTime", "study_time"),
    _attribute(Level.STUDY, "AccessionNumber", "accession_number"),
    _attribute(Level.STUDY, "StudyID", "study_id"),
    _attribute(Level.STUDY, "StudyDescription", "description", "description_search"),
    _attribute(
        Level.STUDY, "ReferringPhysicianName", "referring_physician", "referring_physician_search"
    ),
    *_plain(
        Level.STUDY, "NameOfPhysiciansReadingStudy", "PhysiciansOfRecord",
        "AdmittingDiagnosesDescription", "PatientAge", "PatientSize", "PatientWeight",
        "Occupation", "AdditionalPatientHistory",
    ),
    _attribute(Level.SERIES, "SeriesInstanceUID", "series_instance_uid"),
    _attribute(Level.SERIES, "Modality", "modality"),
    _attribute(Level.SERIES, "SeriesNumber", "series_number"),
    _attribute(Level.SERIES, "SeriesDescription", "description"),
    _attribute(Level.SERIES, "BodyPartExamined", "body_part_examined"),
    _attribute(Level.SERIES, "PerformedProcedureStepStartDate", "performed_date"),
    _attribute(Level.SERIES, "PerformedProcedureStepStartTime", "performed_time"),
    *_plain(
        Level.SERIES, "SeriesDate", "SeriesTime", "ProtocolName", "Laterality", "PatientPosition",
        "Manufacturer", "ManufacturerModelName", "StationName", "InstitutionName",
        "InstitutionalDepartmentName", "PerformingPhysicianName", "OperatorsName",
        "FrameOfReferenceUID", "PerformedProcedureStepID", "PerformedProcedureStepDescription",
    ),
    _attribute(Level.IMAGE, "SOPInstanceUID", "sop_instance_uid"),
    _attribute(Level.IMAGE, "SOPClassUID", "sop_class_uid"),
    _attribute(Level.IMAGE, "InstanceNumber", "instance_number"),
    *_plain(
        Level.IMAGE, "ContentDate", "ContentTime", "AcquisitionDate", "AcquisitionTime",
        "AcquisitionNumber", "ImageType", "NumberOfFrames", "Rows", "Columns", "BitsAllocated",
        "SamplesPerPixel", "PhotometricInterpretation", "SliceLocation", "ImageComments",
        "StructureSetLabel", "StructureSetName", "StructureSetDate", "StructureSetTime",
        "RTPlanLabel", "RTPlanName", "RTPlanDate", "RTPlanTime", "DoseType", "DoseSummationType",
        "ContentLabel", "ContentDescription", "CompletionFlag", "VerificationFlag",
    ),
)  # fmt: skip
"""Every attribute that is in the index under its own keyword, in the order of the levels."""

REQUEST_ATTRIBUTES: Final = "RequestAttributesSequence"
REQUEST_ATTRIBUTE_KEYWORDS: Final = (
    "AccessionNumber",
    "StudyInstanceUID",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "ScheduledProcedureStepID",
    "ScheduledProcedureStepDescription",
)
"""Attributes of each item in `series.request_attributes`, a list of documents by keyword."""

BY_TAG: Final = {attribute.tag: attribute for attribute in ATTRIBUTES}
SAID_BY_OBJECTS: Final = ("SeriesDescription", "ProtocolName")
"""Attributes of the series that each object's row has in `attributes` too, as it says it.

The series has the words of the first object; rules of routing must see a localizer behind it.
"""

BY_KEYWORD: Final = {attribute.keyword: attribute for attribute in ATTRIBUTES}

UNIQUE_KEYS: Final = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}


IDENTIFIERS: Final = frozenset({"PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyID"})
"""Text that identifies entities: different texts must stay different, even if unreadable."""


def of_level(level: Level) -> tuple[IndexedAttribute, ...]:
    """Return the attributes of one level."""
    return tuple(attribute for attribute in ATTRIBUTES if attribute.level is level)
