"""Puts objects into a real object store without a network."""

from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from draw_shared.contracts.server_config import FileNaming, StorageStructure
from draw_shared.dicom.encoding.part10 import FileMeta
from draw_shared.storage.identification import identify
from draw_shared.storage.layout import Layout
from draw_shared.storage.objects import LAYOUT_KEY, ObjectStore
from support.datasets import build

DEFAULT = Layout(StorageStructure.SERIES, FileNaming.SOP_UID)


def encoded(made):
    """Return the data set of an object as it goes over the network."""
    buffer = DicomBytesIO()
    syntax = made.file_meta.TransferSyntaxUID
    buffer.is_little_endian = syntax.is_little_endian
    buffer.is_implicit_VR = syntax.is_implicit_VR
    write_dataset(buffer, made)
    return buffer.getvalue()


def opened(root, replica="one"):
    """Return a started store; the test stops it or its process ends."""
    store = ObjectStore(root, replica)
    store.start()
    return store


def receive(store, made, layout=DEFAULT, chunk=4096, data=None):
    """Store one pydicom data set, or its bytes as given; return (what is stored, its bytes)."""
    data = encoded(made) if data is None else data
    meta = FileMeta(
        str(made.SOPClassUID),
        str(made.SOPInstanceUID),
        str(made.file_meta.TransferSyntaxUID),
        "SENDER",
        "DRAW",
        "192.0.2.7",
        "192.0.2.1",
        {
            "association": "a1",
            "replica": "one",
            LAYOUT_KEY: f"{layout.structure}/{layout.naming}",
            "originator_ae": "MOVER",
            "originator_message": 7,
        },
    )
    incoming = store.begin(meta)
    for at in range(0, len(data), chunk):
        incoming.write(memoryview(data)[at : at + chunk])
    identity = identify(incoming.head, incoming.data_bytes, meta.transfer_syntax_uid).identity
    return store.commit(incoming, identity, layout), data


def same_instance(made, **elements):
    """Return another object with the UIDs of `made`."""
    uids = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    kept = {name: made[name].value for name in uids} | {"PatientID": made.PatientID}
    return build(**{**kept, **elements})
