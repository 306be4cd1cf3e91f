"""Metadata of hostile, damaged and very long files; tests/property has those of real ones."""

import json
import os
import random
import time
import tracemalloc

import pytest

from draw_shared.dicom.encoding.part10 import FileMeta
from draw_shared.dicom.encoding.uids import (
    DEFLATED_LITTLE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
)
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.dicom.web import element_texts, json_model, object_json
from draw_shared.dicom.web.json_model import SeriesMetadata, read_metadata
from draw_shared.dicom.web.opened_file import OpenedFile
from support.elements import (
    ITEM,
    ITEM_END,
    SECONDARY_CAPTURE,
    SEQUENCE_END,
    UNDEFINED,
    element,
    encapsulated,
    item,
    mark,
    sequence,
    write,
)

PIXEL_DATA = 0x7FE00010
GIB = 1024**3
SECONDS = 5.0
SYNTAXES = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED_LITTLE)
HEAD = element(0x00080005, "CS", "ISO_IR 192") + element(0x00080060, "CS", "CT")


def uri(path):
    return f"bulk/{path}"


@pytest.fixture
def read(tmp_path):
    """Return a function that reads the metadata of a data set, and checks that they are JSON."""

    def run(body, syntax=EXPLICIT_LITTLE, reader=read_metadata):
        descriptor = os.open(write(tmp_path / "one.dcm", body, syntax), os.O_RDONLY)
        try:
            metadata = reader(descriptor, uri)
            for bulk in metadata.bulk:
                stored = OpenedFile.open(descriptor)
                assert len(stored.read(bulk.position, bulk.length)) == bulk.length
        finally:
            os.close(descriptor)
        return metadata, json.loads(metadata.document, parse_constant=pytest.fail)

    return run


def test_bulk_values_have_paths_and_positions(tmp_path, read):
    long = bytes(range(256)) * 5
    body = (
        HEAD
        + sequence(
            0x00081140,
            [
                element(0x00081150, "UI", "1.2"),
                sequence(0x00400555, [element(0x00421011, "OB", long)], delimited=True),
            ],
        )
        + element(0x00189810, "US", b"\1\0")
        + element(0x00420011, "OB", long[:1024])
        + element(PIXEL_DATA, "OW", b"\1\2")
    )
    metadata, found = read(body)
    assert found["00420011"]["InlineBinary"]
    assert found["7FE00010"] == {"vr": "OW", "BulkDataURI": "bulk/7FE00010"}
    raw = (tmp_path / "one.dcm").read_bytes()
    assert {bulk.path: raw[bulk.position :][: bulk.length] for bulk in metadata.bulk} == {
        "00081140/1/00400555/0/00421011": long,
        "7FE00010": b"\1\2",
    }


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_encoding_says_the_same(read, syntax):
    plain = EXPLICIT_LITTLE if syntax == DEFLATED_LITTLE else syntax
    body = (
        element(0x00080005, "CS", "ISO_IR 192", plain)
        + sequence(0x00081140, [element(0x00081150, "UI", "1.2", plain)], plain, delimited=True)
        + element(0x00280103, "US", b"\1\0", plain)
        + element(0x00280106, "SS", b"\xff\xff", plain)
        + element(PIXEL_DATA, "OW", b"\1\2\3\4", plain)
    )
    metadata, found = read(body, syntax)
    assert found == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00081140": {"vr": "SQ", "Value": [{"00081150": {"vr": "UI", "Value": ["1.2"]}}]},
        "00280103": {"vr": "US", "Value": [1]},
        "00280106": {"vr": "SS", "Value": [-1]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "bulk/7FE00010"},
    }
    assert metadata.image.inflated == (syntax == DEFLATED_LITTLE)


def test_sign_is_that_of_the_nearest_data_set(read):
    inner = element(0x00280103, "US", b"\0\0", IMPLICIT_LITTLE)
    value = element(0x00280106, "US", b"\xff\xff", IMPLICIT_LITTLE)
    body = (
        sequence(0x00081140, [value, inner + value], IMPLICIT_LITTLE)
        + element(0x00280103, "US", b"\1\0", IMPLICIT_LITTLE)
        + value
        + sequence(0x00880200, [value, inner + value], IMPLICIT_LITTLE)
    )
    _, found = read(body, IMPLICIT_LITTLE)
    for tag in ("00081140", "00880200"):
        vrs = [one["00280106"]["vr"] for one in found[tag]["Value"]]
        assert vrs == ["SS", "US"], tag
    assert found["00280106"] == {"vr": "SS", "Value": [-1]}


def test_unknown_elements_are_read_as_the_dictionary_says(read):
    nested = item(element(0x00081150, "UI", "1.2", IMPLICIT_LITTLE))
    body = (
        HEAD
        + element(0x00081030, "UN", "Größe ".encode())
        + element(0x00081140, "UN", nested)
        + element(0x00090010, "LO", "GEMS_IDEN_01")
        + element(0x00091001, "UN", "name")
        + element(0x00091099, "UN", b"\1\2")
    )
    _, found = read(body)
    assert found["00081030"] == {"vr": "LO", "Value": ["Größe"]}
    assert found["00081140"]["Value"] == [{"00081150": {"vr": "UI", "Value": ["1.2"]}}]
    assert found["00091001"] == {"vr": "LO", "Value": ["name"]}
    assert found["00091099"] == {"vr": "UN", "InlineBinary": "AQI="}


def test_creator_of_one_object_is_not_that_of_another(read):
    series = SeriesMetadata()
    for creator, vr in (("GEMS_IDEN_01", "LO"), ("SOMEBODY", "UN"), ("GEMS_IDEN_01", "LO")):
        body = (
            HEAD
            + element(0x00090010, "LO", creator.ljust(12))
            + element(0x00091001, "UN", "name")
            + element(0x00091002, "LO", "same")
        )
        _, found = read(body, reader=series.read)
        assert found["00091001"]["vr"] == vr


def test_character_set_of_one_object_is_not_that_of_another(read):
    series = SeriesMetadata()
    raw = b"\xc4\xd6\xc4\xd6"
    texts = []
    for terms in ("ISO_IR 100", "ISO_IR 144", "", "ISO_IR 100"):
        body = element(0x00080005, "CS", terms) + element(0x00081030, "LO", raw)
        texts.append(read(body, reader=series.read)[1]["00081030"]["Value"][0])
    assert texts[0] == texts[3] == "ÄÖÄÖ"
    assert texts[1] == raw.decode("iso8859_5")


def test_items_have_their_own_character_set(read):
    name = element(0x00080080, "LO", b"\xc4\xd6")
    own = element(0x00080005, "CS", "ISO_IR 144") + name
    body = element(0x00080005, "CS", "ISO_IR 100") + name + sequence(0x00081140, [own, name])
    _, found = read(body)
    texts = [one["00080080"]["Value"][0] for one in found["00081140"]["Value"]]
    assert texts == [b"\xc4\xd6".decode("iso8859_5"), "ÄÖ"]


def test_cut_file_keeps_what_is_whole(read):
    whole = HEAD + element(0x00100010, "PN", "A^B ")
    for cut in (
        element(0x00100020, "LO", "P1", length=400),
        element(PIXEL_DATA, "OW", b"\1\2", length=4 * GIB - 2),
        sequence(0x00100101, [element(0x00080100, "SH", "x ")], delimited=True)[:-17],
        encapsulated([b"\1\2\3\4"])[:-10],
        element(0x00080100, "SH", "ab")[:5],
    ):
        metadata, found = read(whole + cut)
        # Less than an element is nothing that was lost.
        assert metadata.complete == (len(cut) < 8)
        assert found.keys() == {"00080005", "00080060", "00100010"}
        assert found["00100010"]["Value"] == [{"Alphabetic": "A^B"}]


@pytest.mark.parametrize("length", [0xFFFFFFFE, 0x7FFFFFFF, 65536, 9])
def test_lying_lengths_of_items_end_what_is_read(read, length):
    body = HEAD + element(0x00081140, "SQ", mark(ITEM, length) + bytes(8), length=16)
    metadata, found = read(body + element(0x00100020, "LO", "P1"))
    assert not metadata.complete
    assert found.keys() == {"00080005", "00080060"}


@pytest.mark.parametrize("order", [0, 1])
def test_bulk_values_of_what_is_cut_are_not_told(read, order):
    long = bytes(2000)
    inner = sequence(0x00420012, [element(0x00420011, "OB", long)])
    # Another order than ascending is for the other reader.
    parts = [HEAD, element(0x00081140, "SQ", b"")][:: -1 if order else 1]
    for syntax, cut in (
        (EXPLICIT_LITTLE, inner[:-1]),
        (EXPLICIT_LITTLE, element(0x00420011, "OB", long)[:-1]),
        (DEFLATED_LITTLE, element(0x00420011, "OB", long)[:-1]),
        (DEFLATED_LITTLE, inner[:-1]),
    ):
        metadata, found = read(b"".join(parts) + cut, syntax)
        assert not metadata.complete
        assert metadata.bulk == ()
        assert found.keys() == {"00080005", "00080060", "00081140"}


def test_second_pixel_data_are_not_told(read):
    first, second = (element(PIXEL_DATA, "OW", bytes(size)) for size in (10, 20))
    for pixels in (first + second, encapsulated([b"ab"]) + encapsulated([b"cdef"])):
        metadata, found = read(HEAD + pixels)
        assert len(metadata.bulk) == 1
        assert len(found) == 3
        assert metadata.image.places[PIXEL_DATA][1:] == metadata.bulk[0][3:5]


def test_damaged_beginning_is_refused(read, tmp_path):
    with pytest.raises(Undecodable):
        read(b"\x7f" * 64)
    path = tmp_path / "none"
    path.write_bytes(b"no DICOM")
    descriptor = os.open(path, os.O_RDONLY)
    with pytest.raises(Undecodable):
        read_metadata(descriptor, uri)
    os.close(descriptor)


def test_first_of_several_elements_counts_and_order_is_restored(read):
    body = (
        element(0x00100020, "LO", "P1")
        + element(0x00080060, "CS", "CT")
        + element(0x00100020, "LO", "P2")
    )
    _, found = read(body)
    assert list(found) == ["00080060", "00100020"]
    assert found["00100020"]["Value"] == ["P1"]


def test_group_lengths_and_foreign_groups_are_left_out(read):
    body = (
        element(0x00020010, "UI", "1.2")
        + element(0x00080000, "UL", b"\1\0\0\0")
        + HEAD
        + element(0x00100000, "UL", b"\1\0\0\0")
    )
    assert read(body)[1].keys() == {"00080005", "00080060"}


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG])
def test_a_hundred_thousand_elements_take_seconds_at_most(read, syntax):
    body = b"".join(
        element(0x00090000 + (n // 60_000 << 17) + 0x1000 + n % 60_000, "LO", "x ", syntax)
        for n in range(100_000)
    )
    begin = time.process_time()
    metadata, found = read(body, syntax)
    assert time.process_time() - begin < SECONDS
    assert metadata.complete
    assert len(found) == 100_000


def test_too_many_elements_are_refused(read, monkeypatch):
    monkeypatch.setattr(object_json, "MAX_ELEMENTS", 1000)
    for delimited in (True, False):
        body = HEAD + sequence(0x00081140, [b""] * 2000, delimited=delimited)
        with pytest.raises(Undecodable, match="too many elements"):
            read(body)


def test_too_long_documents_are_refused(read, monkeypatch):
    monkeypatch.setattr(object_json, "MAX_JSON_BYTES", 10_000)
    text = element(0x00081030, "LO", "x" * 9000)
    read(HEAD + text)
    for body in (
        HEAD + text + element(0x00104000, "LT", "y" * 2000),
        HEAD + sequence(0x00081140, [text, text]),
        element(0x00100020, "LO", "P") + HEAD + sequence(0x00081140, [text, text]),
    ):
        with pytest.raises(Undecodable, match="too long"):
            read(body)


def test_too_long_series_are_refused(read, monkeypatch):
    series = SeriesMetadata()
    monkeypatch.setattr(json_model, "MAX_SERIES_BYTES", 150)
    read(HEAD, reader=series.add)
    with pytest.raises(Undecodable, match="too long"):
        read(HEAD, reader=series.add)


@pytest.mark.parametrize("depth", [30, 100, 5000])
@pytest.mark.parametrize("delimited", [True, False])
def test_deep_nesting_neither_recurses_nor_takes_long(read, depth, delimited):
    body = element(0x00080060, "CS", "CT")
    if delimited:
        begin = element(0x00081140, "SQ", b"", length=UNDEFINED) + mark(ITEM, UNDEFINED)
        body = begin * depth + body + (mark(ITEM_END) + mark(SEQUENCE_END)) * depth
    else:
        for _ in range(depth):
            body = sequence(0x00081140, [body])
    begin = time.process_time()
    metadata, found = read(HEAD + body)
    assert time.process_time() - begin < SECONDS
    assert metadata.complete == (depth <= 100)
    for _ in range(depth if depth <= 100 else 0):
        found = found["00081140"]["Value"][0]
    assert found["00080060"]["Value"] == ["CT"]


def test_unknown_sequences_within_each_other_take_no_long_time(read):
    body = element(0x00080060, "CS", "CT", IMPLICIT_LITTLE)
    for _ in range(5000):
        body = element(0x00081140, "UN", item(body), IMPLICIT_LITTLE)
    begin = time.process_time()
    read(HEAD + element(0x00081140, "UN", item(body)))
    many = b"".join(
        element(tag, "UN", mark(ITEM, 0) * 200) for tag in range(0x00081100, 0x00081200)
    )
    read(HEAD + many)
    assert time.process_time() - begin < SECONDS


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
def test_gigabytes_of_pixels_are_stepped_over(tmp_path, syntax):
    path = tmp_path / "long.dcm"
    length = 4 * GIB - 1024
    head = FileMeta(SECONDARY_CAPTURE, "1.2.3.4", syntax).encode() + element(
        0x00080060, "CS", "CT", syntax
    )
    header = element(PIXEL_DATA, "OW", b"", syntax, length=length)
    with path.open("wb") as file:
        file.write(head + header)
        file.seek(length, os.SEEK_CUR)
        file.write(element(0xFFFCFFFC, "OB", b"\0\0", syntax))
    descriptor = os.open(path, os.O_RDONLY)
    tracemalloc.start()
    begin = time.process_time()
    try:
        metadata = read_metadata(descriptor, uri)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        os.close(descriptor)
    assert time.process_time() - begin < 1
    assert peak < 4 * 1024 * 1024
    found = json.loads(metadata.document)
    assert found.keys() == {"00080060", "7FE00010", "FFFCFFFC"}
    assert metadata.bulk[0][2:4] == (len(head) + len(header), length)


def test_values_across_the_blocks_that_are_read(read):
    chance = random.Random(5)
    for _ in range(20):
        texts = [chance.randbytes(chance.randrange(0, 45_000)).hex() for _ in range(6)]
        items = [element(0x00104000, "UT", text) for text in texts]
        body = (
            HEAD
            + b"".join(element(0x00400000 + n, "UT", text) for n, text in enumerate(texts, 1))
            + sequence(0x00401001, items, delimited=chance.random() < 0.5)
            + element(0x00420011, "OB", chance.randbytes(chance.randrange(200_000)))
            + sequence(0x00880200, items[:2], delimited=True)
        )
        metadata, found = read(body)
        assert metadata.complete
        assert [found[f"0040{n:04X}"].get("Value", [""])[0] for n in range(1, 7)] == texts
        for tag, count in (("00401001", 6), ("00880200", 2)):
            held = [one["00104000"].get("Value", [""])[0] for one in found[tag]["Value"]]
            assert held == texts[:count]


def test_what_is_remembered_is_bounded(read, monkeypatch):
    monkeypatch.setattr(element_texts, "MAX_REMEMBERED", 50)
    series = SeriesMetadata()
    for number in range(20):
        same = element(0x00080060, "CS", "CT") + element(0x00080070, "LO", "DRAW")
        others = b"".join(element(0x00400000 + n, "LO", f"{number}-{n}") for n in range(1, 30))
        _, found = read(same + others, reader=series.add)
        assert found["00400005"]["Value"] == [f"{number}-5"]
        assert found["00080070"]["Value"] == ["DRAW"]
    assert 0 < len(series._texts) <= 50
    assert len(json.loads(series.document())) == 20


def test_element_after_a_run_decides_its_form_again(read):
    # An empty element at the end of what is remembered, once before a group length.
    series = SeriesMetadata()
    run = b"".join(element(tag, "LO", "x ") for tag in (0x00080070, 0x00080080))
    empty = element(0x00080090, "PN", b"")
    for after in (element(0x00081030, "LO", "y "), element(0x00100000, "UL", b"\4\0\0\0")):
        body = element(0x00080060, "CS", "CT") + run + empty + after
        for _ in range(3):
            quick, _ = read(body, reader=series.read)
            alone, _ = read(body)
            assert quick.document == alone.document
