"""Generated CT series for the benchmarks: real sizes, random pixels."""

import random
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def write_series(folder: Path, *, objects: int, side: int, seed: int = 7) -> Path:
    """Write one series of CT images, `side` x `side` 16-bit pixels each, and return `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = random.Random(seed)
    study, series = generate_uid(), generate_uid()
    for number in range(1, objects + 1):
        data = image(study, series, number, side)
        data.PixelData = pixels.randbytes(side * side * 2)
        data.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)
    return folder


def image(study: str, series: str, number: int, side: int) -> Dataset:
    """Return a CT image without pixels."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = generate_uid()
    data.StudyDate = data.SeriesDate = data.ContentDate = "20260102"
    data.StudyTime = data.SeriesTime = data.ContentTime = "101500"
    data.AccessionNumber = "A1"
    data.Modality = "CT"
    data.Manufacturer = "DRAW"
    data.StudyDescription = "Thorax"
    data.SeriesDescription = "Thorax 3.0"
    data.ReferringPhysicianName = "Reed^Walter"
    data.PatientName = "Bench^Mark"
    data.PatientID = "PID0000001"
    data.PatientBirthDate = "19600101"
    data.PatientSex = "O"
    data.StudyInstanceUID = study
    data.SeriesInstanceUID = series
    data.StudyID = "1"
    data.SeriesNumber = 1
    data.InstanceNumber = number
    data.FrameOfReferenceUID = series
    data.ImagePositionPatient = [0, 0, number]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.SliceThickness = "3.0"
    data.PixelSpacing = [0.9, 0.9]
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.Rows = data.Columns = side
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit = 15
    data.PixelRepresentation = 0
    data.RescaleIntercept, data.RescaleSlope = -1024, 1
    return data
