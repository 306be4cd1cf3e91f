"""The filing rules of a reception, and the provenance keys in the file."""

from dataclasses import dataclass
from typing import Final

from draw_shared.contracts.server_config import StorageConfig
from draw_shared.storage.layout import Layout
from draw_shared.storage.space import SpaceLimits

ASSOCIATION_KEY: Final = "association"
ORDINAL_KEY: Final = "ordinal"
REPLICA_KEY: Final = "replica"
ORIGINATOR_AE_KEY: Final = "originator_ae"
ORIGINATOR_MESSAGE_KEY: Final = "originator_message"
USER_KEY: Final = "user"
"""Keys of the provenance in the private information of the file meta group."""


@dataclass(frozen=True, slots=True)
class FilingRules:
    """How objects are filed, and how much space they may use."""

    layout: Layout
    limits: SpaceLimits


def filing_rules(storage: StorageConfig) -> FilingRules:
    """Return the rules that this configuration sets for a reception."""
    return FilingRules(
        Layout(storage.structure, storage.naming),
        SpaceLimits.configured(storage.max_storage_gb, storage.min_free_percent),
    )
