"""Destinations that abort at what they cannot take, as pynetdicom does at retired SOP classes."""

from contextlib import contextmanager

from pynetdicom import AE, evt

from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE
from support import datasets
from tools.processes import free_port

RETIRED_ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6"
"""A class that pynetdicom accepts in a presentation context and does not know as storage."""


@contextmanager
def pynetdicom_destination(*classes):
    """Yield port and associations of a pynetdicom SCP for these classes."""
    peer = AE("DEST")
    for sop_class in classes:
        peer.add_supported_context(sop_class, EXPLICIT_LITTLE)
    port, accepted = free_port(), []
    handlers = [(evt.EVT_C_STORE, lambda _event: 0), (evt.EVT_ACCEPTED, accepted.append)]
    server = peer.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        yield port, accepted
    finally:
        server.shutdown()


def retired_ultrasound():
    """Return an object of the class."""
    made = datasets.build("CT")
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = RETIRED_ULTRASOUND
    return made
