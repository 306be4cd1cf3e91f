"""Metrics that every service has."""

import time

from prometheus_client import CollectorRegistry, Gauge, Info, PlatformCollector, ProcessCollector


def service_registry(*, service: str, replica: str, version: str) -> CollectorRegistry:
    """Return a registry with process metrics and `draw_service_info`."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    Info("draw_service", "Which service this is", registry=registry).info(
        {"service": service, "replica": replica, "version": version}
    )
    started = Gauge("draw_service_start_time_seconds", "Unix time of start", registry=registry)
    started.set(time.time())
    return registry
