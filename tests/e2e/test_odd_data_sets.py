"""Data sets that break the rules of PS3.5: stored, indexed, marked, shown and given back.

Every kind goes over one association into the running services and comes back by C-GET.
What the scanner makes of each is covered by the unit tests; group 0002 with any content by
tests/property/test_group_0002.py.
"""

from types import SimpleNamespace

import pytest
from pydicom.dataset import Dataset
from pynetdicom import build_context, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet

from draw_shared.dicom.encoding.identity import PRIVATE_INFORMATION_CREATOR
from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from support import odd_data_sets as odd
from support import senders
from support.data_set_tree import tree
from support.raw_stores import raw_association
from support.suite import signed_in

pytestmark = pytest.mark.e2e

GET = StudyRootQueryRetrieveInformationModelGet
AT_ONCE = 40
FORGED = (
    odd.element(0x00020010, "UI", IMPLICIT_LITTLE)
    + odd.element(0x00020016, "AE", "FORGED")
    + odd.element(0x00020100, "UI", PRIVATE_INFORMATION_CREATOR)
    + odd.element(0x00020102, "OB", '{"association":"forged","received":946684800000000}')
)
BROKEN = odd.element(0x00020100, "UI", PRIVATE_INFORMATION_CREATOR) + odd.element(
    0x00020102, "OB", "no json "
)
KINDS = [
    *odd.KINDS,
    *(
        odd.Odd(title, make, None, even=make)
        for title, make in {
            "forged provenance": lambda made: FORGED + odd.data_set(made),
            "broken provenance": lambda made: BROKEN + odd.data_set(made),
        }.items()
    ),
]


def said(made, syntax=EXPLICIT_LITTLE):
    """Return an object as the association needs to know it."""
    return SimpleNamespace(
        SOPClassUID=odd.CT,
        SOPInstanceUID=made.instance,
        file_meta=SimpleNamespace(TransferSyntaxUID=syntax),
    )


@pytest.fixture(scope="module")
def sent(running_suite):
    """Every kind with its object and bytes, stored twice and indexed."""
    stored = []
    for syntax in sorted({kind.syntax for kind in KINDS}):
        with raw_association(running_suite.dicom_port, said(odd.new_object(), syntax)) as sender:
            for kind in (kind for kind in KINDS if kind.syntax == syntax):
                made = odd.new_object()
                data = kind.make(made)
                for _ in range(2):
                    assert sender.send(said(made, syntax), data=data) == 0, kind.title
                stored.append((kind, made, data))
            sender.release()
    running_suite.wait_for_rows(len(stored), "SELECT id FROM instances", 20)
    return stored


def test_each_is_stored_once_and_indexed_with_what_can_be_read(running_suite, sent):
    rows = {
        row["sop_instance_uid"]: row
        for row in running_suite.rows(
            "SELECT i.*, p.patient_id, p.name, s.study_instance_uid, s.study_date FROM instances i"
            " JOIN series r ON r.id = i.series_pk JOIN studies s ON s.id = r.study_pk"
            " JOIN patients p ON p.id = s.patient_pk"
        )
    }
    for kind, made, _ in sent:
        row = rows[made.instance]
        assert (row["patient_id"], row["name"]) == (made.patient, "Odd^Data"), kind.title
        assert row["study_instance_uid"] == made.study, kind.title
        assert row["study_date"].isoformat() == "2026-01-02", kind.title
        assert (row["instance_number"], row["attributes"]["Rows"]) == (7, "2"), kind.title
        assert (kind.flaw or "") in row["header_damage"], kind.title
        assert row["calling_ae"] == "RAW", kind.title
        path = running_suite.storage / row["path"]
        assert [file.name for file in path.parent.iterdir()] == [path.name], kind.title
    assert running_suite.rows("SELECT id FROM instance_conflicts") == []


def retrieved(port, objects, *syntaxes):
    """Return the data sets that C-GET brings by instance, and how many failed."""
    came, failed = {}, 0

    def on_store(event):
        came[event.request.AffectedSOPInstanceUID] = event.request.DataSet.getvalue()
        return 0

    contexts = [build_context(GET), *(build_context(odd.CT, syntax) for syntax in syntaxes)]
    for begin in range(0, len(objects), AT_ONCE):
        asked = Dataset()
        asked.QueryRetrieveLevel = "STUDY"
        asked.StudyInstanceUID = [made.study for made in objects[begin : begin + AT_ONCE]]
        with senders.association(
            port,
            contexts,
            ext_neg=[build_role(odd.CT, scp_role=True)],
            evt_handlers=[(evt.EVT_C_STORE, on_store)],
        ) as association:
            *_, (final, _) = association.send_c_get(asked, GET)
        assert final.Status in {0, 0xB000}
        failed += final.NumberOfFailedSuboperations
    return came, failed


def test_each_is_given_back_byte_for_byte(running_suite, sent):
    syntaxes = {kind.syntax for kind, _, _ in sent}
    objects = [made for _, made, _ in sent]
    came, failed = retrieved(running_suite.dicom_port, objects, *syntaxes)
    assert failed == 0
    for kind, made, data in sent:
        assert came[made.instance] == data, kind.title


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
def test_each_is_given_in_little_endian_with_every_value(running_suite, sent, syntax):
    others = [one for one in sent if one[0].syntax != syntax]
    came, failed = retrieved(running_suite.dicom_port, [made for _, made, _ in others], syntax)
    assert failed == sum(bool(kind.untranscodable) for kind, _, _ in others)
    for kind, made, _ in others:
        if not kind.untranscodable:
            even = values(tree(kind.even(made), EXPLICIT_LITTLE))
            assert values(tree(came[made.instance], syntax)) == even, kind.title


def values(read):
    return {at: value for at, (_, value) in read.items()}


def test_the_damage_is_shown_and_counted(running_suite, sent):
    kind, made, _ = next(one for one in sent if one[0].title == "PatientID twice")
    with signed_in(running_suite.web_url) as client:
        found = client.get(f"/api/v1/instances/{made.instance}").json()
        assert found["header_damage"] == f"{kind.flaw} at (0010,0020)"
        elements = client.get(f"/api/v1/instances/{made.instance}/elements").json()
        assert elements["header_damage"] == found["header_damage"]
        assert found["header_damage"] in client.get(f"/instances/{made.instance}/elements").text
        series = client.get(f"/studies/{made.study}/series/{made.series}").text
        assert found["header_damage"] in series
    metrics = running_suite.services["indexer"].answer("/metrics")[1]
    assert 'draw_indexer_damaged_headers_total{reason="twice"}' in metrics


def test_what_does_not_say_who_it_is_is_refused_with_the_reason(running_suite):
    made = odd.new_object()
    data = odd.data_set(made)
    cut = data[: data.index(made.series.encode()) + 3]
    with raw_association(running_suite.dicom_port, said(made)) as sender:
        assert sender.answer(said(made), data=cut) == (
            0xC000,
            "Series Instance UID is missing, cut at (0020,000E)",
        )
        sender.release()
