"""What a container may take is enough for its service and for all processes that it starts.

A process that decodes may take up to its limit, all of them at once: a container with less
would be killed as a whole, with every association in it. The limits are read from the code,
the containers' from the manifests; what the services themselves may take is an allowance, above
what `make soak` shows (docs/performance.md).
"""

from pathlib import Path

import pytest
import yaml

from draw_api.adapters import object_child, object_reader
from draw_indexer.settings import IndexerSettings
from draw_scp.app import MAX_PROCESSES
from draw_scp.settings import ScpSettings
from draw_shared.dicom.transcoding import decoding_processes
from draw_shared.dicom.transcoding.decoding import DecodingLimits

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
UNITS = {"Mi": MIB, "Gi": 1024 * MIB, "M": MIB, "G": 1024 * MIB}
"""Kubernetes' units, and Docker's, which mean the same by M and G."""

SERVICE = 512 * MIB
"""The service's own process, with a hundred associations or a full queue of requests."""
RECEIVING = 160 * MIB
"""A further process that receives."""
ANNOUNCING = 96 * MIB


def defaults(settings, prefix):
    return {
        name: field.default
        for name, field in settings.model_fields.items()
        if name.startswith(prefix)
    }


def decoding():
    """What all processes that decode for transcoding may take, by default settings."""
    said = defaults(ScpSettings, "transcoding_")
    limits = DecodingLimits(
        said["transcoding_max_frame_bytes"], said["transcoding_max_inflated_bytes"]
    )
    # Who builds it without settings has the same.
    assert limits == DecodingLimits()
    return decoding_processes.PROCESSES * limits.memory_bytes


def needed():
    indexer = defaults(IndexerSettings, "indexer_read")
    return {
        "scp": SERVICE + (MAX_PROCESSES - 1) * RECEIVING + ANNOUNCING + decoding(),
        "qr-worker": SERVICE + decoding(),
        "dicomweb": SERVICE + decoding(),
        "api": SERVICE + object_reader.CHILDREN * object_child.MEMORY_BYTES,
        "indexer": SERVICE + indexer["indexer_readers"] * indexer["indexer_read_memory_mb"] * MIB,
    }


def in_bytes(said):
    digits = said.rstrip("MGi")
    return int(digits) * UNITS[said[len(digits) :]]


@pytest.mark.parametrize("name", needed())
def test_a_pod_has_room_for_every_process_at_its_limit(name):
    parts = yaml.safe_load_all((ROOT / "deploy" / "k8s" / "base" / f"{name}.yaml").read_text())
    (deployment,) = [part for part in parts if part["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert needed()[name] <= in_bytes(container["resources"]["limits"]["memory"])


@pytest.mark.parametrize("name", needed())
def test_a_container_of_compose_has_room_for_every_process_at_its_limit(name):
    said = yaml.safe_load((ROOT / "deploy" / "compose.yml").read_text())["services"][name]
    assert needed()[name] <= in_bytes(said["deploy"]["resources"]["limits"]["memory"])


def test_no_manifest_sets_another_limit_for_what_decodes():
    # The sums above hold for the settings that are in force.
    names = ("TRANSCODING_", "INDEXER_READ", "SCP_PROCESSES")
    for path in (ROOT / "deploy").rglob("*.y*ml"):
        assert not [name for name in names if f"DRAW_{name}" in path.read_text()], path
