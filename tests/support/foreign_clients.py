"""Clients of four makers, run as programs: DCMTK, pynetdicom, GDCM, dcmjs-dimse.

Each function sends C-ECHO or C-STORE to a local port and raises when its program complains.
A program that is missing skips the test on a laptop and fails it in CI.
"""

import json
import shutil
import subprocess
import sys

from support.service_finder import ROOT, missing, program

CALLED = "DRAW_SCP"
SECONDS = 60
GDCM_ENDS_WITH = "ProtocolStream as nullptr is invalid"


def run(*words):
    """Run a program and return what it wrote; it has to succeed."""
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{words[0]}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def dcmtk_echo(port, *options):
    run(program("echoscu", "dcmtk"), *options, "-aec", CALLED, "127.0.0.1", port)


def dcmtk_store(port, files, *options):
    # -R: only the presentation contexts that the files need.
    run(program("storescu", "dcmtk"), "-R", *options, "-aec", CALLED, "127.0.0.1", port, *files)


def pynetdicom_echo(port):
    run(sys.executable, "-m", "pynetdicom", "echoscu", "127.0.0.1", port, "-aec", CALLED)


def pynetdicom_store(port, files):
    storescu = (sys.executable, "-m", "pynetdicom", "storescu")
    said = run(*storescu, "127.0.0.1", port, *files, "-aec", CALLED, "-cx")
    assert "0x" not in said, said


def gdcm(port, *words):
    """Run gdcmscu, which ends with an exception of its own after it has released (3.0.21).

    It does so with every peer, so what it did is to be looked up at the receiver.
    """
    gdcmscu = program("gdcmscu", "libgdcm-tools")
    done = subprocess.run(
        [gdcmscu, *words, "--call", CALLED, "127.0.0.1", str(port)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0 or GDCM_ENDS_WITH in done.stderr, done.stdout + done.stderr


def gdcm_echo(port):
    gdcm(port, "--echo")


def gdcm_store(port, files):
    for file in files:
        gdcm(port, "--store", "-i", str(file))


def dcmjs_peer(folder):
    """Return the JavaScript peer in `folder`, with the packages of its lock file."""
    npm = program("npm", "npm")
    shutil.copytree(
        ROOT / "tests" / "e2e" / "dcmjs",
        folder,
        ignore=shutil.ignore_patterns("node_modules"),
        dirs_exist_ok=True,
    )
    done = subprocess.run(
        [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        missing(f"the packages of dcmjs-dimse: {done.stderr[-500:]}")
    return folder / "peer.js"


def dcmjs_send(peer, port, files=()):
    """Send C-ECHO and each file, and return all statuses, the echo's first."""
    node = program("node", "nodejs")
    return json.loads(run(node, peer, port, CALLED, *files).splitlines()[-1])
