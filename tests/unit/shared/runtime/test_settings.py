"""Settings from the environment and from secret files.

Not covered here: the fields of each service, which their own tests read.
"""

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from draw_shared.runtime.settings import (
    BrokerSettings,
    PostgresSettings,
    ServiceSettings,
    StorageSettings,
)


class Example(ServiceSettings, PostgresSettings, BrokerSettings, StorageSettings):
    service: ClassVar[str] = "example-service"

    example_service_depth: int = Field(default=3, ge=1, description="how deep")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("DRAW_DATABASE_URL", "postgresql://u:secret@db/draw")
    monkeypatch.setenv("DRAW_BROKER_URL", "amqp://u:secret@mq/")
    monkeypatch.setenv("DRAW_STORAGE_ROOT", "/srv/draw")


def test_values_come_from_prefixed_variables(monkeypatch):
    monkeypatch.setenv("DRAW_EXAMPLE_SERVICE_DEPTH", "7")
    settings = Example.read()
    assert settings.example_service_depth == 7
    assert settings.storage_root == Path("/srv/draw")


def test_a_secret_file_wins_and_loses_its_line_end(monkeypatch, tmp_path):
    secret = tmp_path / "url"
    secret.write_text("postgresql://from-file/draw\n")
    monkeypatch.setenv("DRAW_DATABASE_URL_FILE", str(secret))
    assert Example.read().database_url.get_secret_value() == "postgresql://from-file/draw"


def test_a_secret_is_not_shown(capsys):
    print(Example.read())
    assert "secret" not in capsys.readouterr().out


def test_a_missing_secret_has_no_default(monkeypatch):
    monkeypatch.delenv("DRAW_BROKER_URL")
    with pytest.raises(ValidationError, match="broker_url"):
        Example.read()


def test_a_mistyped_variable_of_the_service_is_named(monkeypatch):
    monkeypatch.setenv("DRAW_EXAMPLE_SERVICE_DETPH", "7")
    with pytest.raises(ValueError, match="DRAW_EXAMPLE_SERVICE_DETPH"):
        Example.read()


def test_variables_of_other_services_are_not_its_business(monkeypatch):
    monkeypatch.setenv("DRAW_SCP_PORT", "11112")
    Example.read()


def test_a_replica_is_named_after_host_and_service(monkeypatch):
    assert Example.read().replica.endswith("-example-service")
    monkeypatch.setenv("DRAW_REPLICA", "pod-7")
    assert Example.read().replica == "pod-7"


def test_a_replica_name_cannot_be_a_path(monkeypatch):
    monkeypatch.setenv("DRAW_REPLICA", "../etc")
    with pytest.raises(ValidationError, match="replica"):
        Example.read()
