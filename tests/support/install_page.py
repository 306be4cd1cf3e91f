"""The blocks of docs/install.md that a test runs, with folders and ports of the test's own.

A block is named by the comment before it: `<!-- runs NAME -->`.
"""

import re
import subprocess
import sys
from pathlib import Path

from support.launched import Launched
from support.service_finder import ROOT

BLOCK = re.compile(r"<!-- runs (\S+) -->\n```(\w*)\n(.*?)\n```", re.DOTALL)
PAGE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
BLOCKS = {name: (language, text) for name, language, text in BLOCK.findall(PAGE)}


class InstallPage:
    """The page as for a machine whose other folders are below `folder`."""

    def __init__(self, folder: Path):
        self.etc, self.srv = folder / "etc", folder / "srv"
        self.root = folder / "root"
        for made in (self.etc, self.srv, self.srv / "backup", self.srv / "objects", self.root):
            made.mkdir(parents=True, exist_ok=True)

    def text(self, name: str, home: Path, launched: Launched) -> str:
        """Return a block as it is for this home and these ports."""
        own = {
            "sudo -u draw ": "",
            "sudo install -d -o draw -g draw": "install -d",
            "/opt/draw-dicom": str(ROOT),
            "/var/lib/draw-dicom": str(home),
            "/etc/draw-dicom": str(self.etc),
            "/root/": f"{self.root}/",
            "/srv/": f"{self.srv}/",
            "11112": str(launched.dicom_port),
            "2762": str(launched.tls_port),
            "8000": str(launched.api_port),
            "8042": str(launched.dicomweb_port),
        }
        # In one go: what is put in is not looked at again.
        anywhere = re.compile("|".join(map(re.escape, own)))
        return anywhere.sub(lambda found: own[found.group()], BLOCKS[name][1])

    def run(
        self, name: str, launched: Launched, *, home: Path | None = None, **given: str
    ) -> subprocess.CompletedProcess:
        """Run a block to its first failure, and return what it said."""
        text = self.text(name, home or launched.home, launched)
        command = {"sh": ["bash", "-euc", text], "python": [sys.executable, "-c", text]}
        return subprocess.run(
            command[BLOCKS[name][0]],
            env=launched.inherited | given,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
