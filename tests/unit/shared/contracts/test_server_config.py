"""Defaults and ranges of the configuration reference."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from draw_shared.contracts.server_config import EVERYTHING, REFERENCE, ServerConfig


def test_the_reference_defaults():
    config = REFERENCE
    network = config.network
    assert (network.ae_title, network.host, network.port) == ("DRAW_SCP", "0.0.0.0", 11112)
    assert (network.max_associations, network.max_pdu_bytes) == (10, 16384)
    assert network.network_timeout_seconds == 30
    assert network.acse_timeout_seconds == 30
    assert network.dimse_timeout_seconds == 30
    storage = config.storage
    assert (storage.structure, storage.naming) == ("series", "sop_uid")
    assert (storage.max_storage_gb, storage.clean_up, storage.retention_days) == (100, False, 30)
    services = config.services
    assert services.c_echo
    assert services.c_store
    assert not (services.c_find or services.c_move or services.c_get)
    syntaxes = config.transfer_syntaxes
    assert syntaxes.implicit_vr_little_endian
    assert syntaxes.explicit_vr_little_endian
    assert syntaxes.jpeg_baseline
    assert syntaxes.jpeg_lossless
    assert not syntaxes.explicit_vr_big_endian
    assert not syntaxes.jpeg_2000_lossless
    assert not syntaxes.rle_lossless
    assert not config.security.validate_calling_ae
    assert config.security.allowed_ips == ()


def test_everything_is_on_for_a_machine_that_tries_it_out():
    assert EVERYTHING.sop_classes.all_storage_classes and EVERYTHING.sop_classes.promiscuous
    assert not REFERENCE.sop_classes.promiscuous
    assert EVERYTHING.transfer_syntaxes.all_transfer_syntaxes
    assert EVERYTHING.services.c_find
    assert EVERYTHING.services.c_move
    assert EVERYTHING.services.c_get


@pytest.mark.parametrize(
    ("section", "field", "bad"),
    [
        ("network", "max_associations", 0),
        ("network", "max_associations", 101),
        ("network", "max_pdu_bytes", 4095),
        ("network", "max_pdu_bytes", 131073),
        ("network", "acse_timeout_seconds", 4),
        ("network", "dimse_timeout_seconds", 301),
        ("network", "ae_title", "lower"),
        ("network", "port", 70000),
        ("storage", "max_storage_gb", -1),
        ("storage", "max_storage_gb", 9_000_000_001),
        ("storage", "retention_days", 3651),
        ("storage", "structure", "tree"),
        ("security", "allowed_ips", ["10.0.0.0/33"]),
        ("sop_classes", "further", ["not a uid"]),
        ("services", "c_fnid", True),
    ],
)
def test_a_bad_value_is_refused_by_name(section, field, bad):
    with pytest.raises(ValidationError) as caught:
        ServerConfig.model_validate({section: {field: bad}})
    assert caught.value.errors()[0]["loc"][:2] == (section, field)


def test_the_quota_of_each_size_of_the_scaling_page_can_be_set():
    page = (Path(__file__).parents[4] / "docs" / "scaling.md").read_text(encoding="utf-8")
    [row] = re.findall(r"^\| `storage.max_storage_gb` \|(.+)\|$", page, re.MULTILINE)
    sizes = [int(cell.split()[0]) for cell in row.split("|")]
    for size in (*sizes, 0, 1, 10_000, 10_001, 9_000_000_000):
        document = {"storage": {"max_storage_gb": size}}
        assert ServerConfig.model_validate(document).storage.max_storage_gb == size
    assert len(sizes) == 3


def test_the_document_survives_json():
    assert ServerConfig.model_validate_json(EVERYTHING.model_dump_json()) == EVERYTHING


@pytest.mark.parametrize("prefix", [0, 24, 32, 95])
def test_a_mapped_network_opens_no_more_than_its_ipv4_network(prefix):
    written = f"::ffff:192.0.2.17/{prefix}"
    with pytest.raises(ValidationError, match=r"IPv4 network such as 192\.0\.2\.17/32"):
        ServerConfig.model_validate({"security": {"allowed_ips": [written]}})


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("::ffff:10.1.2.0/120", "10.1.2.0/24"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::/0", "::/0"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("fe80::1%eth0", "fe80::1/128"),
        ("2001:DB8::1/32", "2001:db8::/32"),
    ],
)
def test_a_network_is_kept_as_it_is_compared(written, kept):
    config = ServerConfig.model_validate({"security": {"allowed_ips": [written]}})
    assert config.security.allowed_ips == (kept,)
