"""Finds the attribute that a list's heading means: by keyword, name, tag or usual synonym.

Lists also have columns for people. A single word such as `Date`, `Comments` or `Status` is the
keyword of some attribute, too; using it as a key would silently narrow the query.
"""

import re
from functools import cache
from typing import Final

from draw_api.services.csv_lists import plain_title
from draw_shared.dicom.encoding import dictionary

SYNONYMS: Final = {
    "StudyInstanceUID": "studyuid studyiuid",
    "SeriesInstanceUID": "seriesuid seriesiuid",
    "SOPInstanceUID": "sopuid instanceuid objectuid imageuid",
    "PatientID": "patid pid mrn medicalrecordnumber patientnumber patientno"
    " patientennummer patientenid",
    "PatientName": "patientsname",
    "PatientBirthDate": "birthdate dateofbirth dob birthday geburtsdatum",
    "PatientSex": "sex gender geschlecht",
    "AccessionNumber": "accession accessionno accno acc accnumber",
    "StudyID": "",
    "StudyDate": "examdate dateofstudy studiendatum untersuchungsdatum",
    "StudyTime": "",
    "StudyDescription": "studydesc",
    "ModalitiesInStudy": "modality modalities modalität",
    "ReferringPhysicianName": "referringphysician",
    "IssuerOfPatientID": "",
}
"""Usual headings besides keyword and name, in the form of `plain_title`."""
TAG: Final = re.compile(r"[0-9a-f]{8}")
SEVERAL_WORDS: Final = re.compile(r"[A-Z].*[a-z].*[A-Z].*")
DATA_SET_FROM: Final = 0x00080000
"""The first tag of a data set; below are commands and the file meta group."""


def keyword_of(title: str) -> str:
    """Return the keyword of the attribute that a heading means; empty when it means none."""
    plain = plain_title(title)
    if TAG.fullmatch(plain):
        tag = int(plain, 16)
        try:
            return dictionary.entry_of(tag).keyword if tag >= DATA_SET_FROM else ""
        except KeyError:
            return ""
    if plain in _usual():
        return _usual()[plain]
    known = dictionary.tag_of(title) if SEVERAL_WORDS.fullmatch(title) else None
    return title if known is not None and known >= DATA_SET_FROM else ""


@cache
def _usual() -> dict[str, str]:
    found: dict[str, str] = {}
    for keyword, words in SYNONYMS.items():
        name = plain_title(dictionary.entry_named(keyword).name)
        found |= dict.fromkeys((plain_title(keyword), name, *words.split()), keyword)
    return found
