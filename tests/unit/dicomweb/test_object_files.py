"""Files are read as they are stored, and closed whatever becomes of the answer."""

import os
from pathlib import Path

import pytest

from draw_dicomweb.adapters.object_files import PART_BYTES, ArchiveFiles
from draw_dicomweb.models import ArchivedObject
from draw_shared.contracts.failures import NotFound
from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE

CONTENT = os.urandom(PART_BYTES + 1)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "a.dcm").write_bytes(CONTENT)
    # What is sent as it is stored needs no transcoder.
    return ArchiveFiles(tmp_path, None)


def stored(path):
    return ArchivedObject("1.2", "1.3", "1.4", "1.5", EXPLICIT_LITTLE, path, len(CONTENT))


def open_files(path):
    # The descriptor that lists the folder is gone when it is looked at.
    places = [one for one in Path("/proc/self/fd").iterdir() if one.exists()]
    return sum(one.readlink() == path for one in places)


def test_a_file_comes_whole_and_is_closed(files, tmp_path):
    chunks = files.chunks(stored("a.dcm"), "*")
    assert open_files(tmp_path / "a.dcm") == 1
    assert b"".join(chunks) == CONTENT
    assert open_files(tmp_path / "a.dcm") == 0
    assert next(chunks, None) is None


@pytest.mark.parametrize("parts", [0, 1])
def test_an_answer_that_is_given_up_leaves_no_file_open(files, tmp_path, parts):
    chunks = files.chunks(stored("a.dcm"), EXPLICIT_LITTLE)
    for _ in range(parts):
        next(chunks)
    assert open_files(tmp_path / "a.dcm") == 1
    del chunks
    assert open_files(tmp_path / "a.dcm") == 0


@pytest.mark.parametrize("path", ["b.dcm", "/etc/passwd", "../a.dcm", "a.dcm\0"])
def test_what_is_not_below_the_storage_root_is_not_there(files, path):
    with pytest.raises(NotFound):
        files.chunks(stored(path), "*")
