"""Probes and metrics are answered while every thread for requests waits.

The suite under a locked table is in tests/e2e/test_monitoring.py.
"""

import threading
import urllib.request

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Gauge

from draw_shared.runtime.health import Health
from draw_shared.runtime.lifecycle import State
from draw_shared.web.probes import probes
from draw_shared.web.server import WebServer
from support.waiting import wait_until

THREADS = 40
"""So many requests FastAPI handles at a time."""


def test_probes_and_metrics_do_not_wait_for_requests_that_wait():
    registry = CollectorRegistry()
    Gauge("shown", "A value", registry=registry).set(7)
    application = FastAPI()
    application.include_router(probes(Health(lambda: State.READY, {}), registry))
    waiting, over = threading.Semaphore(0), threading.Event()

    @application.get("/wait")
    def wait():
        waiting.release()
        over.wait(30)

    server = WebServer(application, "127.0.0.1", 0, trusted_proxies="")
    server.start()

    def answer(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=40) as got:
            return got.read().decode()

    visitors = [threading.Thread(target=answer, args=("/wait",)) for _ in range(THREADS + 5)]
    try:
        for visitor in visitors:
            visitor.start()
        assert wait_until(lambda: waiting._value == THREADS, 60)
        found = []
        asking = threading.Thread(
            target=lambda: found.extend(answer(path) for path in ("/livez", "/readyz", "/metrics"))
        )
        asking.start()
        asking.join(10)
        assert found[:2] == ["live\n", "ready\n"]
        assert "shown 7.0" in found[2]
    finally:
        over.set()
        for visitor in visitors:
            visitor.join(20)
        server.stop(5)
