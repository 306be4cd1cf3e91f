"""The release before this one: its own sources, run with today's libraries.

`COMMIT` and `REVISION` are moved when a release is made, to what was released. From then on every
migration has to leave that one able to work, contracts too. Nothing else moves them.
"""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.service_finder import ROOT

COMMIT = "29edaa747287d8236f0c715966ee282303b926da"
REVISION = "0016"
"""The newest migration of that commit, by which the release is named."""

PACKAGES = (
    "shared/src",
    *(f"services/{service}/src" for service in ("scp", "indexer", "qr-worker", "api")),
)


def search_path(folder: Path) -> str:
    """Write its sources below a folder and return the PYTHONPATH on which they come first.

    Without the commit, as in a shallow clone or in an archive of the sources, the test is skipped.
    """
    done = subprocess.run(
        ["git", "-C", str(ROOT), "archive", COMMIT, *PACKAGES], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"the clone has not the commit {COMMIT}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return ":".join(str(folder / package) for package in PACKAGES)
