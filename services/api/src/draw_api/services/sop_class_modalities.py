"""The modality that a SOP class tells.

Lines of the transaction log have no modality (0008,0060), and an image that failed may never have
been read. Its SOP class is known in each case, and nearly every one belongs to one modality.
"""

from functools import cache
from typing import Final

from draw_shared.dicom.encoding.dictionary import registered_uids

OTHER: Final = "OT"
BY_NAME: Final = (
    ("Structured Report", "SR"),
    ("Presentation State", "PR"),
    ("Key Object", "KO"),
    ("Treatment Record", "RTRECORD"),
    ("Treatment Summary", "RTRECORD"),
    ("RT Image", "RTIMAGE"),
    ("RT Dose", "RTDOSE"),
    ("RT Structure Set", "RTSTRUCT"),
    ("RT Plan", "RTPLAN"),
    ("RT Ion Plan", "RTPLAN"),
    ("RT Brachy", "RTPLAN"),
    ("Segmentation", "SEG"),
    ("Registration", "REG"),
    ("Fiducials", "FID"),
    ("Parametric Map", "OT"),
    ("Secondary Capture", "OT"),
    ("Encapsulated", "DOC"),
    ("Dose SR", "SR"),
    (" SR ", "SR"),
    ("Report Storage", "SR"),
    ("CT Image", "CT"),
    ("Enhanced CT", "CT"),
    ("Legacy Converted Enhanced CT", "CT"),
    ("MR ", "MR"),
    ("PET ", "PT"),
    ("Positron Emission", "PT"),
    ("Nuclear Medicine", "NM"),
    ("Intravascular Optical", "IVOCT"),
    ("Ultrasound", "US"),
    ("US Volume", "US"),
    ("Computed Radiography", "CR"),
    ("Mammography", "MG"),
    ("Breast", "MG"),
    ("Intra-Oral", "IO"),
    ("Digital X-Ray", "DX"),
    ("Radiofluoroscopic", "RF"),
    ("XRF", "RF"),
    ("Angiographic", "XA"),
    ("XA Image", "XA"),
    ("Ophthalmic Tomography", "OPT"),
    ("Ophthalmic", "OP"),
    ("Endoscopic", "ES"),
    ("Slide", "SM"),
    ("Microscopic", "GM"),
    ("Photographic", "XC"),
    ("Dermoscopic", "DMS"),
    ("ECG", "ECG"),
    ("Hemodynamic", "HD"),
    ("Electrophysiology", "EPS"),
    ("Audio", "AU"),
)
"""Parts of names of SOP classes (PS3.6) with their modality (PS3.3 C.7.3.1.1.1); first match."""


@cache
def modality_of(sop_class_uid: str) -> str:
    """Return the modality of a SOP class; `OT` for one of several or of none."""
    known = registered_uids().get(sop_class_uid)
    name = known.name if known else ""
    return next((modality for part, modality in BY_NAME if part in name), OTHER)
