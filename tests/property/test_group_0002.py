"""Whatever of group 0002 a data set carries: it is data, and nobody believes it (PS3.10 7.1).

The object is stored once, byte for byte, recovered as it was received, and read with its
patient. Not covered here: the services around it, see tests/e2e/test_odd_data_sets.py.
"""

import json
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from draw_indexer.adapters.header_reader import HeaderReader
from draw_scp.adapters.object_files import ObjectFiles
from draw_scp.models import StoredInstance
from draw_shared.dicom.encoding import part10
from draw_shared.dicom.encoding.identity import PRIVATE_INFORMATION_CREATOR
from draw_shared.dicom.encoding.part10 import FileMeta
from draw_shared.dicom.encoding.uids import (
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
)
from draw_shared.dicom.transcoding.decoding import Decoder, DecodingLimits
from draw_shared.dicom.transcoding.transcoder import Transcoder
from draw_shared.storage.identification import identify
from support import odd_data_sets as odd
from support.receptions import DEFAULT, opened

pytestmark = pytest.mark.property

SYNTAXES = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED_LITTLE, odd.JPEG)
FORGED = {"association": "forged", "received": 946684800000000, "layout": "flat/sop_uid"}
OURS = (
    (0x00020016, "AE", "FORGED"),
    (0x00020100, "UI", PRIVATE_INFORMATION_CREATOR),
)
TOLD = (json.dumps(FORGED), "[1]", "no json", "{", "")

values = st.one_of(
    st.tuples(st.just("UI"), st.sampled_from([IMPLICIT_LITTLE, EXPLICIT_BIG, "1.2.3", ""])),
    st.tuples(st.sampled_from(["AE", "SH", "LO"]), st.text("ABC 19", max_size=16)),
    st.tuples(
        st.sampled_from(["OB", "UN"]), st.binary(max_size=40).filter(lambda b: len(b) % 2 == 0)
    ),
    st.tuples(st.just("UL"), st.integers(0, 2**32 - 1)),
)
numbers = st.sampled_from([0, 1, 2, 3, 0x10, 0x12, 0x13, 0x16, 0x17, 0x18, 0x26, 0x100, 0x102])
foreign = st.one_of(
    st.dictionaries(numbers, values, min_size=1, max_size=6).map(
        lambda held: [(0x00020000 | number, *value) for number, value in sorted(held.items())]
    ),
    st.sampled_from(TOLD).map(lambda told: [*OURS, (0x00020102, "OB", told)]),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = opened(tmp_path_factory.mktemp("volume"))
    yield store
    store.stop(5)


def sent(made, leading, syntax, leading_syntax):
    """Return a data set that begins with elements of group 0002."""
    plain = EXPLICIT_LITTLE if syntax in {DEFLATED_LITTLE, odd.JPEG} else syntax
    front = b"".join(
        odd.element(tag, vr, value, leading_syntax or plain) for tag, vr, value in leading
    )
    data = front + odd.data_set(made, syntax=plain)
    if syntax == DEFLATED_LITTLE:
        deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return deflating.compress(data) + deflating.flush()
    if syntax == odd.JPEG:
        pixels = data.index(odd.header(0x7FE00010, "OW", 12))
        return data[:pixels] + odd.header(0x7FE00010, "OB", odd.UNDEFINED) + odd.FRAGMENTS
    return data


def received(store, meta, data):
    incoming = store.begin(meta)
    incoming.write(data)
    identity = identify(incoming.head, incoming.data_bytes, meta.transfer_syntax_uid).identity
    return store.commit(incoming, identity, DEFAULT)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    leading=foreign,
    syntax=st.sampled_from(SYNTAXES),
    leading_syntax=st.sampled_from([None, EXPLICIT_LITTLE, IMPLICIT_LITTLE]),
)
def test_a_leftover_file_meta_group_is_data(store, leading, syntax, leading_syntax):
    made = odd.new_object()
    data = sent(made, leading, syntax, leading_syntax)
    provenance = {"association": "a1", "replica": "one", "layout": "series/sop_uid"}
    meta = FileMeta(odd.CT, made.instance, syntax, "SENDER", "DRAW", provenance=provenance)
    first, second = received(store, meta, data), received(store, meta, data)
    assert (first.duplicate, second.duplicate) == (False, True)
    assert first.path == second.path
    path = store.resolve(first.path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]

    raw = path.read_bytes()
    found, offset = part10.decode(raw)
    assert found == first.meta
    assert raw[offset:] == data
    recovered = store.recover(first.entry, DEFAULT)
    assert recovered.meta == first.meta
    assert (recovered.content_sha256, recovered.path) == (first.content_sha256, first.path)
    instance = StoredInstance(made.instance, odd.CT, syntax, first.path)
    files = ObjectFiles(store.resolve, Transcoder(Decoder(DecodingLimits(), store.root)))
    assert bytes(files.stored(instance)) == data

    patient, study, _, image, flaws = HeaderReader().read(str(path))
    assert patient["PatientID"] == made.patient
    assert study["StudyInstanceUID"] == made.study
    assert image["Rows"] == "2"
    assert flaws
    store.release([first, second])


def test_the_forged_groups_are_among_those_that_are_tried():
    data = sent(odd.new_object(), [*OURS, (0x00020102, "OB", TOLD[0])], EXPLICIT_LITTLE, None)
    assert PRIVATE_INFORMATION_CREATOR.encode() in data
    assert b"forged" in data
