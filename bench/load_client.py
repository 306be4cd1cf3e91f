"""Runs the load client, which measures a server rather than itself.

It is a program of its own (`dimse_load.py`), given by `--load-client` or `DRAW_LOAD_CLIENT`.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.peers import Server


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add `--load-client` to a benchmark's options."""
    parser.add_argument(
        "--load-client",
        type=Path,
        default=os.environ.get("DRAW_LOAD_CLIENT"),
        required="DRAW_LOAD_CLIENT" not in os.environ,
        help="path of dimse_load.py",
    )


def run(client: Path, mode: str, server: Server, *words: str, seconds: float = 600) -> Any:  # noqa: ANN401 - the client's JSON
    """Return what one run of the load client reports.

    Raises:
        subprocess.CalledProcessError: the server refused or the client failed.
    """
    command = [sys.executable, str(client), mode, "127.0.0.1", str(server.port), server.ae_title]
    done = subprocess.run(
        [*command, *words], stdout=subprocess.PIPE, text=True, timeout=seconds, check=True
    )
    return json.loads(done.stdout)
