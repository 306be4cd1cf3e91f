"""No deployment lets peers of its own machine read.

That the launcher does is shown by `make demo` in tests/e2e/test_launcher.py.
"""

import re

from support.service_finder import ROOT

NAME = "DRAW_SCP_LOOPBACK_READS"
DEPLOYMENTS = [
    path
    for path in (*(ROOT / "deploy").rglob("*"), *(ROOT / "services").glob("*/Dockerfile"))
    if path.is_file()
]


def test_no_deployment_sets_it_and_the_unit_with_the_launcher_takes_it_back():
    found = {}
    for path in DEPLOYMENTS:
        for said in re.findall(rf"^[^#\n]*{NAME}\W+(\w+)", path.read_text("utf-8"), re.MULTILINE):
            found[str(path.relative_to(ROOT))] = said
    assert found == {"deploy/systemd/draw-dicom.service": "false"}
