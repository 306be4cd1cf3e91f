"""Rows that an earlier release wrote wrongly say what their objects say, once these are read anew.

Such rows are written here by the earlier release's way to read text. Not covered: the command
and the broker in between (e2e/test_storage_care).
"""

import pytest
from pydicom.charset import convert_encodings, decode_bytes
from sqlalchemy import text

from draw_api.adapters.suspect_rows import PostgresSuspectRepository
from draw_indexer.adapters import header_reader
from support import arrivals, datasets
from support.datasets import with_bytes
from support.indexed import IndexedStorage

pytestmark = pytest.mark.integration


class TextAsBefore:
    """How text was read until queries and the index had one way to read it."""

    def __init__(self, raw):
        names = raw.decode("ascii", "replace").strip("\0 ").split("\\")
        self._encodings = convert_encodings([name.strip() for name in names])

    def read(self, raw, vr):
        try:
            return decode_bytes(raw, self._encodings, set(b"^=\\" if vr == "PN" else b"\t\n\f\r\\"))
        except (UnicodeError, LookupError):
            return raw.decode("latin-1")


@pytest.fixture(scope="module")
def own_database(postgres_url, template):
    with arrivals.shared_database(postgres_url, template) as database:
        yield database


@pytest.fixture
def archive(own_database, tmp_path):
    arrivals.empty(own_database)
    archive = IndexedStorage(tmp_path, own_database)
    yield archive
    archive.close()


@pytest.fixture
def received_before(archive, monkeypatch):
    def received_before(*objects):
        with monkeypatch.context() as earlier:
            earlier.setattr(header_reader, "character_set", TextAsBefore)
            earlier.setattr(header_reader, "distinct", lambda text, _: text)
            return archive.receive(*objects)

    return received_before


def reread(archive):
    """Have suspect rows read anew; return the SOP Instance UIDs of what was read."""
    found = []
    for events in PostgresSuspectRepository(archive.database, "admin").objects():
        assert not archive.index_events([event.to_bytes() for event in events])
        found += [event.sop_instance_uid for event in events]
    return found


def series(count, terms, **values):
    return [
        with_bytes(made, SpecificCharacterSet=terms, **values) for made in datasets.series(count)
    ]


WRONG = {
    "simplified Chinese": (b"\\ISO 2022 IR 58", b"=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1"),
    "Latin 9": (b"ISO_IR 203", b"\xbcuvre^\xa4"),
    "misspelt UTF-8": (b"iso_ir_192", "山é".encode()),
    "Latin 1 under UTF-8": (b"ISO_IR 192", b"M\xfcller"),
    "Shift JIS": (b"ISO 2022 IR 87", "山田^太郎".encode("shift_jis")),
}


LEVELS = ("PatientName", "StudyDescription", "ProtocolName", "ImageComments")


def test_wrong_text_is_mended_on_every_level(archive, received_before):
    stored = []
    for number, (terms, raw) in enumerate(WRONG.values()):
        values = dict.fromkeys(LEVELS, raw) | {"PatientID": b"P%d" % number}
        stored += received_before(*series(2, terms, **values))
    wrong = arrivals.snapshot(archive.database)
    reread(archive)
    mended = arrivals.snapshot(archive.database)
    arrivals.empty(archive.database)
    archive.index(*stored)
    assert mended == arrivals.snapshot(archive.database)
    for table in ("patients", "studies", "series", "instances"):
        assert all(map(dict.__ne__, wrong[table], mended[table])), table


def test_studies_go_to_the_patient_whom_their_objects_name(archive, received_before):
    raw = b"\xbcuvre^\xa4"
    first = received_before(*series(2, b"ISO_IR 203", PatientID=raw, PatientName=raw))
    second = received_before(*series(3, b"ISO_IR 203", PatientID=raw, PatientName=raw))
    # Of the same person, and read rightly at once.
    right = archive.receive(*series(1, b"ISO_IR 203", PatientID=raw, PatientName=raw))
    assert len(arrivals.rows(archive.database, "SELECT FROM patients")) == 2
    reread(archive)
    (patient,) = arrivals.rows(archive.database, "SELECT patient_id, study_count FROM patients")
    assert patient == {"patient_id": "Œuvre^€", "study_count": 3}
    assert not arrivals.rows(archive.database, "SELECT FROM instance_conflicts")
    mended = arrivals.snapshot(archive.database)
    arrivals.empty(archive.database)
    archive.index(*first, *second, *right)
    assert mended == arrivals.snapshot(archive.database)


@pytest.mark.parametrize(
    "left", ["attributes = '{}'", "header_damage = 'said before', attributes = attributes - 'Rows'"]
)
def test_what_a_flaw_hid_is_found(archive, received_before, left):
    (stored,) = received_before(datasets.build(Rows=7))
    with archive.database.session() as session:
        session.connection().execute(text(f"UPDATE instances SET {left}"))  # noqa: S608
        session.commit()
    assert reread(archive) == [stored.identity.sop_instance_uid]
    (image,) = arrivals.rows(archive.database, "SELECT attributes, header_damage FROM instances")
    assert (image["attributes"]["Rows"], image["header_damage"]) == ("7", "")


def test_right_rows_are_left_alone_and_read_rows_stay_as_they_are(archive, received_before):
    plain = archive.receive(*series(2, b"ISO_IR 192", PatientName="山田".encode()))
    latin = archive.receive(*series(2, b"ISO_IR 100", PatientID=b"P2", PatientName=b"M\xfcller"))
    before = arrivals.snapshot(archive.database)
    changes = arrivals.rows(archive.database, "SELECT * FROM changes")
    assert set(reread(archive)) == {latin[0].identity.sop_instance_uid}
    assert plain
    assert arrivals.snapshot(archive.database) == before
    assert arrivals.rows(archive.database, "SELECT * FROM changes") == changes
