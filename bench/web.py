"""How long the web page's lists take on the server with many studies behind them.

    python -m bench.web --studies 1000000

Fills an index, starts the API alone and asks for each page as a signed-in browser does.
"""

import argparse
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx

from bench import index_filler
from support import service_finder
from support.suite import ADMIN_PASSWORD, Suite

PAGES: Final = (
    "/studies",
    "/studies?patient_name=SMITH",
    "/studies?patient_id=1",
    "/studies?modality=CT&date_from=2025-03-01&date_to=2025-03-07",
    "/studies?patient_name=Q%27x",
    "/studies?search=smith",
    "/studies?search=mith",
    "/studies?search=smith+j",
    "/studies?search=an+j",
    "/studies?search=j",
    "/studies?search=100234",
    "/studies?search=A-000.000-077",
    "/studies?search=thorax",
    "/studies?search=words+of+nobody",
    "/studies?search=smith&sort=study_date",
    "/studies?sort=patient&order=asc",
    "/studies?sort=size",
    "/patients/1",
    "/patients?search=smith+j",
    "/patients",
    "/patients?name=SM",
    "/",
    "/storage",
)
DEEP: Final = 20


def seconds(client: httpx.Client, path: str, repeats: int) -> list[float]:
    """Return how long each answer took until it was there."""
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        client.get(path).raise_for_status()
        found.append(time.perf_counter() - began)
    return found


def deep_page(client: httpx.Client) -> str:
    """Return the address of a page far down the list."""
    path = "/studies"
    for _ in range(DEEP):
        link = re.search(r'rel="next" href="([^"]+)"', client.get(path).text)
        if link is None:
            break
        path = link[1].replace("&amp;", "&")
    return path


def main() -> None:
    """Print a line for each page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=20)
    given = parser.parse_args()
    url = service_finder.postgres_url()
    template = service_finder.migrated_template(url)
    with (
        tempfile.TemporaryDirectory() as folder,
        service_finder.cloned_database(url, template) as database,
        service_finder.broker().vhost() as broker,
    ):
        suite = Suite(Path(folder), database, broker)
        suite.seed()
        index_filler.fill(database, given.studies)
        try:
            suite.start("api")
            with httpx.Client(base_url=suite.web_url, timeout=60) as client:
                form = {"name": "admin", "password": ADMIN_PASSWORD}
                client.post("/sign-in", data=form)
                for path in (*PAGES, deep_page(client)):
                    taken = sorted(seconds(client, path, given.repeats))
                    p95 = taken[int(len(taken) * 0.95) - 1]
                    print(
                        f"{path[:60]:62} first or worst {taken[-1] * 1000:7.1f} ms"
                        f"  p50 {statistics.median(taken) * 1000:7.1f} ms  p95 {p95 * 1000:7.1f} ms"
                    )
        finally:
            suite.end()


if __name__ == "__main__":
    main()
