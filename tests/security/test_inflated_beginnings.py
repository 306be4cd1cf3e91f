"""What the receiver inflates itself is the beginning of a few deflated objects at a time.

It has to know who an object is before it answers. How much of one is inflated is bounded in
tests/unit/shared/dicom; everything beyond is inflated in processes with limits.
"""

import threading
import time
import zlib

import pytest

from draw_shared.dicom.encoding.part10 import PREAMBLE
from draw_shared.dicom.encoding.uids import DEFLATED_LITTLE, EXPLICIT_LITTLE
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.storage.identification import identify
from support.elements import element

pytestmark = pytest.mark.security

PEERS = 12
MOST_AT_ONCE = 4


@pytest.mark.parametrize(
    ("syntax", "most"), [(DEFLATED_LITTLE, MOST_AT_ONCE), (EXPLICIT_LITTLE, PEERS)]
)
def test_few_beginnings_are_inflated_at_the_same_time(syntax, most):
    body = element(0x00080060, "CS", "CT")
    if syntax == DEFLATED_LITTLE:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = deflater.compress(body) + deflater.flush()
    inside, highest, lock = set(), [0], threading.Lock()

    def head(size):
        if size == len(PREAMBLE):
            # Looked at once more when it is no data set; nothing is inflated any more.
            return body[:size]
        with lock:
            inside.add(threading.get_ident())
            highest[0] = max(highest[0], len(inside))
        # As long as others need to come in, if they may.
        until = time.monotonic() + 1
        while highest[0] < PEERS and time.monotonic() < until:
            time.sleep(0.01)
        with lock:
            inside.discard(threading.get_ident())
        return body[:size]

    def receive():
        with pytest.raises(Undecodable, match="SOP Class UID is missing"):
            identify(head, len(body), syntax)

    threads = [threading.Thread(target=receive) for _ in range(PEERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert highest[0] <= most
    assert highest[0] > 1
