"""Metrics of the DICOMweb service."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from draw_shared.web.metrics import WebMetrics


class DicomwebMetrics(WebMetrics):
    """Adds to those of a web server what was handed out and taken in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "dicomweb")
        self.sent_objects = Counter(
            "draw_dicomweb_sent_objects",
            "Whole objects that were sent",
            registry=registry,
        )
        self.store_answers = Counter(
            "draw_dicomweb_store_answers",
            "Objects of store requests, by what was answered",
            ("status",),
            registry=registry,
        )
        self.stored_bytes = Counter(
            "draw_dicomweb_stored_bytes",
            "Bytes of the files of stored objects",
            registry=registry,
        )
        self.announced = Counter(
            "draw_dicomweb_announced_objects",
            "Stored objects whose announcement the broker has confirmed",
            registry=registry,
        )
        self.unannounced = Gauge(
            "draw_dicomweb_outbox_objects",
            "Durable objects that are not announced yet",
            registry=registry,
        )
