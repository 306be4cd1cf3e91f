"""Fills what the years leave behind beside the index, directly in PostgreSQL.

Lines of the transaction log over a year, nine of ten of them stored objects; the change feed;
finished jobs with what they brought; queries and their matches; deliveries; what deletions
and conflicts leave. Everything names studies that `bench.index_filler` has made.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
from sqlalchemy import create_engine

from draw_shared.db import partitions
from draw_shared.db.session import sqlalchemy_url

MONTHS: Final = 12
TABLES: Final = (
    "transactions, changes, jobs, job_attempts, retrieve_items, queries, query_results,"
    " webhook_deliveries, file_deletions, tombstones, instance_conflicts, reception_days,"
    " remote_nodes, webhooks, batch_queries, batch_query_lines, batch_query_answers,"
    " routing_documents, routing_decisions, deliveries, delivered_objects, destination_states,"
    " routed_priors,"
    " standing_queries, standing_query_runs"
)

NODES: Final = """
    INSERT INTO remote_nodes (name, ae_title, host, port)
    SELECT 'PACS ' || n, 'PACS' || n, '127.0.0.1', 104 + n FROM generate_series(1, 10) n
"""
WEBHOOKS: Final = """
    INSERT INTO webhooks (url, secret, kinds)
    SELECT 'http://127.0.0.1:9/' || n, 'whsec_' || n, '{study.stable}' FROM generate_series(1, 3) n
"""
LINES: Final = """
    INSERT INTO transactions (occurred_at, record_id, kind, outcome, replica, association_id,
        calling_ae, called_ae, peer_address, status, duration_seconds, size_bytes,
        sop_class_uid, sop_instance_uid, study_instance_uid, actor, action, chain_position,
        chain_hash)
    SELECT now() - (%(lines)s - n) * (interval '330 days' / %(lines)s),
        gen_random_uuid(), kind, CASE WHEN n %% 1000 = 7 THEN 'failure'
            WHEN kind = 'rejection' THEN 'rejected' ELSE 'success' END, 'scp-1',
        CASE WHEN kind <> 'management' THEN 'association-' || n / 60 END,
        CASE WHEN kind <> 'management' THEN 'MODALITY' || n / 60 %% 40 END,
        CASE WHEN kind <> 'management' THEN 'DRAW_SCP' END, '10.0.0.' || n / 60 %% 40,
        CASE WHEN n %% 1000 = 7 THEN 42752 ELSE 0 END, 0.004, 530000,
        CASE WHEN kind = 'c-store' THEN '1.2.840.10008.5.1.4.1.1.2' END,
        CASE WHEN kind = 'c-store' THEN study || '.' || 1 + n / %(per_study)s %% 3
            || '.' || 1 + n %% 4 END,
        CASE WHEN kind IN ('c-store', 'c-move') THEN study END,
        CASE WHEN kind = 'management' THEN 'operator' || n %% 9 END,
        CASE WHEN kind = 'management' THEN 'config.change' END, n,
        decode(md5(n::text) || md5(n::text || 'x'), 'hex')
    FROM (SELECT n, '1.2.826.0.1.3680043.10.1.' || 1 + n / %(per_study)s %% %(studies)s AS study,
            CASE WHEN n %% 200 = 3 THEN 'management' WHEN n %% 200 = 5 THEN 'rejection'
                WHEN n %% 10 = 1 THEN (ARRAY['association', 'c-find', 'c-move', 'c-echo'])
                    [1 + n / 10 %% 4] ELSE 'c-store' END AS kind
        FROM generate_series(1::bigint, %(lines)s) n) drawn
"""
CHANGES: Final = """
    INSERT INTO changes (occurred_at, kind, study_instance_uid, series_instance_uid,
        sop_instance_uid)
    SELECT now() - (%(changes)s - n) * (interval '30 days' / %(changes)s),
        CASE n %% 40 WHEN 0 THEN 'series.stable' WHEN 1 THEN 'study.stable'
            ELSE 'instance.stored' END, study, study || '.1', study || '.1.' || n
    FROM (SELECT n, '1.2.826.0.1.3680043.10.1.' || 1 + n / 10 %% %(studies)s AS study
        FROM generate_series(1::bigint, %(changes)s) n) drawn
"""
POSITIONS: Final = """
    INSERT INTO feed_positions (consumer, sequence)
    SELECT consumer, (SELECT max(sequence) FROM changes) / share
    FROM (VALUES ('webhooks', 1), ('routing', 1), ('behind', 2)) AS known (consumer, share)
"""
# Most are over; of what is not, some is due, some waits for the night.
JOBS: Final = """
    INSERT INTO jobs (id, kind, state, node_id, parent_id, parameters, created_at, started_at,
        finished_at, not_before)
    SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid,
        CASE WHEN n %% 20 = 1 THEN 'batch' WHEN n %% 20 < 3 THEN 'find' ELSE 'retrieve' END,
        state, (SELECT min(id) FROM remote_nodes) + n %% 10,
        CASE WHEN n %% 20 NOT IN (0, 1)
            THEN ('00000000-0000-4000-8000-' || lpad((n - n %% 20 + 1)::text, 12, '0'))::uuid END,
        jsonb_build_object('study_instance_uid', '1.2.826.0.1.3680043.10.1.' || n, 'of',
            'retrieve'),
        made, made, CASE WHEN state = 'complete' THEN made END,
        CASE WHEN state = 'scheduled' THEN now() + interval '9 hours' END
    FROM (SELECT n, CASE WHEN n %% 20 = 1 OR n < %(jobs)s - 200 THEN 'complete'
                WHEN n %% 2 = 0 THEN 'queued' ELSE 'scheduled' END AS state,
            now() - (%(jobs)s - n) * (interval '300 days' / %(jobs)s) AS made
        FROM generate_series(1::bigint, %(jobs)s) n) drawn
"""
ATTEMPTS: Final = """
    INSERT INTO job_attempts (job_id, number, fence, worker, started_at, finished_at, outcome)
    SELECT id, 1, 1, 'qr-worker-1', created_at, finished_at, 'complete' FROM jobs
    WHERE kind <> 'batch' AND finished_at IS NOT NULL
"""
ITEMS: Final = """
    INSERT INTO retrieve_items (job_id, study_instance_uid, series_instance_uid,
        sop_instance_uid, arrived_at)
    SELECT j.id, study, study || '.1', study || '.1.' || k, j.finished_at
    FROM (SELECT *, parameters ->> 'study_instance_uid' AS study FROM jobs
        WHERE kind = 'retrieve') j, generate_series(1, 10) k
"""
QUERIES: Final = """
    INSERT INTO queries (id, level, fingerprint, created_at, expires_at)
    SELECT id, 'STUDY', md5(id::text), created_at, created_at + interval '7 days' FROM jobs
    WHERE kind = 'batch'
"""
MATCHES: Final = """
    INSERT INTO query_results (query_id, node_id, unique_key, attributes)
    SELECT q.id, (SELECT min(id) FROM remote_nodes), k::text,
        jsonb_build_object('StudyInstanceUID', '1.2.826.0.1.3680043.10.1.' || k)
    FROM queries q, generate_series(1, 100) k WHERE q.expires_at > now()
"""
LISTS: Final = """
    INSERT INTO batch_queries (id, columns, lines, kept_seconds, created_at, expired)
    SELECT id, '{PatientID}', 20, 604800, created_at,
        created_at < now() - interval '8 days' FROM jobs WHERE kind = 'batch'
"""
LIST_LINES: Final = """
    INSERT INTO batch_query_lines (batch_query_id, number, keys)
    SELECT id, n, jsonb_build_object('PatientID', 'P' || n)
    FROM batch_queries, generate_series(1, 20) n
"""
LIST_ANSWERS: Final = """
    INSERT INTO batch_query_answers (line_id, node_id, state, found, studies)
    SELECT id, (SELECT min(id) FROM remote_nodes), 'complete', 1, jsonb_build_array(
        jsonb_build_object('attributes', jsonb_build_object('StudyInstanceUID',
            '1.2.826.0.1.3680043.10.1.' || number), 'instances', 10))
    FROM batch_query_lines
"""
DELIVERIES: Final = """
    INSERT INTO webhook_deliveries (webhook_id, sequence, kind, body, state, attempts,
        next_attempt_at, created_at, finished_at)
    SELECT (SELECT min(id) FROM webhooks) + n %% 3, n, 'study.stable', '{}',
        CASE WHEN n %% 1000 = 0 THEN 'dead' WHEN n > %(deliveries)s - 500 THEN 'pending'
            ELSE 'delivered' END, 1, now(), at, CASE WHEN n <= %(deliveries)s - 500 THEN at END
    FROM (SELECT n, now() - (%(deliveries)s - n) * (interval '29 days' / %(deliveries)s) AS at
        FROM generate_series(1::bigint, %(deliveries)s) n) drawn
"""
RULES: Final = """
    INSERT INTO routing_documents (version, document, created_by)
    SELECT n, '{}', 'admin' FROM generate_series(1, 50) n
"""
DECISIONS: Final = """
    INSERT INTO routing_decisions (sequence, routing_version, trigger, study_instance_uid,
        series_instance_uid, applied, destinations, decided_at)
    SELECT n, 50, 'series_complete', study, study || '.1', '{a rule}', '{a,b}',
        now() - (%(studies)s - n) * (interval '80 days' / %(studies)s)
    FROM (SELECT n, '1.2.826.0.1.3680043.10.1.' || n AS study
        FROM generate_series(1::bigint, %(studies)s) n) drawn
"""
# Most have arrived; of the last ones some wait for a destination that is away.
ROUTED: Final = """
    INSERT INTO deliveries (decision_id, destination, study_instance_uid, series_instance_uid,
        state, target, attempts, instance_count, delivered_count, created_at, give_up_at,
        finished_at)
    SELECT id, destination, study_instance_uid, series_instance_uid,
        CASE WHEN sequence <= %(studies)s - 500 THEN 'delivered' ELSE 'pending' END,
        destination, 1, 10, CASE WHEN sequence <= %(studies)s - 500 THEN 10 ELSE 0 END,
        decided_at, decided_at + interval '7 days',
        CASE WHEN sequence <= %(studies)s - 500 THEN decided_at + interval '1 min' END
    FROM routing_decisions CROSS JOIN unnest(destinations) AS k(destination)
"""
ANSWERED: Final = """
    INSERT INTO delivered_objects (endpoint, sop_instance_uid, content_sha256, delivery_id)
    SELECT 'A@127.0.0.1:104', series_instance_uid || '.' || n, decode(md5(n::text), 'hex'), id
    FROM deliveries CROSS JOIN generate_series(1, 4) n
    WHERE destination = 'a' AND finished_at IS NOT NULL
"""
PRIORS: Final = """
    INSERT INTO routed_priors (study_instance_uid, delivery_id)
    SELECT study_instance_uid, id FROM deliveries WHERE destination = 'a'
"""
DESTINATIONS: Final = """
    INSERT INTO destination_states (name) VALUES ('a'), ('b')
"""
DELETIONS: Final = """
    INSERT INTO file_deletions (path, sop_instance_uid, study_instance_uid)
    SELECT 'objects/gone/' || n, '1.2.826.0.1.3680043.10.9.' || n,
        '1.2.826.0.1.3680043.10.8.' || n / 100
    FROM generate_series(1::bigint, %(deletions)s) n
"""
TOMBSTONES: Final = """
    INSERT INTO tombstones (uid, before_ns, deleted_at)
    SELECT '1.2.826.0.1.3680043.10.8.' || n, n, now() - interval '1 h'
    FROM generate_series(1::bigint, %(deletions)s) n
"""
CONFLICTS: Final = """
    INSERT INTO instance_conflicts (sop_instance_uid, study_instance_uid, path, size_bytes,
        content_sha256, reason)
    SELECT study || '.1.1', study, 'objects/aside/' || n, 530000, decode(md5(n::text), 'hex'),
        'other content'
    FROM (SELECT n, '1.2.826.0.1.3680043.10.1.' || n AS study
        FROM generate_series(1::bigint, %(conflicts)s) n) drawn
"""
DAYS: Final = """
    INSERT INTO reception_days (day, objects, size_bytes)
    SELECT current_date - n, 3000, 1590000000 FROM generate_series(0, 364) n
"""

STANDING: Final = """
    INSERT INTO standing_queries (name, query, schedule, zone)
    SELECT 'nightly ' || n, '{"node_ids": [1], "keys": {}}', '0 2 * * *', 'UTC'
    FROM generate_series(1, 10) n
"""
RUNS: Final = """
    INSERT INTO standing_query_runs (standing_query_id, scheduled_for, state, finished_at)
    SELECT s.id, now() - make_interval(hours => n), 'complete', now() - make_interval(hours => n)
    FROM standing_queries s, generate_series(1, 1000) n
"""


def fill(database_url: str, *, studies: int, lines: int) -> None:
    """Add `lines` lines of the transaction log and all that belongs to so many studies.

    The index holds the studies already. Statistics are taken at the end.
    """
    values = {
        "studies": studies,
        "lines": lines,
        "per_study": max(1, lines // studies),
        "changes": studies * 10,
        "jobs": studies,
        "deliveries": studies * 2,
        "deletions": studies,
        "conflicts": studies // 4,
    }
    _make_months(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for statement in (
            NODES, WEBHOOKS, LINES, CHANGES, POSITIONS, JOBS, ATTEMPTS, ITEMS, QUERIES, MATCHES,
            LISTS, LIST_LINES, LIST_ANSWERS, DELIVERIES, RULES, DECISIONS, ROUTED, ANSWERED, PRIORS,
            DESTINATIONS, DELETIONS, TOMBSTONES, CONFLICTS, DAYS, STANDING, RUNS,
        ):  # fmt: skip
            connection.execute(statement.encode(), values)
        connection.execute(f"ANALYZE {TABLES}".encode())


def _make_months(database_url: str) -> None:
    first = (datetime.now(UTC) - timedelta(days=30 * MONTHS)).date()
    engine = create_engine(sqlalchemy_url(database_url))
    try:
        with engine.begin() as connection:
            partitions.ensure_months(connection, first, ahead=MONTHS + 2)
    finally:
        engine.dispose()
