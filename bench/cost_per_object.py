"""CPU milliseconds per stored object of each part of the suite, for docs/scaling.md.

    python -m bench.cost_per_object

Small (64x64) and CT-sized (512x512) objects over four associations. What a part used counts
until the last object is in the index, so that everything an object causes is in it.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Final

from bench import load_client
from bench.objects import write_series
from bench.peers import Server
from bench.process_cost import cost, descendants
from bench.store import seconds_until_queryable
from bench.suite import draw_suite
from tools.processes import command_line, find

LOADS: Final = {"64x64": (64, 1500), "512x512": (512, 300)}
"""Edge of the image, and objects per association."""
ASSOCIATIONS: Final = 4
SETTLE_SECONDS: Final = 5.0
BACKING: Final = {"PostgreSQL": "postgres", "RabbitMQ": "beam.smp"}


def backing(folder: Path) -> dict[str, int]:
    """Return the processes of the suite's private servers by name."""
    return {name: _only(program, folder) for name, program in BACKING.items()}


def _only(program: str, folder: Path) -> int:
    def serves(pid: int) -> bool:
        words = command_line(pid)
        return bool(words) and program in words[0] and any(str(folder) in word for word in words)

    return find(serves)[0]


def used(pids: dict[str, int]) -> dict[str, float]:
    """Return the CPU seconds that each part has used so far, children included."""
    return {name: cost(descendants(pid)).cpu_seconds for name, pid in pids.items()}


def measure(client: Path, server: Server, pids: dict[str, int], load: Path, each: int) -> str:
    """Return one line of the table: what each part used per object."""
    before = used(pids)
    began = time.monotonic()
    done = load_client.run(client, "store", server, str(load), str(ASSOCIATIONS), str(each))
    seconds_until_queryable(server, done["studies"], each)
    seconds = time.monotonic() - began
    time.sleep(SETTLE_SECONDS)
    objects = ASSOCIATIONS * each
    after = used(pids)
    shares = {name: (after[name] - before[name]) / objects * 1e3 for name in pids}
    cells = [f"{shares[name]:.2f}" for name in pids]
    return " | ".join(
        [load.name, *cells, f"{sum(shares.values()):.2f}", f"{objects / seconds:.0f}"]
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    load_client.add_option(parser)
    client = parser.parse_args().load_client
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with draw_suite(folder) as server:
            pids = server.pids | backing(folder)
            print(f"| load | {' | '.join(pids)} | all | objects/s until queryable |")
            print("| --- |" + " --- |" * (len(pids) + 2))
            for load, (side, each) in LOADS.items():
                path = write_series(folder / load, objects=each, side=side)
                load_client.run(client, "store", server, str(path), "2", "50")
                time.sleep(SETTLE_SECONDS)
                print(f"| {measure(client, server, pids, path, each)} |", flush=True)


if __name__ == "__main__":
    main()
