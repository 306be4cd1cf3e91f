"""What a document of another release means to this one."""

from enum import StrEnum
from typing import get_args

import pytest

from draw_shared.contracts.config_reading import STRICTEST, ConfigUnreadable, read_config
from draw_shared.contracts.server_config import (
    EVERYTHING,
    ClientCertificates,
    DuplicatePolicy,
    ListeningPort,
    Section,
    ServerConfig,
)


def document(**sections):
    written = EVERYTHING.model_dump(mode="json")
    for name, fields in sections.items():
        written[name].update(fields)
    return written


def test_what_this_release_writes_it_reads_whole():
    reading = read_config(EVERYTHING.model_dump(mode="json"))
    assert reading.config == EVERYTHING
    assert (reading.unknown, reading.tightened) == ((), ())


def test_fields_that_are_not_known_are_left_out_and_named():
    written = document(security={"validate_calling_ae": True, "quarantine": {"on": True}})
    written["network"]["tls"]["oldest_version"] = "1.3"
    written["federation"] = {"peers": []}
    reading = read_config(written)
    assert reading.config.security.validate_calling_ae
    assert reading.unknown == ("network.tls.oldest_version", "security.quarantine", "federation")


def test_an_unknown_choice_becomes_the_strictest_and_is_named():
    written = document(storage={"duplicates": "merge"})
    written["network"]["tls"]["client_certificates"] = "attested"
    reading = read_config(written)
    assert reading.config.network.tls.client_certificates is ClientCertificates.REQUIRED
    assert reading.config.storage.duplicates is DuplicatePolicy.KEEP_EXISTING
    assert reading.tightened == ("network.tls.client_certificates", "storage.duplicates")


def earlier(**tls):
    """Return a document as a release wrote it that knew no port for TLS."""
    written = document(network={"port": 104})
    del written["network"]["tls"]["port"], written["network"]["tls"]["keep_plain_port"]
    written["network"]["tls"].update(tls)
    return written


def test_tls_of_a_document_without_a_port_for_it_stays_on_the_dicom_port_alone():
    network = read_config(earlier(enabled=True)).config.network
    assert network.ports == (ListeningPort(104, tls=True),)
    again = read_config(ServerConfig(network=network).model_dump(mode="json")).config.network
    assert again == network


def test_tls_that_an_earlier_release_left_off_gets_a_port_of_its_own():
    network = read_config(earlier(enabled=False)).config.network
    assert network.ports == (ListeningPort(104, tls=False),)
    on = network.model_copy(update={"tls": network.tls.model_copy(update={"enabled": True})})
    assert on.ports == (ListeningPort(104, tls=False), ListeningPort(2762, tls=True))


@pytest.mark.parametrize(
    ("tls", "ports"),
    [
        ({"port": 2762}, [(104, False), (2762, True)]),
        ({"port": 2762, "keep_plain_port": False}, [(2762, True)]),
        ({"port": 0}, [(104, True)]),
        ({"port": 0, "keep_plain_port": False}, [(104, True)]),
        ({"enabled": False, "keep_plain_port": False}, [(104, False)]),
    ],
)
def test_the_ports_of_a_document(tls, ports):
    assert list(read_config(earlier(**{"enabled": True} | tls)).config.network.ports) == ports


def choices(section=ServerConfig):
    for field in section.model_fields.values():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from choices(kind)
            elif isinstance(kind, type) and issubclass(kind, StrEnum):
                yield kind


def test_each_choice_of_the_document_has_a_strictest_one():
    assert set(choices()) == set(STRICTEST)
    assert all(isinstance(strictest, choice) for choice, strictest in STRICTEST.items())


@pytest.mark.parametrize(
    ("sections", "fields"),
    [
        ({"network": {"port": 0}}, "network.port"),
        ({"security": {"validate_calling_ae": "perhaps"}}, "security.validate_calling_ae"),
        ({"security": {"allowed_ips": ["everywhere"]}}, "security.allowed_ips"),
        ({"storage": {"duplicates": 5}}, "storage.duplicates"),
    ],
)
def test_a_known_field_with_a_wrong_value_makes_the_document_unreadable(sections, fields):
    with pytest.raises(ConfigUnreadable, match=fields):
        read_config(document(**sections))


@pytest.mark.parametrize("written", [None, [], "{}", 7, {"security": None}, {"network": []}])
def test_what_is_no_document_is_unreadable(written):
    with pytest.raises(ConfigUnreadable):
        read_config(written)
