"""What the form of a query offers: keys, levels and spans of days, in words."""

from typing import Final

from draw_api.handlers.web.languages import N_

KEYS: Final = {
    "PatientName": (N_("Patient name"), "Smith, J", "PATIENT"),
    "PatientID": (N_("Patient ID"), "12*", "PATIENT"),
    "PatientBirthDate": (N_("Born"), "1960-11-01", "PATIENT"),
    "StudyDate": (N_("Study date"), "2026-11-01", "STUDY"),
    "AccessionNumber": (N_("Accession number"), "A26-3*", "STUDY"),
    "ModalitiesInStudy": (N_("Modalities in study"), "CT", "STUDY"),
    "StudyDescription": (N_("Study description"), "*THORAX*", "STUDY"),
    "ReferringPhysicianName": (N_("Referring physician"), "GRANT*", "STUDY"),
    "StudyInstanceUID": ("Study Instance UID", "1.2.840…", "STUDY"),
    "Modality": (N_("Modality of the series"), "RTDOSE", "SERIES"),
    "SeriesDescription": (N_("Series description"), "*3 mm*", "SERIES"),
    "SeriesInstanceUID": ("Series Instance UID", "1.2.840…", "SERIES"),
}
"""By keyword: label, hint, and the level from which on it means something."""
FIRST_KEYS: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "StudyDate",
    "AccessionNumber",
    "ModalitiesInStudy",
)
"""What most people ask by; the form shows the others on demand."""
LEVELS: Final = {
    "PATIENT": N_("Patient"),
    "STUDY": N_("Study"),
    "SERIES": N_("Series"),
    "IMAGE": N_("Image"),
}
SPANS: Final = {
    "": N_("Any day, or as typed"),
    "today": N_("Today"),
    "yesterday": N_("Yesterday"),
    "last_7_days": N_("Last 7 days"),
    "last_30_days": N_("Last 30 days"),
}
