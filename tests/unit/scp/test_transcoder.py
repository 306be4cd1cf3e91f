"""Stored objects in other transfer syntaxes: the same pixels, the same UIDs.

Not covered: codecs of which pydicom has no test file.
"""

import warnings

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import UID

from draw_scp.adapters.transcoder import Untranscodable, transcoded
from draw_shared.dicom.uids import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from support import datasets

TARGETS = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG)
FILES = (
    "CT_small.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_rle_2frame.dcm",
    "JPEG2000.dcm",
    "JPEGLSNearLossless_16.dcm",
    "SC_rgb_small_odd_jpeg.dcm",
    "image_dfl.dcm",
    "rtplan.dcm",
)


@pytest.fixture(autouse=True)
def quiet():
    # pydicom warns about what is odd in its own test files.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read(raw, syntax):
    file = pydicom.filebase.DicomBytesIO(raw)
    target = UID(syntax)
    held = pydicom.filereader.read_dataset(file, target.is_implicit_VR, target.is_little_endian)
    held.file_meta = pydicom.dataset.FileMetaDataset()
    held.file_meta.TransferSyntaxUID = target
    return held


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("target", TARGETS)
def test_identity_and_pixels_stay(name, target):
    path = get_testdata_file(name)
    before = pydicom.dcmread(path)
    after = _read(transcoded(path, target), target)
    assert after.SOPInstanceUID == before.SOPInstanceUID
    assert after.get("PatientName") == before.get("PatientName")
    if "PixelData" in before:
        assert np.array_equal(after.pixel_array, before.pixel_array)


def test_there_and_back_between_byte_orders(tmp_path):
    made = datasets.build("CT", size_bytes=4000)
    path = datasets.write(made, tmp_path / "little.dcm")
    big = _read(transcoded(path, EXPLICIT_BIG), EXPLICIT_BIG)
    assert np.array_equal(big.pixel_array, made.pixel_array)
    big.save_as(tmp_path / "big.dcm", enforce_file_format=True)
    little = transcoded(tmp_path / "big.dcm", EXPLICIT_LITTLE)
    assert little == datasets.encoded_data_set(path)


def test_words_of_other_word_have_16_bits():
    # PS3.5 6.2, also where a pixel has 32 (as DCMTK's dcmconv does it).
    path = get_testdata_file("rtdose.dcm")
    before = pydicom.dcmread(path).PixelData
    big = _read(transcoded(path, EXPLICIT_BIG), EXPLICIT_BIG).PixelData
    assert np.array_equal(np.frombuffer(big, ">u2"), np.frombuffer(before, "<u2"))
    for target in (EXPLICIT_LITTLE, IMPLICIT_LITTLE):
        assert _read(transcoded(path, target), target).PixelData == before


def test_damaged_pixels_are_no_answer(tmp_path):
    held = pydicom.dcmread(get_testdata_file("MR_small_jp2klossless.dcm"))
    held.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51 not a codestream"])
    held["PixelData"].is_undefined_length = True
    held.save_as(tmp_path / "damaged.dcm")
    with pytest.raises(Untranscodable):
        transcoded(tmp_path / "damaged.dcm", EXPLICIT_LITTLE)


def test_a_missing_file_is_said_to_be(tmp_path):
    with pytest.raises(FileNotFoundError):
        transcoded(tmp_path / "none.dcm", EXPLICIT_LITTLE)
