"""Data sets that break the rules of PS3.5 in other transfer syntaxes: the same values, well-formed.

The transcoder's output is read by `support.data_set_tree`, which knows no flaws. What the
scanner makes of the same kinds is covered by tests/unit/shared/storage/test_identification.py.
"""

import zlib

import pytest

from draw_shared.dicom.encoding.part10 import FileMeta
from draw_shared.dicom.encoding.uids import (
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
)
from draw_shared.dicom.transcoding.decoding import Decoder, DecodingLimits
from draw_shared.dicom.transcoding.source import Untranscodable
from draw_shared.dicom.transcoding.transcoder import Transcoder
from support import odd_data_sets as odd
from support.data_set_tree import tree

SYNTAXES = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED_LITTLE)


def _values(raw, syntax):
    return {at: value for at, (_, value) in tree(raw, syntax).items()}


def _written(path, data, syntax):
    # Not deflated here: what should have been and was not is a kind.
    path.write_bytes(FileMeta(odd.CT, "1.2.3.4", syntax).encode() + data)
    return path


@pytest.fixture
def transcoder(tmp_path):
    return Transcoder(Decoder(DecodingLimits(), tmp_path))


@pytest.mark.parametrize("kind", [*odd.KINDS, *odd.BOUNDED], ids=lambda kind: kind.title)
def test_every_value_comes_back(tmp_path, transcoder, kind):
    made = odd.new_object()
    path = _written(tmp_path / "object.dcm", kind.make(made), kind.syntax)
    for target in SYNTAXES:
        if kind.untranscodable:
            with pytest.raises(Untranscodable, match=kind.untranscodable):
                list(transcoder.chunks(path, target))
            continue
        raw = b"".join(transcoder.chunks(path, target))
        if target == DEFLATED_LITTLE:
            raw = zlib.decompress(raw, -zlib.MAX_WBITS)
        assert _values(raw, target) == _values(kind.even(made), EXPLICIT_LITTLE), target
