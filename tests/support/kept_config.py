"""What the storage volume keeps of the configuration, for receivers without a database."""

from draw_shared.contracts.config_snapshot import ConfigSnapshot
from draw_shared.contracts.server_config import EVERYTHING
from draw_shared.storage.config_file import ConfigFile


def keep_config(root, config=EVERYTHING, version=1, listed=()):
    """Have a storage root keep a configuration, as a replica with a database does."""
    snapshot = ConfigSnapshot(version, config.model_dump(mode="json"), tuple(listed))
    ConfigFile(root, "test").keep(snapshot)
    return snapshot
