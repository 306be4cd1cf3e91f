"""Valid DICOM objects for tests: generated of any size, or pydicom's own files."""

import copy
import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RTDoseStorage,
    RTPlanStorage,
    RTStructureSetStorage,
    generate_uid,
)
from pynetdicom import AllStoragePresentationContexts

DATA = Path(get_testdata_file("CT_small.dcm")).parents[1]
"""The folder of the files that come with pydicom itself, without download."""

MODALITIES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "RTSTRUCT": RTStructureSetStorage,
    "RTPLAN": RTPlanStorage,
    "RTDOSE": RTDoseStorage,
}
WITH_PIXELS = frozenset({"CT", "MR", "RTDOSE"})
HEADER_BYTES = 1200
STORAGE_CLASSES = frozenset(context.abstract_syntax for context in AllStoragePresentationContexts)


def build(modality="CT", *, size_bytes=0, transfer_syntax=ExplicitVRLittleEndian, **elements):
    """Return a valid object of its own study and series unless `elements` say otherwise.

    `size_bytes` is about what the encoded object takes; `elements` are DICOM keywords.
    """
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID = MODALITIES[modality]
    made.SOPInstanceUID = generate_uid()
    made.StudyDate = made.SeriesDate = made.ContentDate = "20260102"
    made.StudyTime = made.SeriesTime = made.ContentTime = "193000"
    made.AccessionNumber = "A1"
    made.Modality = modality
    made.Manufacturer = "DRAW"
    made.ReferringPhysicianName = ""
    made.StudyDescription = "Test study"
    made.SeriesDescription = "Test series"
    made.PatientName = "Test^Patient"
    made.PatientID = "P1"
    made.PatientBirthDate = "19600102"
    made.PatientSex = "O"
    made.StudyInstanceUID = generate_uid()
    made.SeriesInstanceUID = generate_uid()
    made.StudyID = "1"
    made.SeriesNumber = 1
    made.InstanceNumber = 1
    made.FrameOfReferenceUID = generate_uid()
    if modality in WITH_PIXELS:
        _add_pixels(made, size_bytes)
    elif modality == "RTSTRUCT":
        made.StructureSetLabel = "Structures"
    else:
        made.RTPlanLabel = "Plan"
        made.RTPlanGeometry = "PATIENT"
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    made.file_meta = _meta(made, transfer_syntax)
    return made


def _add_pixels(made, size_bytes):
    words = max(16, (size_bytes - HEADER_BYTES) // 2)
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    # One long row would not fit into an unsigned short.
    made.Columns = min(words, 1024)
    made.Rows = max(1, words // made.Columns)
    made.PixelSpacing = [1, 1]
    made.ImagePositionPatient = [0, 0, 0]
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit = 15
    made.PixelRepresentation = 0
    pattern = made.SOPInstanceUID.encode()
    length = 2 * made.Rows * made.Columns
    made.PixelData = (pattern * (length // len(pattern) + 1))[:length]


def _meta(made, transfer_syntax):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax
    meta.ImplementationClassUID = "1.2.826.0.1.3680043.8.498.1"
    return meta


def series(count, modality="CT", **elements):
    """Return `count` objects of one series, numbered from 1."""
    shared = {
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
    } | elements
    return [build(modality, InstanceNumber=n + 1, **shared) for n in range(count)]


def implicit(modality="CT", **elements):
    """Return an object in Implicit VR Little Endian."""
    return build(modality, transfer_syntax=ImplicitVRLittleEndian, **elements)


def with_bytes(made, *, implicit_vr=False, **values):
    """Give elements these bytes as their values, right or wrong; return the object.

    They are written as they are in little endian, with explicit VRs unless `implicit_vr`.
    """
    correct_ambiguous_vr(made, is_little_endian=True)
    for keyword, value in values.items():
        tag, raw = Tag(keyword), value.ljust(len(value) + len(value) % 2)
        vr = dictionary_VR(tag)
        made[tag] = RawDataElement(tag, vr, len(raw), raw, 0, implicit_vr, True)
    # Else pydicom would read and write text anew.
    made.set_original_encoding(implicit_vr, True, made._character_set)
    return made


def write(made, path):
    """Write an object as a Part 10 file and return its path."""
    made.save_as(path, enforce_file_format=True)
    return path


def write_all(objects, folder) -> list[Path]:
    """Write objects into a folder, in order, and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return [write(made, folder / f"{n:05}.dcm") for n, made in enumerate(objects)]


def storable_files() -> list[Path]:
    """Return every file of pydicom's test data that can be sent as a C-STORE.

    That is: it is Part 10, whole, its meta group names a transfer syntax, it is an object of a
    storage SOP class, and it has the four identifiers an archive needs. DICOMDIRs are not.
    """
    return [path for path in sorted(DATA.rglob("*")) if path.is_file() and _storable(path)]


def _storable(path):
    if "truncated" in path.name:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            held = pydicom.dcmread(path, stop_before_pixels=True)
        except (pydicom.errors.InvalidDicomError, OSError, ValueError):
            return False
        uids = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
        meta = held.file_meta
        return (
            "TransferSyntaxUID" in meta
            and held.get("SOPClassUID") in STORAGE_CLASSES
            and all(held.get(keyword) for keyword in uids)
        )


def encoded_data_set(path: Path) -> bytes:
    """Return the data set of a Part 10 file as it lies there, without preamble and meta group."""
    raw = path.read_bytes()
    # (0002,0000) UL: the length of what follows it in the group.
    length = int.from_bytes(raw[140:144], "little")
    return raw[144 + length :]


def sop_instance_uid(path: Path) -> str:
    """Return the SOP Instance UID in the data set; the meta group may say another."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def distinct(paths) -> Iterator[Path]:
    """Yield the files without those whose SOP Instance UID came before."""
    seen = set()
    for path in paths:
        uid = sop_instance_uid(path)
        if uid not in seen:
            seen.add(uid)
            yield path


def copies(made, count):
    """Return `count` copies of an object that differ in SOP Instance UID and number only."""
    for number in itertools.islice(itertools.count(1), count):
        other = copy.deepcopy(made)
        other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        other.InstanceNumber = number
        yield other
