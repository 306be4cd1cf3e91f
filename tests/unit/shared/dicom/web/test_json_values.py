"""Values of single elements in the DICOM JSON Model."""

import json
import struct

import pytest

from draw_shared.dicom.encoding.characters import DEFAULT_REPERTOIRE, UNICODE, character_set
from draw_shared.dicom.web.json_values import encode_bulk, encode_value


def members(vr, raw, characters=UNICODE, *, big=False):
    text = b"{" + encode_value(vr.encode(), raw, characters, big=big) + b"}"
    return json.loads(text, parse_constant=pytest.fail, parse_float=str)


@pytest.mark.parametrize(
    ("vr", "raw", "values"),
    [
        ("CS", b"A\\B ", ["A", "B"]),
        ("CS", b"\\B\\", [None, "B", None]),
        ("AE", b" PACS ", ["PACS"]),
        ("LO", b"  a \\b", ["  a", "b"]),
        ("LT", b"a\\b\r\n ", ["a\\b\r\n"]),
        ("UR", b"http://x/\\y", ["http://x/\\y"]),
        ("UI", b"1.2.3\0", ["1.2.3"]),
        ("IS", b"+007\\-1\\2.0 ", [7, -1, 2]),
        ("IS", b"1A", ["1A"]),
        ("IS", b"1.5 ", ["1.5"]),
        ("DS", b"1.50\\-0\\1e-3", ["1.50", 0, "1e-3"]),
        ("DS", b"+7\\.5\\007\\1.", ["7.0", "0.5", "7.0", "1.0"]),
        ("DS", b"nan\\inf\\1e999\\0x1\\1_0", ["nan", "inf", "1e999", "0x1", "1_0"]),
        ("DS", b"9" * 402, ["9" * 402]),
        ("DS", b"1\\\\2 ", [1, None, 2]),
        ("PN", b"A^B=\xe5\xb1\xb1=c",
         [{"Alphabetic": "A^B", "Ideographic": "山", "Phonetic": "c"}]),
        ("PN", b"=\xe5\xb1\xb1", [{"Ideographic": "山"}]),
        ("PN", b"A=b=c=d", [{"Alphabetic": "A", "Ideographic": "b", "Phonetic": "c"}]),
        ("PN", b"A\\\\B", [{"Alphabetic": "A"}, None, {"Alphabetic": "B"}]),
        ("AT", struct.pack("<4H", 0x28, 0x10, 0x7FE0, 0xA), ["00280010", "7FE0000A"]),
        ("US", struct.pack("<2H", 1, 65535), [1, 65535]),
        ("SV", struct.pack("<q", -(2**63)), [-(2**63)]),
        ("FD", struct.pack("<3d", float("nan"), float("inf"), float("-inf")),
         ["NaN", "Infinity", "-Infinity"]),
        ("FL", struct.pack("<f", 0.5), ["0.5"]),
        ("LO", b'"\\\x07\x1b', ['"', "\x07�"]),
    ],
)  # fmt: skip
def test_value(vr, raw, values):
    assert members(vr, raw) == {"vr": vr, "Value": values}


@pytest.mark.parametrize("vr", ["CS", "PN", "DS", "US", "FD", "AT", "UT", "OB", "UN"])
def test_empty_value_has_only_its_vr(vr):
    assert members(vr, b"") == {"vr": vr}


@pytest.mark.parametrize("raw", [b" ", b"\0\0", b"  \0"])
def test_padding_alone_is_empty(raw):
    assert members("LO", raw) == {"vr": "LO"}


def test_numbers_of_big_endian():
    assert members("US", b"\1\2", big=True) == {"vr": "US", "Value": [0x102]}
    assert members("AT", b"\0\x28\0\x10", big=True) == {"vr": "AT", "Value": ["00280010"]}
    assert members("OW", b"\1\2\3\4", big=True) == {"vr": "OW", "InlineBinary": "AgEEAw=="}
    assert members("OB", b"\1\2", big=True) == {"vr": "OB", "InlineBinary": "AQI="}


def test_numbers_of_another_length_stay_bytes():
    assert members("US", b"\1\2\3") == {"vr": "UN", "InlineBinary": "AQID"}


def test_text_is_read_in_its_character_set():
    japanese = character_set(b"\\ISO 2022 IR 87")
    raw = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"
    found = members("PN", raw, japanese)["Value"]
    assert found == [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]
    assert members("LO", "Müller".encode("latin-1"), character_set(b"ISO_IR 100")) == {
        "vr": "LO",
        "Value": ["Müller"],
    }


def test_invalid_bytes_become_replacement_characters():
    found = members("LO", b"a\xff\xfe\x81b", UNICODE)["Value"][0]
    assert found.startswith("a")
    assert found.endswith("b")
    found.encode()
    members("CS", bytes(range(1, 256)), DEFAULT_REPERTOIRE)


def test_the_uri_of_bulk_data_is_a_json_string():
    assert json.loads(b"{" + encode_bulk(b"OW", 'a"\\b') + b"}") == {
        "vr": "OW",
        "BulkDataURI": 'a"\\b',
    }
