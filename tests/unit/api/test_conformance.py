"""The conformance statement says what the configuration does."""

import pytest

from draw_api.services.conformance import statement
from draw_api.services.status_tables import FIND_STATUSES, RETRIEVE_STATUSES, STORE_STATUSES
from draw_shared.contracts.association_rules import storage_classes, storage_syntaxes
from draw_shared.contracts.server_config import (
    EVERYTHING,
    REFERENCE,
    SecurityConfig,
    ServiceConfig,
    StorageConfig,
    TlsConfig,
)
from draw_shared.dicom.encoding import uids
from draw_shared.dicom.network.statuses import ANSWERED, DimseStatus

SECTIONS = (
    "1 Conformance statement overview",
    "2 Introduction",
    "3 Implementation model",
    "4 AE specification: receiver",
    "5 AE specification: retriever",
    "6 Network interfaces",
    "7 Configuration",
    "8 Security",
    "9 Annexes",
)


def text(**sections):
    return statement(EVERYTHING.model_copy(update=sections), "1.0")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_is_there(section):
    assert f"## {section}\n" in text()


@pytest.mark.parametrize("config", [EVERYTHING, REFERENCE])
def test_exactly_what_is_offered_is_listed(config):
    found = statement(config, "1.0")
    receiver = found[found.index("### 4.3") : found.index("### 4.4")]
    for uid in uids.ALL_STORAGE:
        assert (f"| {uid} |" in receiver) == (uid in storage_classes(config.sop_classes))
    for uid in uids.ALL_TRANSFER_SYNTAXES:
        offered = uid in storage_syntaxes(config.transfer_syntaxes)
        assert (f"| {uid} |\n" in receiver) == offered
    for model in (*uids.FIND_MODELS, *uids.MOVE_MODELS, *uids.GET_MODELS):
        assert (f"| {model} |" in receiver) == (config is EVERYTHING)


def test_classes_beyond_the_listed_and_objects_without_study_are_told():
    assert "Any other SOP class that is proposed" in text()
    assert "Any other SOP class that is proposed" not in statement(REFERENCE, "1.0")
    assert "| Ultrasound Image Storage (retired) | 1.2.840.10008.5.1.4.1.1.6 |" in text()
    assert "Objects need a Study and a Series Instance UID." in text()


@pytest.mark.parametrize(("quota", "said"), [(100, "100 GB"), (53_000, "53000 GB"), (0, "none")])
def test_the_quota_is_told(quota, said):
    assert f"| Quota | {said} |" in text(storage=StorageConfig(max_storage_gb=quota))


def test_the_statuses_of_the_tables_are_those_that_are_answered():
    tables = (*STORE_STATUSES, *FIND_STATUSES, *RETRIEVE_STATUSES)
    told = {int(status, 16) for status, _, _ in tables}
    assert told | {DimseStatus.UNRECOGNIZED_OPERATION} == ANSWERED


def test_settings_are_told():
    assert "| C-STORE" not in text()
    services = ServiceConfig(c_find=False, c_move=True, c_get=False)
    assert "### 4.5 C-FIND" not in text(services=services)
    assert "### 4.6 Statuses of C-MOVE and C-GET" in text(services=services)
    assert "studies older than 7 days" in text(
        storage=StorageConfig(clean_up=True, retention_days=7)
    )
    security = SecurityConfig(validate_calling_ae=True, allowed_ips=("10.0.0.0/8",))
    assert "calling AE title must be on the list; addresses: 10.0.0.0/8" in text(security=security)
    assert "Others may use no service; they never query" in text(security=security)
    assert "Others may use C-ECHO and C-STORE; they never query" in text()
    tls = EVERYTHING.network.model_copy(update={"tls": TlsConfig(enabled=True)})
    assert "BCP 195" in text(network=tls)
