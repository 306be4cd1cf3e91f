"""Bodies in parts, cut anywhere: what is read is what was written."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from draw_dicomweb.services.media_types import read_content_type
from draw_dicomweb.services.multipart_reader import (
    MAX_EPILOGUE_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_PADDING_BYTES,
    MAX_PREAMBLE_BYTES,
    Malformed,
    MultipartReader,
    PartBegun,
    PartEnded,
    SinglePartReader,
)

pytestmark = pytest.mark.security

B = "0f8e"
ONE = b"--0f8e\r\nContent-Type: application/dicom\r\n\r\nabc\r\n--0f8e--\r\n"


def read(reader, chunks):
    """Return headers and content of each part of a body that comes in these pieces."""
    found = []
    for events in itertools.chain(map(reader.feed, chunks), [reader.finish()]):
        for event in events:
            if isinstance(event, PartBegun):
                found.append([dict(event.headers), b"", False])
            elif isinstance(event, PartEnded):
                found[-1][2] = True
            else:
                assert event
                found[-1][1] += event
    assert all(ended for *_, ended in found)
    return [(headers, content) for headers, content, _ in found]


def cut(body, rng, longest):
    at, pieces = 0, []
    while at < len(body):
        step = rng.randint(1, longest)
        pieces.append(body[at : at + step])
        at += step
    return pieces


def byte_by_byte(body):
    return [body[n : n + 1] for n in range(len(body))]


def parts_of(body, boundary=B):
    whole = read(MultipartReader(boundary), [body])
    assert read(MultipartReader(boundary), byte_by_byte(body)) == whole
    return whole


BOUNDARIES = st.text("abcXYZ019'()+_,-./:=? ", min_size=1, max_size=40).filter(
    lambda text: text.strip() == text
)


@st.composite
def bodies(draw):
    """Return a boundary, parts with much that looks like it, and the body made of them."""
    boundary = draw(BOUNDARIES)
    raw = boundary.encode()
    alike = [
        b"\r\n--" + raw + b"x", b"\r\n--" + raw[:-1], b"--" + raw, b"\r\n", b"\r", b"-", b"\n--",
        b"\r\n--" + raw + b"--x", b"\r\n--" + raw + b" \rx", b"\r\n--" + raw + b"-\r\n", b"a",
        b"\r\n-", b"\0" * 300,
    ]  # fmt: skip
    contents = draw(
        st.lists(st.lists(st.sampled_from(alike) | st.binary(max_size=20), max_size=8), max_size=5)
    )
    parts = []
    for number, pieces in enumerate(contents):
        content = b"." + b"".join(pieces) + b"."
        # By chance the pieces may make a boundary line.
        if any(line in content + b"\r\n" for line in lines(raw)):
            content = content.replace(b"\r\n--", b"")
        parts.append(({"content-type": "application/dicom"} if number % 2 else {}, content))
    body = draw(st.sampled_from([b"", b"preamble\r\n", b"--x\r\n"]))
    for headers, content in parts:
        padding = draw(st.sampled_from([b"", b" ", b"\t \t"]))
        body += b"--" + raw + padding + b"\r\n"
        body += b"".join(f"{k.title()}: {v}\r\n".encode() for k, v in headers.items())
        body += b"\r\n" + content + b"\r\n"
    body += b"--" + raw + b"--" + draw(st.sampled_from([b"", b"\r\n", b" \r\nepilogue"]))
    return boundary, parts, body


def lines(raw):
    ends = (b"\r\n", b" ", b"\t", b"--\r\n", b"-- ", b"--\t")
    return [b"\r\n--" + raw + end for end in ends]


@given(bodies(), st.randoms(use_true_random=False), st.integers(1, 200))
@settings(max_examples=400, deadline=None)
def test_a_body_is_read_as_it_was_written_however_it_is_cut(body, rng, longest):
    boundary, parts, raw = body
    assert read(MultipartReader(boundary), cut(raw, rng, longest)) == parts


@given(st.binary(max_size=400), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_is_read_the_same_however_it_is_cut(noise, rng):
    raw = ONE[: rng.randint(0, len(ONE))] + noise + ONE[rng.randint(0, len(ONE)) :]

    def outcome(pieces):
        try:
            return read(MultipartReader(B), pieces)
        except Malformed as error:
            return str(error)

    assert outcome(cut(raw, rng, 7)) == outcome([raw])


def test_large_parts_come_in_pieces_and_little_is_held():
    rng = random.Random(5)
    content = rng.randbytes(3_000_000)
    body = b"--0f8e\r\n\r\n" + content + b"\r\n--0f8e--"
    reader = MultipartReader(B)
    got = b""
    for chunk in cut(body, rng, 100_000):
        got += b"".join(e for e in reader.feed(chunk) if isinstance(e, bytes))
        assert len(reader._held) < 100
    assert [type(e) for e in reader.finish()] == [PartEnded]
    assert got == content


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (b"--0f8e--", []),
        (b"--0f8e--\r\n", []),
        (b"\r\n--0f8e--", []),
        (b"--0f8e\r\n\r\n\r\n--0f8e--", [({}, b"")]),
        (b"--0f8e\r\n\r\n--0f8e--", [({}, b"")]),
        (b"--0f8e\r\nA: b\r\n\r\n--0f8e--", [({"a": "b"}, b"")]),
        (b"--0f8e\r\nA:b\r\n c\r\nA: d\r\n\r\nx\r\n--0f8e--", [({"a": "b c"}, b"x")]),
        (b"--0f8e\r\nA: \xe4\r\n\r\nx\r\n--0f8e--", [({"a": "ä"}, b"x")]),
        (
            b"--0f8e\r\n\r\nx\r\n--0f8e\r\n\r\n\r\ny\r\n\r\n--0f8e--",
            [({}, b"x"), ({}, b"\r\ny\r\n")],
        ),
        (b"--0f8e\r\n\r\nx\n--0f8e--\n\r\n--0f8e--", [({}, b"x\n--0f8e--\n")]),
        (b"--0f8e\r\n\r\n\r\n--0f8e--y\r\n--0f8e--", [({}, b"\r\n--0f8e--y")]),
        (b"--0f8ex\r\n--0f8e\r\n\r\nx\r\n--0f8e--", [({}, b"x")]),
        (
            ONE + b"--0f8e\r\n\r\nnot a part\r\n--0f8e--",
            [({"content-type": "application/dicom"}, b"abc")],
        ),
    ],
)
def test_odd_bodies_are_read(body, parts):
    assert parts_of(body) == parts


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"DICM" * 100,
        b"--0f8e",
        b"--0f8e\r\n",
        b"--0f8e\r\n\r\nabc",
        b"--0f8e\r\n\r\nabc\r\n--0f8e",
        b"--0f8e\r\n\r\nabc\r\n--0f8e\r\n",
        b"--0f8e\r\n\r\nabc\r\n--0f8e-",
        b"--0f8e\r\n\r\nabc\n--0f8e--\n",
        b"--0f8e\r\nA: b",
        b"--0f8e\r\nnothing\r\n\r\nx\r\n--0f8e--",
        b"--0f8e\r\n: x\r\n\r\nx\r\n--0f8e--",
        b"--0f8e\r\nA: \0\r\n\r\nx\r\n--0f8e--",
        b"--0f8e\r\nA: ..\rB: c\r\n\r\nx\r\n--0f8e--",
        b"--0f8e\r\nA: ..\nB: c\r\n\r\nx\r\n--0f8e--",
        b"--0f8e\r\n A: folded before anything\r\n\r\nx\r\n--0f8e--",
        b"--0f8e\r\nA: " + b"x" * MAX_HEADER_BYTES + b"\r\n\r\nx\r\n--0f8e--",
        b"--0f8e\r\n" + b"A: b\r\n" * (MAX_HEADERS + 1) + b"\r\nx\r\n--0f8e--",
        b"x" * (MAX_PREAMBLE_BYTES + 100),
        b"--0f8e" + b" " * (MAX_PADDING_BYTES + 1) + b"\r\n\r\nx",
    ],
)
def test_bodies_that_are_none_in_parts_are_refused_however_they_are_cut(body):
    for pieces in ([body], byte_by_byte(body)):
        with pytest.raises(Malformed):
            read(MultipartReader(B), pieces)


def test_a_preamble_without_end_is_not_held():
    reader = MultipartReader(B)
    pieces = (b"\r\n--0f8" for _ in range(MAX_PREAMBLE_BYTES))
    with pytest.raises(Malformed):
        read(reader, pieces)
    assert len(reader._held) < 100
    assert next(pieces)


def test_an_epilogue_without_end_need_not_be_read():
    reader = MultipartReader(B)
    assert len(list(reader.feed(ONE))) == 3
    assert not reader.ended
    assert not list(reader.feed(b"x" * MAX_EPILOGUE_BYTES))
    assert reader.ended
    assert not reader._held


@pytest.mark.parametrize("boundary", ["", " a", "a ", "a\0", "a\r\nb", "ä", "a" * 201])
def test_what_can_be_no_boundary_is_refused(boundary):
    with pytest.raises(Malformed):
        MultipartReader(boundary)


def test_a_single_part_is_the_whole_body():
    assert read(SinglePartReader(), [b"a", b"", b"bc"]) == [({}, b"abc")]
    assert read(SinglePartReader(), []) == []


@pytest.mark.parametrize(
    ("header", "kind", "parameters"),
    [
        (
            'multipart/related; type="application/dicom"; boundary="a b:c"',
            "multipart/related",
            {"type": "application/dicom", "boundary": "a b:c"},
        ),
        (
            "Multipart/Related;boundary=--=_x;TYPE=application/dicom",
            "multipart/related",
            {"type": "application/dicom", "boundary": "--=_x"},
        ),
        (r'x/y; boundary="a\"b"', "x/y", {"boundary": 'a"b'}),
        ("application/dicom", "application/dicom", {}),
        ("", "", {}),
        (";;", "", {}),
    ],
)
def test_content_types_are_read_with_and_without_quotes(header, kind, parameters):
    assert read_content_type(header) == (kind, parameters)
