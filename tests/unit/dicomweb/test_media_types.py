"""What clients accept, in the ways in which they write it (PS3.18 8.7)."""

import pytest

from draw_dicomweb.services.media_types import (
    ANY,
    DICOM,
    DICOM_JSON,
    DICOM_XML,
    JSON,
    Choice,
    Offer,
    choose,
    describe,
    read_accept,
)

EXPLICIT, J2K = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"
OBJECTS = (
    Offer(DICOM, multipart=True, transfer_syntaxes=(EXPLICIT, J2K, ANY)),
    Offer(DICOM, multipart=False, transfer_syntaxes=(EXPLICIT, J2K, ANY)),
)
TEXTS = (Offer(DICOM_JSON, False), Offer(JSON, False), Offer(DICOM_XML, True))


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ('multipart/related; type="application/dicom"', Choice(DICOM, True, EXPLICIT)),
        ("multipart/related; type=application/dicom", Choice(DICOM, True, EXPLICIT)),
        ("multipart/related;type=application/dicom", Choice(DICOM, True, EXPLICIT)),
        ("multipart/related", Choice(DICOM, True, EXPLICIT)),
        ('Multipart/Related; Type="Application/DICOM"', Choice(DICOM, True, EXPLICIT)),
        (
            'multipart/related; type="application/dicom"; transfer-syntax=*',
            Choice(DICOM, True, ANY),
        ),
        (
            f'multipart/related; transfer-syntax="{J2K}"; type="application/dicom"',
            Choice(DICOM, True, J2K),
        ),
        (f"application/dicom; transfer-syntax={J2K}", Choice(DICOM, False, J2K)),
        ("application/dicom", Choice(DICOM, False, EXPLICIT)),
        ("*/*", Choice(DICOM, True, EXPLICIT)),
        ("text/html, application/*;q=0.8", Choice(DICOM, False, EXPLICIT)),
        ("", Choice(DICOM, True, EXPLICIT)),
        (
            (
                "multipart/related; type=application/dicom; q=0.1, application/dicom;"
                f" transfer-syntax={J2K}"
            ),
            Choice(DICOM, False, J2K),
        ),
        ("*/*, application/dicom;q=0", Choice(DICOM, True, EXPLICIT)),
        ("text/html", None),
        ("image/jpeg, multipart/related; type=image/jpeg", None),
        ("multipart/related; type=application/dicom; transfer-syntax=1.2.3", None),
        ("application/dicom;q=0", None),
        (",,;;=,", Choice(DICOM, True, EXPLICIT)),
    ],
)
def test_objects(accept, chosen):
    assert choose(read_accept([accept]), OBJECTS) == chosen


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("application/json", Choice(JSON, False)),
        ("application/dicom+json", Choice(DICOM_JSON, False)),
        ("application/json, application/dicom+json", Choice(DICOM_JSON, False)),
        ("application/json;q=0.9, application/dicom+json;q=0.1", Choice(JSON, False)),
        ('multipart/related; type="application/dicom+xml"', Choice(DICOM_XML, True)),
        ("*/*;q=0.1, multipart/related; type=application/dicom+xml", Choice(DICOM_XML, True)),
        ("application/dicom+xml", None),
    ],
)
def test_texts(accept, chosen):
    assert choose(read_accept([accept]), TEXTS) == chosen


def test_several_headers_count_like_one():
    wishes = read_accept(["text/html", "application/json;q=0.5"])
    assert [wish.type for wish in wishes] == ["text/html", "application/json"]
    assert choose(wishes, TEXTS) == Choice(JSON, False)


def test_a_quoted_text_may_hold_what_separates():
    assert read_accept(['multipart/related; type="a/b;,c"; q=0.25']) == read_accept(
        ['multipart/related;q=0.25;type="a/b;,c"']
    )


def test_a_header_of_a_megabyte_takes_no_time():
    wishes = read_accept(["a/b;" * 250_000 + ",application/json"])
    assert choose(wishes, TEXTS) is None


def test_what_can_be_had_is_said_as_it_is_asked_for():
    for offers in (OBJECTS, TEXTS):
        for words in describe(offers):
            assert choose(read_accept([words]), offers) is not None, words
