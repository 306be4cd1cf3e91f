"""RT Structure Sets, RT Plans and structured reports as readable tables."""

from collections.abc import Iterable
from typing import Any, Final

import pydicom
from pydicom.dataset import Dataset

from draw_api.adapters.object_text import character_set_of, inherit, text_beyond_ascii
from draw_api.adapters.pydicom_source import source
from draw_shared.dicom.encoding.characters import DEFAULT_REPERTOIRE
from draw_shared.wording import message

MAX_ROWS: Final = 1000
MAX_CELL_LENGTH: Final = 200
COORDINATES: Final = 3
MAX_REPORT_DEPTH: Final = 20
MAX_REPORT_TEXT: Final = 10_000
INDENT: Final = "\u2003"
"""Before a heading, for each level of a report: an em space."""


def structure_tables(path: str) -> dict[str, Any]:
    """Return the regions of interest of a structure set (PS3.3 C.8.8.5)."""
    held = pydicom.dcmread(source(path), force=True)
    observed = {
        _text(o, "ReferencedROINumber"): o for o in _items(held, "RTROIObservationsSequence")
    }
    contoured = {_text(c, "ReferencedROINumber"): c for c in _items(held, "ROIContourSequence")}
    rows = []
    for roi in _items(held, "StructureSetROISequence"):
        number = _text(roi, "ROINumber")
        drawn = contoured.get(number, Dataset())
        contours = list(_items(drawn, "ContourSequence"))
        points = sum(_length(c) // COORDINATES for c in contours)
        rows.append(
            [
                number,
                _text(roi, "ROIName"),
                _text(observed.get(number, Dataset()), "RTROIInterpretedType"),
                _colour(drawn),
                str(len(contours)),
                str(points),
                _text(roi, "ROIGenerationAlgorithm"),
            ]
        )
    columns = [
        message("Number"),
        message("Name"),
        message("Type"),
        message("Colour"),
        message("Contours"),
        message("Points"),
        message("Generated"),
    ]
    names = ("StructureSetLabel", "StructureSetName", "StructureSetDate", "StructureSetTime")
    return {
        "facts": _facts(held, *names),
        "tables": [{"title": message("Regions of interest"), "columns": columns, "rows": rows}],
    }


def plan_tables(path: str) -> dict[str, Any]:
    """Return prescription, fractions and beams of a plan (PS3.3 C.8.8.9 and following)."""
    held = pydicom.dcmread(source(path), force=True)
    groups = list(_items(held, "FractionGroupSequence"))
    units = {
        _text(beam, "ReferencedBeamNumber"): _text(beam, "BeamMeterset")
        for group in groups
        for beam in _items(group, "ReferencedBeamSequence")
    }
    names = ("RTPlanLabel", "RTPlanName", "RTPlanDate", "PlanIntent", "RTPlanGeometry")
    return {
        "facts": [*_facts(held, *names), *_facts(held, "ApprovalStatus")],
        "tables": [
            _table(
                message("Prescription"),
                _items(held, "DoseReferenceSequence"),
                {
                    message("Number"): "DoseReferenceNumber",
                    message("Description"): "DoseReferenceDescription",
                    message("Kind"): "DoseReferenceStructureType",
                    message("Type"): "DoseReferenceType",
                    message("Target dose (Gy)"): "TargetPrescriptionDose",
                },
            ),
            _table(
                message("Fractions"),
                groups,
                {
                    message("Group"): "FractionGroupNumber",
                    message("Planned"): "NumberOfFractionsPlanned",
                    message("Beams"): "NumberOfBeams",
                    message("Brachy setups"): "NumberOfBrachyApplicationSetups",
                },
            ),
            _beams(held, units),
        ],
    }


def report_tables(path: str) -> dict[str, Any]:
    """Return headings and values of a structured report in their order (PS3.3 C.17.3)."""
    held = pydicom.dcmread(source(path), force=True)
    rows: list[list[str]] = []
    _add_content(held, 0, rows)
    names = ("ContentDate", "CompletionFlag", "VerificationFlag")
    return {
        "facts": _facts(held, *names),
        "tables": [
            {
                "title": message("Report"),
                "columns": [message("Heading"), message("Value")],
                "rows": rows,
            }
        ],
    }


def _add_content(item: Dataset, depth: int, rows: list[list[str]]) -> None:
    """Add a content item and what is below it, up to a limit of rows and depth."""
    if len(rows) >= MAX_ROWS or depth > MAX_REPORT_DEPTH:
        return
    concepts = _items(item, "ConceptNameCodeSequence")
    heading = _text(concepts[0], "CodeMeaning") if concepts else ""
    value = _content_value(item)
    if heading or value:
        rows.append([f"{INDENT * depth}{heading}", value])
    for below in _items(item, "ContentSequence"):
        _add_content(below, depth + 1, rows)


def _content_value(item: Dataset) -> str:
    """Return what a content item says, in words (PS3.3 C.17.3.2.1)."""
    for keyword in ("TextValue", "PersonName", "UID", "Date", "Time", "DateTime"):
        if keyword in item:
            return _text(item, keyword, MAX_REPORT_TEXT)
    for code in _items(item, "ConceptCodeSequence"):
        return _text(code, "CodeMeaning")
    for measured in _items(item, "MeasuredValueSequence"):
        units = _items(measured, "MeasurementUnitsCodeSequence")
        unit = _text(units[0], "CodeValue") if units else ""
        return f"{_text(measured, 'NumericValue')} {unit}".strip()
    for image in _items(item, "ReferencedSOPSequence"):
        return _text(image, "ReferencedSOPInstanceUID")
    return ""


def _beams(held: Dataset, units: dict[str, str]) -> dict[str, Any]:
    rows = []
    for beam in _items(held, "BeamSequence"):
        points = list(_items(beam, "ControlPointSequence"))
        first = points[0] if points else Dataset()
        number = _text(beam, "BeamNumber")
        rows.append(
            [
                number,
                _text(beam, "BeamName"),
                _text(beam, "BeamType"),
                _text(beam, "RadiationType"),
                _text(beam, "TreatmentMachineName"),
                _text(first, "NominalBeamEnergy"),
                _text(first, "GantryAngle"),
                _text(first, "BeamLimitingDeviceAngle"),
                _text(first, "PatientSupportAngle"),
                str(len(points)),
                units.get(number, ""),
            ]
        )
    columns = [
        message("Number"),
        message("Name"),
        message("Type"),
        message("Radiation"),
        message("Machine"),
        message("Energy (MV/MeV)"),
        message("Gantry (°)"),
        message("Collimator (°)"),
        message("Couch (°)"),
        message("Control points"),
        message("Meterset"),
    ]
    return {"title": message("Beams"), "columns": columns, "rows": rows}


def _table(title: str, items: Iterable[Dataset], columns: dict[str, str]) -> dict[str, Any]:
    rows = [[_text(item, keyword) for keyword in columns.values()] for item in items]
    return {"title": title, "columns": list(columns), "rows": rows}


def _facts(held: Dataset, *keywords: str) -> list[tuple[str, str]]:
    found = ((pydicom.datadict.dictionary_description(k), _text(held, k)) for k in keywords)
    return [(name, value) for name, value in found if value]


def _items(held: Dataset, keyword: str) -> list[Dataset]:
    try:
        found = held.get(keyword) or []
    except Exception:  # noqa: BLE001 - a sequence that cannot be decoded has no items
        return []
    return [inherit(item, held) for item in found[:MAX_ROWS]]


def _text(held: Dataset, keyword: str, longest: int = MAX_CELL_LENGTH) -> str:
    try:
        tag = pydicom.datadict.tag_for_keyword(keyword) or 0
        text = text_beyond_ascii(held, tag, character_set_of(held, DEFAULT_REPERTOIRE))
        value = held.get(keyword) if text is None else text
    except Exception:  # noqa: BLE001 - a value that cannot be decoded is not shown
        return ""
    return "" if value is None else str(value)[:longest]


def _length(contour: Dataset) -> int:
    value = contour.get("ContourData")
    return len(value) if value else 0


def _colour(drawn: Dataset) -> str:
    try:
        red, green, blue = (int(v) & 255 for v in drawn.get("ROIDisplayColor") or ())
    except (TypeError, ValueError):
        return ""
    return f"#{red:02x}{green:02x}{blue:02x}"
