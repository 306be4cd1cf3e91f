"""Values with which the suite's statements are called, as their callers give them.

What a parameter is named says which value it gets: for all statements (`VALUES`), for those
of a module, or for one, where several sets of values are several ways in which it is called.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

NOW = datetime.now(UTC)
LARGEST = 2**63 - 1
STUDY = "1.2.826.0.1.3680043.10.1.777"
SERIES = f"{STUDY}.1"
SOP = f"{SERIES}.1"
CLASS = "1.2.840.10008.5.1.4.1.1.2"
JOB = UUID("00000000-0000-4000-8000-000000000777")
BATCH = UUID("00000000-0000-4000-8000-000000000761")
NEW = UUID("00000000-0000-4000-8000-0000000000ff")
TOKEN = b"t" * 32
HASH = "ab" * 32

VALUES: dict[str, Any] = {
    "action": "test",
    "actions": ["transactions.drop"],
    "active": True,
    "active_associations": 0,
    "actor": "test",
    "address": "127.0.0.1",
    "ae": "",
    "ae_title": "NEW",
    "ae_titles": ["NEW", "MODALITY7"],
    "association_ids": ["association-77", "association-78"],
    "after": 0,
    "after_job": None,
    "again_in": 1.0,
    "ambiguous": True,
    "all_but": [SOP],
    "arrives_here": True,
    "attestation": None,
    "attempts": 1,
    "attributes": ["{}"],
    "before": None,
    "before_id": None,
    "birth_date": "1960-01-02",
    "by": "test",
    "calling_ae": "NEW",
    "certificates": [],
    "circuit": "{}",
    "classes": [CLASS],
    "columns": ["PatientID"],
    "comment": "",
    "changed_at": None,
    "config_version": 1,
    "congestion": "{}",
    "consumer": "webhooks",
    "created_by": "test",
    "csrf_token": "t",
    "day": NOW.date(),
    "days": 30,
    "delay_seconds": 1.0,
    "deleted_by": "test",
    "description": "",
    "detail": "",
    "details": "{}",
    "document": "{}",
    "each": 4,
    "error": "",
    "expected_ip": "",
    "expires_at": NOW + timedelta(days=1),
    "fence": 1,
    "firsts": [NOW - timedelta(days=1)] * 2,
    "first": datetime(2000, 1, 1, tzinfo=UTC).date(),
    "fingerprint": "f",
    "formers": [STUDY],
    "found": "{}",
    "first_day": NOW.date() - timedelta(days=30),
    "hashes": [HASH],
    "held": True,
    "here": None,
    "host": "127.0.0.1",
    "hours": 24,
    "id": 1,
    "ids": [1],
    "inode": 1,
    "inodes": [1],
    "issuers": [""],
    "job_id": JOB,
    "job_ids": [JOB],
    "keep": "t",
    "kept_seconds": 60.0,
    "key": 1,
    "keys": "{}",
    "known": 0,
    "kind": "instance.stored",
    "kinds": [],
    "last": LARGEST,
    "lasts": [NOW] * 2,
    "last_error": "",
    "latest": True,
    "lease": 60.0,
    "lease_seconds": 60.0,
    "language": "de",
    "level": "STUDY",
    "line_id": 1,
    "last_day": NOW.date(),
    "lines": 20,
    "list_id": BATCH,
    "limit": 51,
    "max_age_seconds": 60,
    "looked_at": 20_000,
    "max_associations": 2,
    "max_bytes_per_second": 0,
    "max_pdu_bytes": 16384,
    "minutes": 30,
    "missing": True,
    "modified": [1],
    "modified_ns": 1,
    "most": 100,
    "move_destination": "",
    "move_destinations": [],
    "name": "new",
    "no_sops": True,
    "node_id": None,
    "node_ids": [1],
    "not_before": None,
    "noted_every": 60,
    "number": 2,
    "numbers": [0],
    "objects": 1,
    "occurred_at": NOW,
    "opened_from": "{}",
    "other_patient": "other patient",
    "other_study": "other study",
    "outcome": "success",
    "parameters": "{}",
    "parent_id": None,
    "password_hash": "h",
    "patients": [1],
    "patient_id": "P00000007",
    "peer": "",
    "path": "objects/none/1.1",
    "paths": ["objects/none/1.1"],
    "paused": False,
    "peer_address": "127.0.0.1",
    "places": [1],
    "port": 104,
    "position": LARGEST,
    "positions": [1],
    "priority": 5,
    "progress": "{}",
    "query": "{}",
    "query_id": JOB,
    "query_model": "study",
    "reason": "other patient",
    "record_id": NEW,
    "reopened": [1],
    "replica": "test",
    "restarts": 0,
    "result": "{}",
    "retried": [JOB],
    "revision": "0016",
    "role": "viewer",
    "room": [4],
    "rights": ["echo"],
    "running": "running",
    "seal": "",
    "sealed": 0,
    "search": "=a=",
    "seconds": 60.0,
    "secret": "s",
    "sequence": 1,
    "series": [SERIES],
    "sex": "F",
    "service": "test",
    "since": 0,
    "shared": True,
    "size": 1,
    "size_bytes": 1,
    "sizes": [1],
    "sop": SOP,
    "sop_class_uids": None,
    "sop_instance_uid": SOP,
    "sops": [SOP],
    "source": "s",
    "started_at": 0.0,
    "state": "complete",
    "status": 200,
    "stated": "P1",
    "stores_from": [],
    "studies": [STUDY],
    "study": STUDY,
    "study_uids": [STUDY],
    "study_instance_uid": STUDY,
    "subject": "s",
    "subjects": ["s"],
    "supports_find": True,
    "supports_get": True,
    "supports_move": True,
    "test_kinds": ["echo"],
    "tests": [1, 2],
    "these": [SOP],
    "timeout_seconds": 30,
    "times": [NOW],
    "tls": False,
    "tls_fingerprint": "",
    "token_hash": TOKEN,
    "uid": STUDY,
    "uids": [SOP],
    "until": NOW + timedelta(hours=1),
    "url": "http://127.0.0.1/",
    "user_id": 1,
    "usual": 4,
    "version": 10,
    "wanted": "running",
    "webhook_id": 1,
    "windows": "[]",
    "work": [1, 2],
    "worker": "test",
}

KINDS = ("instance.stored", "study.stable", "study.deleted")

_JOBS = {"id": JOB, "node_id": 1}
OF_MODULE: dict[str, dict[str, Any]] = {
    "draw_api.adapters.job_queries": _JOBS,
    "draw_api.adapters.batch_queries": {"id": BATCH},
    "draw_api.adapters.query_queries": {"id": BATCH},
    "draw_api.adapters.retrieve_queries": _JOBS | {"ids": [NEW], "parameters": ["{}"]},
    "draw_api.adapters.object_places": {"uid": SERIES},
    "draw_api.adapters.call_queries": {"after": NOW - timedelta(days=1), "calling_ae": "MODALITY7"},
    "draw_api.adapters.user_queries": {"after": 0},
    "draw_indexer.adapters.feed_queries": {"uid": SERIES, "consumer": "handlers"},
    "draw_qr_worker.adapters.query_results": {"query_id": BATCH, "keys": ["k"], "node_id": 1},
    "draw_qr_worker.adapters.job_queries": {"node_id": 1},
    "draw_qr_worker.adapters.list_answers": {"node_id": 1},
    "draw_shared.db.deletion": {"series": [1], "studies": [1], "patients": [1], "ids": [1]},
}


def _rows(**columns: Any) -> dict[str, Any]:
    return {"rows": json.dumps([columns])}


LINE = _rows(
    record_id=str(NEW), occurred_at=NOW.isoformat(), kind="c-store", outcome="success",
    replica="scp-1",
)  # fmt: skip
_EMPTY = {"attributes": {}, "sources": {}}
_PERSON = {"patient_pk": 777, "study_pk": 777, "name": "A", "name_search": "=a=", "sex": "F"}
_FILTERS = ({}, {"state": "complete"}, {"state": "failed"}, {"node_id": 99})
_UNFILTERED = {"state": None, "node_id": None, "parent_id": None}
_OLDER = {"before": NOW - timedelta(days=200), "before_id": JOB}
_USER = {"after": "", "id": "none"}

OF_STATEMENT: dict[str, tuple[Mapping[str, Any], ...]] = {
    "draw_api.adapters.activity_queries.MINUTES": (
        {"since": NOW - timedelta(minutes=4)},
        {"since": NOW - timedelta(hours=1)},
    ),
    "draw_api.adapters.activity_queries.SLOTS": (
        {"since": NOW - timedelta(minutes=9)},
        {"since": NOW - timedelta(hours=24)},
    ),
    "draw_api.adapters.activity_queries.LAST_RECEIVED": ({"limit": 12},),
    "draw_api.adapters.activity_queries.CHANGES": ({"before": LARGEST}, {"before": 500}),
    "draw_api.adapters.activity_queries.CHANGES_OF_KIND": tuple(
        {"before": before, "kind": kind} for before in (LARGEST, 500) for kind in KINDS
    ),
    **{
        f"draw_api.adapters.conflict_queries.{name}": tuple(
            {"before": before, "looked_at": 51, "kind": kind}
            for before in (LARGEST, 500)
            for kind in ("", "another_study")
        )
        for name in ("CONFLICTS", "OF_STUDY")
    },
    "draw_api.adapters.config_queries.PAGE": ({"before": 10},),
    "draw_api.adapters.archive_queries.MONTHS": ({"patient_key": 7, "most": 240},),
    "draw_api.adapters.job_queries.NUMBERS": (
        {"states": ["failed", "waiting"], "created_after": NOW - timedelta(days=7), "most": 500},
    ),
    "draw_api.adapters.job_queries.NEEDY_JOBS": (
        {"states": ["failed", "waiting"], "created_after": NOW - timedelta(days=7), "limit": 5},
    ),
    "draw_api.adapters.job_queries.SET_RETRIED": ({"ids": [JOB], "new": str(NEW)},),
    "draw_api.adapters.job_queries.JOBS": tuple(
        _UNFILTERED | each | age for each in _FILTERS for age in ({}, _OLDER)
    ),
    "draw_api.adapters.query_queries.ADD_JOBS": ({"ids": [NEW], "parent_id": JOB},),
    "draw_api.adapters.batch_queries.ADD_BATCH": ({"id": NEW},),
    "draw_api.adapters.batch_queries.ADD_LIST": ({"id": JOB},),
    "draw_api.adapters.batch_queries.ADD_LINES": ({"numbers": [99], "keys": ["{}"]},),
    "draw_api.adapters.batch_queries.ADD_JOBS": ({"ids": [NEW]},),
    "draw_api.adapters.batch_queries.LINES": ({"after": None, "state": None}, {"state": "found"}),
    "draw_api.adapters.batch_queries.LISTS": ({}, _OLDER),
    "draw_qr_worker.adapters.list_answers.ADD": ({"node_id": 2, "found": 1, "studies": "[]"},),
    "draw_api.adapters.query_queries.ADD_QUERY": ({"id": JOB},),
    "draw_api.adapters.query_queries.ADD_BATCH": ({"id": NEW},),
    "draw_api.adapters.query_queries.ASCENDING": (
        {"sort": "StudyDate", "pattern": "", "after": None, "after_id": None},
        {"sort": "StudyDate", "pattern": "%x%", "after": "2", "after_id": 2},
    ),
    "draw_api.adapters.query_queries.DESCENDING": (
        {"sort": "StudyDate", "pattern": "", "after": None, "after_id": None},
    ),
    "draw_api.adapters.retrieve_queries.RETRIEVES": tuple(
        _UNFILTERED | each | age
        for each in (*_FILTERS, {"parent_id": BATCH})
        for age in ({}, _OLDER)
    ),
    "draw_api.adapters.retrieve_queries.RETRIEVE": ({"id": JOB}, {"id": BATCH}),
    "draw_api.adapters.retrieve_queries.ADD_BATCH": ({"id": NEW, "parameters": "{}"},),
    "draw_api.adapters.retrieve_queries.INSTANCES": (
        {"missing": False, "id": JOB},
        {"missing": True, "id": BATCH},
    ),
    "draw_api.adapters.retrieve_queries.TAKE_OVER": ({"ids": [BATCH], "retried": [JOB]},),
    "draw_api.adapters.saved_query_queries.SAVED": (
        {"after": None, "after_id": None},
        {"after": "n", "after_id": 1},
    ),
    "draw_api.adapters.storage_queries.PATIENTS": (
        {"size": LARGEST, "id": LARGEST},
        {"size": 0, "id": 5000},
    ),
    "draw_api.adapters.storage_queries.STUDIES": (
        {"size": LARGEST, "id": LARGEST},
        {"size": 5300000, "id": 5000},
    ),
    "draw_api.adapters.association_queries.UNFINISHED": (
        {"since": NOW - timedelta(minutes=10)},
        {"since": NOW - timedelta(minutes=10), "peer": "MODALITY7"},
    ),
    "draw_api.adapters.transaction_queries.REJECTED": (
        {"since": NOW - timedelta(days=7), "until": NOW, "ae": "", "reason": ""},
        {"since": NOW - timedelta(days=365), "until": NOW, "before": NOW, "ae": "X", "reason": ""},
    ),
    "draw_api.adapters.user_queries.SESSIONS": (_USER | {"user_id": None},),
    "draw_api.adapters.user_queries.SESSION_OWNER": (_USER,),
    "draw_api.adapters.user_queries.END_SESSION": (_USER,),
    "draw_api.adapters.webhook_queries.CHANGES": ({"since": 0}, {"since": LARGEST}),
    "draw_api.adapters.webhook_queries.CHANGES_OF_KINDS": (
        *({"since": 0, "kinds": [kind]} for kind in KINDS),
        {"since": 0, "kinds": list(KINDS)},
    ),
    "draw_indexer.adapters.feed_queries.STABLE": (
        {"kind": "series.stable"},
        {"kind": "series.stable", "consumer": "behind"},
        {"kind": "study.deleted", "consumer": "behind"},
    ),
    "draw_api.adapters.webhook_queries.WEBHOOKS": ({"id": None}, {"id": 1}),
    "draw_api.adapters.webhook_queries.DELIVERIES": (
        {"before": LARGEST, "state": None, "webhook_id": 1},
        {"before": LARGEST, "state": "dead", "webhook_id": 1},
        {"before": LARGEST, "state": "pending", "webhook_id": 2},
    ),
    "draw_api.adapters.webhook_queries.REPLAY": (
        {"id": None, "webhook_id": 1},
        {"id": 5, "webhook_id": 1},
    ),
    "draw_indexer.adapters.deletions.RECORD": ({"kind": "management"},),
    "draw_indexer.adapters.index_statements.PATIENTS": ({"ids": ["P00000007"], "studies": [""]},),
    "draw_indexer.adapters.index_statements.UPSERT_PATIENTS": (
        _rows(
            patient_id="new",
            issuer_of_patient_id="",
            unidentified_study_uid="",
            name="",
            name_search="",
            sex="",
            **_EMPTY,
        ),
    ),
    "draw_indexer.adapters.index_statements.UPSERT_STUDIES": (
        _rows(
            study_instance_uid=STUDY,
            patient_pk=1,
            accession_number="",
            study_id="",
            description="",
            description_search="",
            referring_physician="",
            referring_physician_search="",
            **_EMPTY,
        ),
    ),
    "draw_indexer.adapters.index_statements.UPSERT_SERIES": (
        _rows(
            series_instance_uid=SERIES,
            study_pk=1,
            modality="CT",
            description="",
            body_part_examined="",
            request_attributes=[],
            **_EMPTY,
        ),
    ),
    "draw_indexer.adapters.index_statements.UPSERT_INSTANCES": (
        _rows(
            sop_instance_uid=SOP,
            series_pk=1,
            sop_class_uid=CLASS,
            transfer_syntax_uid="1",
            attributes={},
            path="p",
            size_bytes=1,
            content_sha256=f"\\x{HASH}",
            received_at=NOW.isoformat(),
            association_id="",
            calling_ae="",
            peer_address="",
            move_originator_ae="",
            stated_patient="",
            stated_person="",
            header_damage="",
        ),
    ),
    "draw_indexer.adapters.index_statements.UPSERT_CONFLICTS": (
        _rows(
            sop_instance_uid=SOP,
            study_instance_uid=STUDY,
            path="p",
            size_bytes=1,
            content_sha256=f"\\x{HASH}",
            reason="r",
            calling_ae="",
            received_at=NOW.isoformat(),
        ),
    ),
    "draw_indexer.adapters.index_statements.COUNT_DAYS": (
        _rows(day="2020-01-01", objects=1, size_bytes=1),
    ),
    "draw_indexer.adapters.webhook_queries.FAN_OUT": ({"after": 0}, {"after": LARGEST}),
    "draw_qr_worker.adapters.catalogue_queries.OBJECTS": (
        {"study": STUDY, "series": "", "no_sops": True, "sops": []},
        {"study": STUDY, "series": SERIES, "no_sops": True, "sops": []},
        {"study": STUDY, "series": "", "no_sops": False, "sops": [SOP]},
    ),
    "draw_qr_worker.adapters.job_queries.CLAIM": ({"job_id": None}, {"job_id": JOB}),
    "draw_shared.db.clean_up.CANDIDATES": (
        {"after": NOW - timedelta(days=9000), "after_id": 0, "days": 10, "only": ""},
        {"after": NOW - timedelta(days=9000), "after_id": 0, "days": 0, "only": STUDY},
    ),
    "draw_shared.db.clean_up.PATHS": ({"study": 777},),
    "draw_shared.db.deletion.FILES": ({"study": 777},),
    "draw_shared.db.deletion.DELETE_CONFLICTS": ({"study": 777},),
    "draw_shared.db.deletion.DELETE_STUDY": ({"study": 777},),
    "draw_qr_worker.adapters.node_queries.RELIEVE": ({"known": ""},),
    "draw_shared.db.persons.FORGET": (_rows(**_PERSON), {"rows": "[]"}),
    "draw_shared.db.persons.KEEP": (_rows(**_PERSON),),
    "draw_shared.db.persons.EARLIEST": ({"patient": 777},),
    "draw_shared.db.persons.RENAME": ({"patient": 777},),
    "draw_shared.db.tombstones.PLACE": ({"before": 1},),
    "draw_shared.db.transaction_chain._FRESH": (LINE,),
    "draw_shared.db.transaction_chain._APPEND": (LINE | {"ids": [LARGEST], "places": [1]},),
    "draw_shared.db.transaction_chain._LAST_SEALED": ({"after": LARGEST},),
    "draw_shared.db.transaction_verification._CHAINED": (
        {"after": 0, "after_id": 0, "after_time": NOW, "most": 2000},
    ),
    "draw_shared.db.partitions.COUNT_OLD": ({"first": NOW - timedelta(days=9000)},),
    "draw_shared.db.partitions.OLD_RUNS": ({"first": NOW - timedelta(days=9000)},),
    "draw_shared.db.partitions.DROP_MONTHS": ({"first": (NOW - timedelta(days=9000)).date()},),
    "draw_shared.db.partitions.MAKE_MONTH": ({"month": (NOW - timedelta(days=9000)).date()},),
}
