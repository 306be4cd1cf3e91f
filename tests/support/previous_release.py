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


def _git(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, check=False)


def search_path(folder: Path) -> str:
    """Write its sources below a folder and return the PYTHONPATH on which they come first.

    Where the sources came without their history the test is skipped; a whole history without the
    commit is a wrong `COMMIT`.
    """
    done = _git("archive", COMMIT, *PACKAGES)
    if done.returncode:
        said = f"there is no commit {COMMIT}: {done.stderr.decode().strip()}"
        whole = _git("rev-parse", "--is-shallow-repository").stdout.strip() == b"false"
        (pytest.fail if whole else pytest.skip)(said)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return ":".join(str(folder / package) for package in PACKAGES)
