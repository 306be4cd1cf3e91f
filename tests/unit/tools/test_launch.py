"""What the launcher decides without starting anything; the rest is in e2e."""

import pytest
from pydantic import ValidationError

from tools import launch
from tools.first_configuration import first_configuration
from tools.launch import Watched


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(launch.time, "monotonic", clock)
    return clock


class Service:
    def __init__(self):
        self.up = True
        self.starts = 0

    def running(self):
        return self.up

    def start(self):
        self.starts += 1


def _watched(service, clock):
    return Watched("scp", service.running, service.start, began=clock.now)


def test_what_runs_is_left_alone(clock):
    service = Service()
    _watched(service, clock).look()
    assert service.starts == 0


def test_what_crashes_starts_again_after_pauses_that_grow_to_30_seconds(clock):
    service = Service()
    service.up = False
    watched = _watched(service, clock)
    pauses = []
    for _ in range(7):
        watched.look()
        pauses.append(watched.again_at - clock.now)
        clock.now = watched.again_at - 0.01
        starts = service.starts
        watched.look()
        assert service.starts == starts
        clock.now += 0.01
        watched.look()
        assert service.starts == starts + 1
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_a_minute_of_calm_forgets_earlier_crashes(clock):
    service = Service()
    watched = _watched(service, clock)
    watched.crashes = 4
    clock.now += 61
    watched.look()
    assert watched.crashes == 0


def test_a_new_suite_has_everything_on_where_the_environment_says():
    config = first_configuration({"DRAW_SCP_PORT": "4104", "DRAW_SCP_AE_TITLE": "ARCHIVE"})
    assert (config.network.port, config.network.ae_title) == (4104, "ARCHIVE")
    assert config.services.c_find
    assert config.services.c_move
    assert config.services.c_get
    assert config.sop_classes.all_storage_classes
    assert config.transfer_syntaxes.all_transfer_syntaxes


@pytest.mark.parametrize("given", [{"DRAW_SCP_PORT": "x"}, {"DRAW_SCP_AE_TITLE": "A" * 17}])
def test_a_wrong_value_is_refused(given):
    with pytest.raises(ValidationError):
        first_configuration(given)
