"""Receives objects on a disk that will lose its power, and says what it has acknowledged.

python -m support.power_cut_child ROOT
"""

import sys
from pathlib import Path

from support.datasets import build
from support.receptions import opened, receive


def main():
    store = opened(Path(sys.argv[1]))
    template = build(size_bytes=9000)
    for number in range(1, 100_000):
        template.SOPInstanceUID = f"1.2.3.{number}"
        template.InstanceNumber = number
        stored, _ = receive(store, template)
        if number % 3 == 0:
            store.release([stored])
        print(template.SOPInstanceUID, stored.path, stored.content_sha256, flush=True)


if __name__ == "__main__":
    main()
