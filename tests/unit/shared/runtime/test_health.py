"""The health port over real HTTP."""

import urllib.error
import urllib.request

import pytest

from draw_shared.runtime.health import Health, HealthServer
from draw_shared.runtime.lifecycle import State
from draw_shared.runtime.metrics import service_registry


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def world():
    return {"state": State.READY, "broker": True, "reason": ""}


@pytest.fixture
def url(world):
    health = Health(
        lambda: world["state"],
        {"broker": lambda: world["broker"]},
        {"broker": lambda: world["reason"]},
    )
    registry = service_registry(service="scp", replica="r1", version="1")
    server = HealthServer("127.0.0.1", 0, health, registry)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop(1)


def test_ready_names_what_is_missing(world, url):
    assert get(f"{url}/readyz") == (200, "ready\n")
    world["broker"] = False
    assert get(f"{url}/readyz") == (503, "broker\n")
    world["reason"] = "it has moved"
    assert get(f"{url}/readyz") == (503, "broker: it has moved\n")
    assert get(f"{url}/livez")[0] == 200


def test_a_draining_service_is_alive_but_not_ready(world, url):
    world["state"] = State.DRAINING
    assert get(f"{url}/readyz") == (503, "draining\n")
    assert get(f"{url}/livez")[0] == 200


def test_metrics_say_which_service_this_is(url):
    status, body = get(f"{url}/metrics")
    assert status == 200
    assert 'draw_service_info{replica="r1",service="scp",version="1"} 1.0' in body


def test_anything_else_is_not_found(url):
    assert get(f"{url}/etc/passwd")[0] == 404
