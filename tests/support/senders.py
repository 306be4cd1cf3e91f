"""Real clients that send: pynetdicom in the test's process, DCMTK's storescu beside it."""

import subprocess
import warnings
from collections import defaultdict
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE, build_context

from support.datasets import encoded_data_set
from support.service_finder import program
from support.suite import AE_TITLE

PROPOSALS = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.57": "-xs",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}
"""storescu's option that proposes a transfer syntax."""
CONTEXTS_PER_ASSOCIATION = 128


def read(path: Path) -> pydicom.Dataset:
    """Return an object of pydicom's test data without its warnings about what is odd in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path)


def transfer_syntax(path: Path) -> str:
    """Return the transfer syntax that a file's meta group names."""
    return str(pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID)


@contextmanager
def association(port: int, contexts, *, calling="TESTER", called=AE_TITLE, **more):
    """Yield an established association with the suite."""
    client = AE(calling)
    client.acse_timeout = client.dimse_timeout = client.network_timeout = 30
    made = client.associate("127.0.0.1", port, contexts=contexts, ae_title=called, **more)
    assert made.is_established, "the association was not accepted"
    try:
        yield made
    finally:
        made.release()


def contexts_of(objects: Iterable[pydicom.Dataset]):
    """Return one presentation context for each SOP class in each transfer syntax."""
    pairs = {(str(o.SOPClassUID), str(o.file_meta.TransferSyntaxUID)) for o in objects}
    assert len(pairs) <= CONTEXTS_PER_ASSOCIATION
    return [build_context(sop_class, syntax) for sop_class, syntax in sorted(pairs)]


def send_objects(port: int, objects: list[pydicom.Dataset]) -> list[int]:
    """Send objects on one association and return the status of each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with association(port, contexts_of(objects)) as made:
            return [made.send_c_store(one).Status for one in objects]


def with_agreeing_meta(path: Path, folder: Path) -> Path:
    """Return a copy whose meta group names the SOP instance of the data set, bytes unchanged.

    Some test files have another one there, and pynetdicom sends what the meta group says.
    """
    held = read(path)
    meta = held.file_meta
    meta.MediaStorageSOPClassUID = held.SOPClassUID
    meta.MediaStorageSOPInstanceUID = held.SOPInstanceUID
    encoded = pydicom.filebase.DicomBytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.filewriter.write_file_meta_info(encoded, meta)
    copy = folder / path.name
    copy.write_bytes(bytes(128) + b"DICM" + encoded.getvalue() + encoded_data_set(path))
    return copy


def send_files(port: int, paths: list[Path]) -> dict[Path, int]:
    """Send files on one association, their data sets byte by byte as they lie on disk."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        # Else pynetdicom decodes the file and encodes it anew.
        patch.setattr("pynetdicom._config.STORE_SEND_CHUNKED_DATASET", True)
        with association(port, contexts_of(read(path) for path in paths)) as made:
            return {path: made.send_c_store(path).Status for path in paths}


def storescu(port: int, paths: Iterable[Path]) -> list[str]:
    """Send files with DCMTK, each in its own transfer syntax; return what it complains of."""
    by_option = defaultdict(list)
    for path in paths:
        by_option[PROPOSALS[transfer_syntax(path)]].append(str(path))
    complaints = []
    for option, chosen in by_option.items():
        done = subprocess.run(
            [
                program("storescu", "dcmtk"),
                "-R",
                option,
                "-aec",
                AE_TITLE,
                "127.0.0.1",
                str(port),
                *chosen,
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            complaints.append(f"{option}: {done.stderr.strip()}")
    return complaints
