"""A change of transfer syntax changes no value: every byte before and after (PS3.5 A).

Read by `support.data_set_tree`, not by the transcoder. Values of encapsulated pixel data are
compared in tests/unit/shared/dicom/transcoding.
"""

import itertools
import struct
import zlib

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

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
from support.elements import element, sequence, write

pytestmark = pytest.mark.property

SYNTAXES = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED_LITTLE)
OF_DECODED = {0x7FE00010, 0x00280004, 0x00280006, 0x00280008}
"""Elements that change when pixel data are decoded."""
UNDECODABLE = {"JPEG-lossy.dcm", "JPEG2000-embedded-sequence-delimiter.dcm"}
"""Files for which the decoders that we use have no answer."""
TEXT = {
    "ISO_IR 100": "Müller^J".encode("latin-1"),
    "ISO_IR 192": "Müller^J".encode("latin-1"),
    "ISO 2022 IR 87": "山田^太郎".encode("shift_jis"),
    "\\ISO 2022 IR 58": b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
    "GB18030": "王^小东".encode("gb18030"),
}
KINDS = {
    0x00081030: "LO", 0x00081040: "LO", 0x00100010: "PN", 0x00104000: "LT", 0x00180050: "DS",
    0x00181151: "IS", 0x00280009: "AT", 0x00280103: "US", 0x00280106: "US", 0x00189087: "FD",
    0x00720066: "LO", 0x0072006C: "LT", 0x00720074: "DS", 0x00186020: "SL", 0x00186024: "UL",
    0x00182010: "OB", 0x00089215: "SQ", 0x00081140: "SQ", 0x00400275: "SQ", 0x00660016: "OF",
    0x7FE00009: "OD", 0x00720082: "SV", 0x00720083: "UV", 0x00080119: "UC", 0x00080120: "UR",
    0x0009FF01: "UN", 0x00290010: "LO", 0x00291010: "UN",
}  # fmt: skip
"""VRs by tag, as PS3.6 has them."""
VALUES = st.one_of(
    st.binary(max_size=24),
    st.sampled_from(sorted(TEXT.values())),
    st.sampled_from([b"", b"A  \0", b"   A", b"1.50 ", b" 007", b"\xff\xfe\x00\xe0", b"\1\0\0"]),
)


def data_sets(depth=2):
    """Return a strategy for lists of (tag, value or items), in ascending order."""
    tags = st.sets(st.sampled_from(sorted(KINDS)), min_size=1, max_size=8).map(sorted)

    def filled(chosen):
        inner = st.lists(data_sets(depth - 1), max_size=3) if depth else st.just([])
        return st.tuples(
            *(
                st.tuples(st.just(tag), st.tuples(inner, st.booleans()))
                if KINDS[tag] == "SQ"
                else st.tuples(st.just(tag), VALUES)
                for tag in chosen
            )
        )

    return tags.flatmap(filled)


def encoded(content, syntax):
    parts = []
    for tag, value in content:
        if KINDS[tag] == "SQ":
            items, delimited = value
            parts.append(
                sequence(tag, [encoded(one, syntax) for one in items], syntax, delimited=delimited)
            )
        else:
            parts.append(element(tag, KINDS[tag], value, syntax))
    return b"".join(parts)


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
