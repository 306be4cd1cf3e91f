"""A made-up radiotherapy study: CT, structures, plan and dose of a body that never was."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from support.datasets import build

EDGE = 256
SPACING = 2.0
THICKNESS = 3.0
DOSE_EDGE = 64
TISSUES = (
    # name, type, colour, Hounsfield units, centre x, centre y, radii x, y, z (mm)
    ("BODY", "EXTERNAL", (120, 160, 120), 30, 0, 0, 170, 115, 900),
    ("Lung L", "ORGAN", (90, 150, 230), -780, 78, -8, 54, 72, 75),
    ("Lung R", "ORGAN", (230, 150, 90), -780, -78, -8, 54, 72, 75),
    ("Heart", "ORGAN", (220, 90, 90), 50, 24, -34, 46, 40, 48),
    ("Spine", "ORGAN", (240, 230, 150), 480, 0, 74, 20, 22, 900),
    ("Spinal cord", "ORGAN", (250, 220, 60), 35, 0, 78, 7, 7, 900),
    ("PTV", "PTV", (230, 40, 60), 55, -62, 6, 22, 20, 24),
)


def volume(slices):
    """Return the CT values of the body, slice by slice."""
    rng = np.random.default_rng(7)
    axis = (np.arange(EDGE) - EDGE / 2) * SPACING
    x, y = np.meshgrid(axis, axis)
    made = np.full((slices, EDGE, EDGE), -1000.0)
    for number in range(slices):
        z = (number - slices / 2) * THICKNESS
        for _, _, _, units, cx, cy, rx, ry, rz in TISSUES:
            inside = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + (z / rz) ** 2 < 1
            made[number][inside] = units
        ribs = np.abs(((x / 158) ** 2 + (y / 104) ** 2) - 1) < 0.05
        made[number][ribs & (np.sin(np.arctan2(y, x) * 9 + z / 12) > 0.35)] = 520
    return made + rng.normal(0, 12, made.shape)


def study(*, slices=24, **elements):
    """Return the objects of one study, in the order in which they would be sent."""
    common = {
        "StudyInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
        "StudyDescription": "Thorax planning",
        **elements,
    }
    values = volume(slices)
    images = [_ct(values[n], n, slices, common) for n in range(slices)]
    series = generate_uid()
    for image in images:
        image.SeriesInstanceUID = series
    return [*images, _structures(common), _plan(common), _dose(slices, common)]


def _ct(values, number, slices, common):
    made = build("CT", **common, SeriesDescription="CT thorax 3 mm", SeriesNumber=1)
    made.InstanceNumber = number + 1
    made.BodyPartExamined = "CHEST"
    made.Rows = made.Columns = EDGE
    made.PixelSpacing = [SPACING, SPACING]
    made.SliceThickness = THICKNESS
    made.ImagePositionPatient = [-EDGE, -EDGE, (number - slices / 2) * THICKNESS]
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 1
    made.RescaleSlope, made.RescaleIntercept = 1, -1024
    made.WindowCenter, made.WindowWidth = 40, 400
    made.PixelData = (values + 1024).clip(-1024, 3071).astype("<i2").tobytes()
    return made


def _structures(common):
    made = build("RTSTRUCT", **common, SeriesDescription="Structures", SeriesNumber=2)
    made.StructureSetLabel, made.StructureSetDate = "Planning", made.StudyDate
    rois, contours, observed = [], [], []
    for number, (name, kind, colour, _, cx, cy, rx, ry, _rz) in enumerate(TISSUES, start=1):
        roi, drawn, seen = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, name, "SEMIAUTOMATIC"
        roi.ReferencedFrameOfReferenceUID = common["FrameOfReferenceUID"]
        drawn.ReferencedROINumber, drawn.ROIDisplayColor = number, list(colour)
        outline = Dataset()
        outline.ContourGeometricType = "CLOSED_PLANAR"
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        points = np.stack([cx + rx * np.cos(angles), cy + ry * np.sin(angles), 0 * angles], axis=1)
        outline.NumberOfContourPoints = len(points)
        outline.ContourData = [round(float(v), 2) for v in points.ravel()]
        drawn.ContourSequence = Sequence([outline] * 8)
        seen.ObservationNumber, seen.ReferencedROINumber = number, number
        seen.RTROIInterpretedType, seen.ROIInterpreter = kind, ""
        rois.append(roi)
        contours.append(drawn)
        observed.append(seen)
    made.StructureSetROISequence = Sequence(rois)
    made.ROIContourSequence = Sequence(contours)
    made.RTROIObservationsSequence = Sequence(observed)
    return made


def _plan(common):
    made = build("RTPLAN", **common, SeriesDescription="Plan", SeriesNumber=3)
    made.RTPlanLabel, made.RTPlanName, made.RTPlanDate = "THORAX A", "Thorax VMAT", made.StudyDate
    made.PlanIntent, made.ApprovalStatus = "CURATIVE", "APPROVED"
    dose, group = Dataset(), Dataset()
    dose.DoseReferenceNumber, dose.DoseReferenceStructureType = 1, "VOLUME"
    dose.DoseReferenceType, dose.TargetPrescriptionDose = "TARGET", 60
    dose.DoseReferenceDescription = "PTV"
    made.DoseReferenceSequence = Sequence([dose])
    beams, references = [], []
    for number, (gantry, units) in enumerate([(181, 312.4), (179, 298.1)], start=1):
        beam, first, last, reference = Dataset(), Dataset(), Dataset(), Dataset()
        beam.BeamNumber, beam.BeamName, beam.BeamType = number, f"Arc {number}", "DYNAMIC"
        beam.RadiationType, beam.TreatmentMachineName = "PHOTON", "LINAC2"
        first.ControlPointIndex, first.NominalBeamEnergy, first.GantryAngle = 0, 6, gantry
        first.BeamLimitingDeviceAngle, first.PatientSupportAngle = 15 * number, 0
        last.ControlPointIndex, last.GantryAngle = 1, 360 - gantry
        beam.ControlPointSequence = Sequence([first, last])
        reference.ReferencedBeamNumber, reference.BeamMeterset = number, units
        beams.append(beam)
        references.append(reference)
    group.FractionGroupNumber, group.NumberOfFractionsPlanned = 1, 30
    group.NumberOfBeams, group.NumberOfBrachyApplicationSetups = len(beams), 0
    group.ReferencedBeamSequence = Sequence(references)
    made.FractionGroupSequence, made.BeamSequence = Sequence([group]), Sequence(beams)
    return made


def _dose(slices, common):
    made = build("RTDOSE", **common, SeriesDescription="Dose", SeriesNumber=4)
    step = EDGE * SPACING / DOSE_EDGE
    axis = (np.arange(DOSE_EDGE) - DOSE_EDGE / 2) * step
    x, y = np.meshgrid(axis, axis)
    frames = []
    for number in range(slices):
        z = (number - slices / 2) * THICKNESS
        reach = ((x + 62) / 42) ** 2 + ((y - 6) / 38) ** 2 + (z / 40) ** 2
        frames.append(60 * np.exp(-(reach**1.6)) + 9 * np.exp(-((y / 90) ** 2)))
    made.Rows = made.Columns = DOSE_EDGE
    made.NumberOfFrames = slices
    made.PixelSpacing = [step, step]
    made.ImagePositionPatient = [-EDGE, -EDGE, -slices / 2 * THICKNESS]
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.GridFrameOffsetVector = [n * THICKNESS for n in range(slices)]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    made.DoseUnits, made.DoseType, made.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    made.DoseGridScaling = 0.002
    made.PixelData = (np.array(frames) / 0.002).astype("<u2").tobytes()
    return made
