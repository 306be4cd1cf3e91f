"""The content of the Grafana dashboards, panel by panel."""

from pathlib import Path
from typing import Final

from tools.grafana import (
    BYTES,
    BYTES_PER_SECOND,
    NUMBER,
    PER_SECOND,
    SECONDS,
    SHARE,
    Dashboard,
    Panel,
    now,
    quantiles,
    rate,
)

FOLDER: Final = Path("deploy/monitoring/grafana/dashboards")
IN_USE: Final = 'sum by (instance) (draw_service_database_connections{state="in_use"})'
ENDED: Final = "draw_qr_worker_deliveries_ended_total"
HELD: Final = "max by (destination, mode) (draw_suite_destination_held_seconds)"
LAST_SUCCESS: Final = "max by (destination) (draw_suite_destination_last_success_seconds)"
FAILED_OVER: Final = "sum(max by (destination, target) (draw_suite_failover_in_force)) or vector(0)"

OVERVIEW: Final = Dashboard(
    "draw-overview",
    "Overview",
    (
        now("Services that answer", NUMBER, 'sum(up{job=~"draw-.*"})'),
        now("Associations", NUMBER, "sum(draw_scp_active_associations)"),
        now("Not announced yet", NUMBER, "sum(draw_scp_outbox_objects)", 1000),
        now(
            "Dead letters",
            NUMBER,
            'sum(max by (queue) (draw_suite_queue_messages{queue=~".*[.]dead|.*[.]unroutable"}))',
            1,
        ),
        now(
            "Storage used",
            SHARE,
            # Without a quota the disk is the limit.
            "max(draw_scp_storage_used_bytes) / (min(draw_scp_storage_quota_bytes) < +Inf)"
            " or 1 - min(draw_suite_disk_free_bytes) / max(draw_suite_disk_size_bytes)",
            0.85,
        ),
        now("Storage full in", SECONDS, "draw:storage_full_seconds"),
        Panel(
            "Objects received",
            PER_SECOND,
            {
                "stored": rate("draw_scp_objects_stored_total"),
                "{{outcome}}": rate("draw_indexer_objects_total", "outcome"),
            },
        ),
        Panel(
            "Bytes received",
            BYTES_PER_SECOND,
            {"stored": rate("draw_scp_stored_bytes_total")},
        ),
        Panel(
            "Operations by status",
            PER_SECOND,
            {"{{operation}} {{status}}": rate("draw_scp_operations_total", "operation, status")},
        ),
        Panel(
            "Replicas",
            NUMBER,
            {"{{service}} {{state}}": "max by (service, state) (draw_suite_replicas)"},
            stacked=True,
        ),
        Panel(
            "Database and broker",
            NUMBER,
            {"PostgreSQL": "max(draw_suite_database_up)", "RabbitMQ": "max(draw_suite_broker_up)"},
        ),
        Panel(
            "Alerts",
            NUMBER,
            {"{{alertname}}": 'count by (alertname) (ALERTS{alertstate="firing"})'},
            stacked=True,
        ),
        Panel(
            "CPU",
            NUMBER,
            {"{{job}}": "sum by (job) (rate(process_cpu_seconds_total[$__rate_interval]))"},
        ),
        Panel(
            "Memory",
            BYTES,
            {"{{job}} {{instance}}": "max by (job, instance) (process_resident_memory_bytes)"},
        ),
        Panel(
            "Configuration in force",
            NUMBER,
            {
                "{{instance}}": "max by (instance) (draw_service_config_version)",
                "newest": "max(draw_suite_config_version)",
            },
        ),
    ),
)

INGEST: Final = Dashboard(
    "draw-ingest",
    "Ingest",
    (
        Panel(
            "Objects stored, by receiver",
            PER_SECOND,
            {"{{instance}}": rate("draw_scp_objects_stored_total", "instance")},
            stacked=True,
        ),
        Panel(
            "C-STORE by status",
            PER_SECOND,
            {"{{status}}": rate("draw_scp_operations_total", "status", 'operation="c-store"')},
        ),
        Panel(
            "Duplicates",
            PER_SECOND,
            {"lay there already": rate("draw_scp_duplicates_total")},
        ),
        quantiles("C-STORE, from request to durable", "draw_scp_store_seconds"),
        quantiles("Last byte to durable", "draw_scp_commit_seconds"),
        Panel(
            "Associations",
            NUMBER,
            {
                "{{instance}}": "sum by (instance) (draw_scp_active_associations)",
                "connections": "sum(draw_scp_open_connections)",
            },
        ),
        Panel(
            "Associations ended",
            PER_SECOND,
            {"{{outcome}}": rate("draw_scp_associations_total", "outcome")},
        ),
        Panel(
            "Associations rejected",
            PER_SECOND,
            {"{{source}}: {{reason}}": rate("draw_scp_rejections_total", "source, reason")},
        ),
        Panel(
            "Confirmed by the broker",
            PER_SECOND,
            {
                "announced": rate("draw_scp_announced_total"),
                "announced by workers": rate("draw_qr_worker_announced_total"),
            },
        ),
        Panel(
            "Not announced yet",
            NUMBER,
            {
                "{{instance}}": "sum by (instance) (draw_scp_outbox_objects)",
                "{{instance}} (worker)": "sum by (instance) (draw_qr_worker_outbox_objects)",
            },
        ),
        Panel(
            "Oldest not announced",
            SECONDS,
            {"{{instance}}": "max by (instance) (draw_scp_outbox_oldest_seconds)"},
        ),
        Panel(
            "Transaction log waiting",
            NUMBER,
            {"{{instance}}": "sum by (instance) (draw_scp_transaction_segments)"},
        ),
        Panel(
            "Messages waiting",
            NUMBER,
            {"{{queue}}": "max by (queue) (draw_suite_queue_messages)"},
        ),
        quantiles("Reception to index", "draw_indexer_lag_seconds"),
        quantiles("Steps of a batch", "draw_indexer_batch_seconds", "step"),
        Panel(
            "Objects per batch",
            NUMBER,
            {
                "mean": rate("draw_indexer_batch_objects_sum")
                + " / "
                + rate("draw_indexer_batch_objects_count")
            },
        ),
        Panel(
            "Rows written",
            PER_SECOND,
            {"{{table}}": rate("draw_indexer_rows_total", "table")},
        ),
        Panel(
            "Put aside",
            PER_SECOND,
            {
                "{{queue}} {{outcome}}": rate(
                    "draw_indexer_messages_put_aside_total", "queue, outcome"
                ),
                "{{reason}}": rate("draw_indexer_read_failures_total", "reason"),
            },
        ),
    ),
)

QUERY_RETRIEVE: Final = Dashboard(
    "draw-query-retrieve",
    "Query and retrieve",
    (
        Panel(
            "C-FIND by status",
            PER_SECOND,
            {"{{status}}": rate("draw_scp_operations_total", "status", 'operation="c-find"')},
        ),
        quantiles("C-FIND", "draw_scp_find_seconds"),
        Panel("Matches", PER_SECOND, {"answered": rate("draw_scp_matches_total")}),
        Panel(
            "C-MOVE and C-GET by status",
            PER_SECOND,
            {
                "{{operation}} {{status}}": rate(
                    "draw_scp_operations_total",
                    "operation, status",
                    'operation=~"c-move|c-get"',
                )
            },
        ),
        quantiles("C-MOVE and C-GET", "draw_scp_retrieve_seconds", "operation"),
        Panel(
            "Sub-operations",
            PER_SECOND,
            {
                "{{operation}} {{outcome}}": rate(
                    "draw_scp_sub_operations_total", "operation, outcome"
                )
            },
        ),
        Panel(
            "Database connections in use",
            NUMBER,
            {"{{instance}}": IN_USE},
        ),
        Panel(
            "HTTP requests",
            PER_SECOND,
            {"{{status}}": rate("draw_api_requests_total", "status")},
        ),
        quantiles("HTTP answers", "draw_api_request_seconds"),
        Panel(
            "DICOMweb requests",
            PER_SECOND,
            {"{{route}} {{status}}": rate("draw_dicomweb_requests_total", "route, status")},
        ),
        quantiles("DICOMweb answers", "draw_dicomweb_request_seconds"),
        Panel(
            "DICOMweb whole objects sent",
            PER_SECOND,
            {"{{instance}}": rate("draw_dicomweb_sent_objects_total", "instance")},
        ),
    ),
)

JOBS: Final = Dashboard(
    "draw-jobs",
    "Jobs",
    (
        Panel(
            "Unfinished jobs",
            NUMBER,
            {"{{state}}": "max by (state) (draw_suite_jobs)"},
            stacked=True,
        ),
        Panel(
            "Oldest job",
            SECONDS,
            {"{{state}}": "max by (state) (draw_suite_oldest_job_seconds)"},
        ),
        Panel(
            "Running, by worker",
            NUMBER,
            {"{{instance}}": "sum by (instance) (draw_qr_worker_running_jobs)"},
            stacked=True,
        ),
        Panel(
            "Executions",
            PER_SECOND,
            {"{{kind}} {{outcome}}": rate("draw_qr_worker_executions_total", "kind, outcome")},
        ),
        quantiles("Time of an execution", "draw_qr_worker_execution_seconds", "kind"),
        Panel(
            "Taken back from silent workers",
            PER_SECOND,
            {"jobs": rate("draw_qr_worker_jobs_taken_back_total")},
        ),
        Panel(
            "Nodes that fail",
            NUMBER,
            {"{{node}}": "max by (node) (draw_suite_node_circuit_open)"},
            width=12,
        ),
        Panel(
            "Wake-ups and dead letters",
            NUMBER,
            {"{{queue}}": 'max by (queue) (draw_suite_queue_messages{queue=~"qr-worker.*"})'},
            width=12,
        ),
    ),
)

ROUTING: Final = Dashboard(
    "draw-routing",
    "Routing",
    (
        now(
            "Deliveries waiting", NUMBER, "sum(max by (destination, state) (draw_suite_deliveries))"
        ),
        now("Oldest", SECONDS, "max(draw_suite_oldest_delivery_seconds)", 86_400),
        now(
            "Oldest tried in vain", SECONDS, "max(draw_suite_oldest_failing_delivery_seconds)", 3600
        ),
        now("Groups that fail over", NUMBER, FAILED_OVER, 1),
        now("Destinations held", NUMBER, f"sum({HELD} >= bool 0) or vector(0)", 1),
        now("Decisions wait for", SECONDS, "max(draw_indexer_routing_lag_seconds)", 300),
        Panel(
            "Deliveries that are not over",
            NUMBER,
            {"{{destination}} {{state}}": "max by (destination, state) (draw_suite_deliveries)"},
            stacked=True,
        ),
        Panel(
            "Oldest, by destination",
            SECONDS,
            {"{{destination}}": "max by (destination) (draw_suite_oldest_delivery_seconds)"},
        ),
        Panel(
            "Since something last arrived",
            SECONDS,
            {"{{destination}}": LAST_SUCCESS},
        ),
        Panel(
            "Delivered",
            PER_SECOND,
            {"{{destination}}": rate(ENDED, "destination", 'outcome="delivered"')},
        ),
        Panel(
            "Ended otherwise",
            PER_SECOND,
            {
                "{{destination}} {{outcome}}": rate(
                    ENDED, "destination, outcome", 'outcome!="delivered"'
                )
            },
        ),
        Panel(
            "Failed tries in a row",
            NUMBER,
            {"{{destination}}": "max by (destination) (draw_suite_destination_failures)"},
        ),
        Panel(
            "Failover in force",
            NUMBER,
            {
                "{{destination}} to {{target}}": (
                    "max by (destination, target) (draw_suite_failover_in_force)"
                )
            },
        ),
        Panel("Held by an operator", SECONDS, {"{{destination}} {{mode}}": HELD}),
        Panel(
            "Decided",
            PER_SECOND,
            {
                "decisions": rate("draw_indexer_routing_decisions_total"),
                "deliveries": rate("draw_indexer_routing_deliveries_total"),
                "undecided": rate("draw_indexer_routing_undecided_total"),
            },
        ),
    ),
)

STORAGE: Final = Dashboard(
    "draw-storage",
    "Storage",
    (
        now("Used", BYTES, "max(draw_scp_storage_used_bytes)"),
        now("Quota", BYTES, "min(draw_scp_storage_quota_bytes)"),
        now("Free on the disk", BYTES, "min(draw_suite_disk_free_bytes)"),
        now("Received per day", BYTES, "max(draw_suite_received_bytes_per_day)"),
        now("Full in", SECONDS, "draw:storage_full_seconds"),
        now(
            "Used of the disk",
            SHARE,
            "1 - min(draw_suite_disk_free_bytes) / max(draw_suite_disk_size_bytes)",
            0.9,
        ),
        Panel(
            "Used and quota",
            BYTES,
            {
                "used": "max(draw_scp_storage_used_bytes)",
                "quota": "min(draw_scp_storage_quota_bytes)",
            },
            width=12,
        ),
        Panel(
            "Disk",
            BYTES,
            {"free": "min(draw_scp_storage_free_bytes)", "size": "max(draw_suite_disk_size_bytes)"},
            width=12,
        ),
        Panel(
            "Bytes received",
            BYTES_PER_SECOND,
            {"{{instance}}": rate("draw_scp_stored_bytes_total", "instance")},
            width=12,
            stacked=True,
        ),
        Panel(
            "Series and studies closed",
            PER_SECOND,
            {"{{level}}": rate("draw_indexer_stable_total", "level")},
            width=12,
        ),
    ),
)

DASHBOARDS: Final = {
    "overview": OVERVIEW,
    "ingest": INGEST,
    "query-retrieve": QUERY_RETRIEVE,
    "jobs": JOBS,
    "routing": ROUTING,
    "storage": STORAGE,
}


def pages() -> dict[Path, str]:
    """Return the text of each dashboard by its path in the tree."""
    return {FOLDER / f"{name}.json": page.text() for name, page in DASHBOARDS.items()}
