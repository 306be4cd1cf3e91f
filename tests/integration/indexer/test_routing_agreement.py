"""Indexer, explanation and a plain reference say the same about files as they are.

Files come with pydicom; rules are drawn at random, about elements that the index has and such
that only the files have. Not covered: values that no file has (tests/property/test_routing.py).
"""

import json
import random
import warnings
from collections import Counter
from pathlib import Path

import pydicom
import pytest
from pydicom.multival import MultiValue

from draw_shared.routing.document import RoutingDocument
from support import datasets
from support import routing_reference as reference
from support.api import ApiHarness
from support.indexed import IndexedStorage
from support.receptions import receive
from support.routed import Routed
from support.routing_documents import with_destinations
from support.routing_generated import rules

pytestmark = [pytest.mark.integration, pytest.mark.property]

FILES = 24
DOCUMENTS = 15
CT = {"subject": "Modality", "operator": "equals", "value": "CT"}


@pytest.fixture
def archive(tmp_path, database):
    made = IndexedStorage(tmp_path / "storage", database)
    yield made
    made.close()


def real_objects():
    """Return an object of a series of its own for each of some files."""
    found = {}
    for path in datasets.storable_files():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = pydicom.dcmread(path)
        found.setdefault(made.get("SeriesInstanceUID"), made)
        if len(found) == FILES:
            break
    return list(found.values())


def texts(made):
    """Return what pydicom reads of the elements that the reference knows."""
    known = {}
    for keyword, vr in reference.ELEMENTS.items():
        value = made.get(keyword)
        if value is None or value == "" or (vr == "SQ" and not value):
            continue
        values = value if isinstance(value, MultiValue) else [value]
        known[keyword] = "items" if vr == "SQ" else "\\".join(map(_text, values))
    return known


def _text(value):
    return str(getattr(value, "original_string", None) or value)


def test_all_say_the_same_about_files_as_they_are(archive, database, database_url):
    routed = Routed(database, archive.root)
    routed.decide()
    objects = real_objects()
    assert len(objects) == FILES
    for made in objects:
        data = datasets.encoded_data_set(Path(made.filename))
        stored, _ = receive(archive.store, made, data=data)
        archive.index(stored)
    pick, seen = random.Random(19), set()
    with ApiHarness(database_url, archive.root) as api:
        admin = api.with_session("admin")
        for _ in range(DOCUMENTS):
            given = with_destinations(rules(pick))
            routed.store(RoutingDocument.read(given).stored())
            sequences = {
                routed.complete(one.SeriesInstanceUID, "proved", 1): one for one in objects
            }
            decided = {d.sequence: d for d in routed.decide()}
            for sequence, made in sequences.items():
                uid = made.SeriesInstanceUID
                answer = admin.post("/api/v1/routing/explain", json={"series_instance_uid": uid})
                explained = answer.raise_for_status().json()
                outcomes = [rule["outcome"] for rule in explained["rules"]]
                beside = arrival_of(archive, uid)
                at = archive.scalars(
                    "SELECT occurred_at FROM changes WHERE sequence = :at", at=sequence
                )[0]
                expected = reference.decide(
                    given, texts(made), beside, at, "series_complete", explained["unreadable"]
                )
                assert (tuple(explained["destinations"]), tuple(outcomes)) == expected, (
                    json.dumps(given),
                    made.filename,
                )
                assert of_decision(decided.get(sequence)) == of_outcomes(given, expected)
                seen.update(outcomes)
    assert seen >= {"applies", "does_not_apply", "not_reached", "inactive", "other_trigger"}


def arrival_of(archive, uid):
    [size] = archive.scalars(
        "SELECT i.size_bytes FROM instances i JOIN series r ON r.id = i.series_pk"
        " WHERE r.series_instance_uid = :uid",
        uid=uid,
    )
    return {
        "calling_ae": ["SENDER"],
        "called_ae": ["DRAW"],
        "address": ["192.0.2.7"],
        "reason": ["proved"],
        "instances": ["1"],
        "size_bytes": [str(size)],
    }


def of_outcomes(given, expected):
    """Return what is to be kept of what came of the rules; None: nothing."""
    named = [
        [rule["name"] for rule, came in zip(given["rules"], expected[1], strict=True) if came == of]
        for of in ("applies", "undecided")
    ]
    return (*named, list(expected[0])) if any(named) else None


def of_decision(row):
    return None if row is None else (row.applied, row.undecided, row.destinations)


def test_a_batch_does_what_its_preview_says(archive, database, database_url):
    routed = Routed(database, archive.root)
    routed.decide()
    voltage = {"subject": "KVP", "operator": "not_equals", "value": 120}
    given = [
        {"name": "ct", "when": CT, "destinations": ["a", "both"]},
        {"name": "voltage", "when": voltage, "destinations": ["b"], "stop": True},
        {"name": "rest", "destinations": ["c"]},
    ]
    folder = {"kind": "folder", "path": "/var/lib/handlers/x"}
    group = {"kind": "group", "name": "both", "mode": "all", "members": ["b", "c"]}
    routed.put(*given, destinations=[*(folder | {"name": name} for name in "abc"), group])
    for modality, kvp in (("CT", "120"), ("CT", "80"), ("MR", "120"), ("MR", None)):
        [made] = datasets.series(1, modality, **({"KVP": kvp} if kvp else {}))
        archive.receive(made)
        routed.complete(made.SeriesInstanceUID)
    [damaged] = datasets.series(1)
    before = archive.files()
    archive.receive(damaged)
    for path in archive.files() - before:
        (archive.root / path).write_bytes(b"nothing")
    routed.complete(damaged.SeriesInstanceUID)
    routed.decide()
    with ApiHarness(database_url, archive.root) as api:
        admin = api.with_session("admin")
        for order in ({}, {"rules": ["voltage", "rest"]}, {"criteria": {"modality": "MR"}}):
            body = order | {"preview": True}
            told = admin.post("/api/v1/routing/batches", json=body).raise_for_status().json()
            made = admin.post("/api/v1/routing/batches", json=order).raise_for_status().json()
            found = [one for one in routed.decide() if str(one.batch_id) == made["id"]]
            after = admin.get(f"/api/v1/routing/batches/{made['id']}").json()
            assert (after["state"], after["progress_percent"]) == ("complete", 100)
            assert (after["series"], after["deliveries"]) == (told["series"], told["deliveries"])
            assert counted(one.destinations for one in found) == told["destinations"]
            applied = counted(one.applied for one in found)
            assert applied == {name: number for name, number in told["rules"].items() if number}
            listed = {one["series_instance_uid"]: one["destinations"] for one in told["listed"]}
            assert listed == {
                one.series_instance_uid: one.destinations for one in found if one.destinations
            }
            assert told["undecided"] == len([one for one in found if one.undecided])


def counted(lists):
    return dict(Counter(name for names in lists for name in names))
