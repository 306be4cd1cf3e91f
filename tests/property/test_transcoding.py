"""A change of transfer syntax changes no value: every byte before and after (PS3.5 A).

Read by `support.data_set_tree`, not by the transcoder. Values of encapsulated pixel data are
compared in tests/unit/shared/dicom/transcoding.
"""

import itertools
import struct
import zlib

import pytest
from hypothesis import HealthCheck, example, given, settings

from draw_shared.dicom.encoding import part10
from draw_shared.dicom.encoding.uids import (
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
)
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.dicom.transcoding.decoding import Decoder, DecodingLimits
from draw_shared.dicom.transcoding.source import Untranscodable
from draw_shared.dicom.transcoding.transcoder import Transcoder
from support import datasets
from support.data_set_tree import tree
from support.elements import write
from support.generated_data_sets import TEXT, data_sets, encoded

pytestmark = pytest.mark.property

SYNTAXES = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED_LITTLE)
OF_DECODED = {0x7FE00010, 0x00280004, 0x00280006, 0x00280008}
"""Elements that change when pixel data are decoded."""
UNDECODABLE = {"JPEG-lossy.dcm", "JPEG2000-embedded-sequence-delimiter.dcm"}
"""Files for which the decoders that we use have no answer."""


def values(raw, syntax):
    return {path: value for path, (_, value) in tree(raw, syntax).items()}


@pytest.fixture(scope="module")
def transcoder(tmp_path_factory):
    return Transcoder(Decoder(DecodingLimits(), tmp_path_factory.mktemp("room")))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("objects") / "one.dcm"


def inflated(raw, syntax):
    return zlib.decompress(raw, -zlib.MAX_WBITS) if syntax == DEFLATED_LITTLE else raw


def transcoded(transcoder, path, syntax):
    return inflated(b"".join(transcoder.chunks(path, syntax)), syntax)


@given(content=data_sets())
@example(content=[(0x00081140, ([[(0x00100010, raw)] for raw in TEXT.values()], True))])
@example(content=[(0x00080119, b"x" * 70_000)])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_value_of_a_generated_data_set_stays(transcoder, file, content):
    for source, target in itertools.permutations(SYNTAXES, 2):
        raw = encoded(content, source)
        write(file, raw, source)
        after = transcoded(transcoder, file, target)
        assert values(after, target) == values(raw, source), (source, target)


def _well_formed():
    """Yield (path, transfer syntax, values) of pydicom's own files."""
    for path in sorted(datasets.DATA.rglob("*.dcm")):
        raw = path.read_bytes()
        try:
            meta, offset = part10.decode(raw)
            source = meta.transfer_syntax_uid
            yield path, source, values(inflated(raw[offset:], source), source)
        except (Undecodable, AssertionError, struct.error):
            continue


def test_every_value_of_the_real_files_stays(transcoder):
    compared, undecodable = 0, set()
    for path, source, values_before in _well_formed():
        left_out = set() if source in SYNTAXES else OF_DECODED
        before = {at: value for at, value in values_before.items() if at[-1] not in left_out}
        for target in SYNTAXES:
            try:
                found = values(transcoded(transcoder, path, target), target)
            except Untranscodable:
                undecodable.add(path.name)
                continue
            after = {at: value for at, value in found.items() if at[-1] not in left_out}
            assert after == before, (path.name, target)
            compared += 1
    assert compared > 200
    assert undecodable == UNDECODABLE
