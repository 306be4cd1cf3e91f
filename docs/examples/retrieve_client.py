"""Retrieves studies through the suite's REST interface and shows the progress.

    python retrieve_client.py --url http://draw:8000 --node PACS 1.2.840.113619.2.55.3 ...

The token is read from the environment variable DRAW_TOKEN; make one on the page or with
`POST /api/v1/tokens`, with the role `operator`. Needs Python 3.11 and nothing else. The exit
code is 0 when everything has arrived, 1 when something is missing.
"""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FINAL = frozenset({"complete", "unproved", "partial", "failed", "cancelled"})


@dataclass(frozen=True)
class Retrieve:
    """One retrieve job, or a batch of them."""

    id: str
    state: str
    expected: int | None
    arrived: int
    bytes_per_second: int
    eta_seconds: float | None
    error: str

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Retrieve":
        """Return the job that a document describes."""
        progress = document["progress"]
        return cls(
            id=document["id"],
            state=document["state"],
            expected=progress.get("expected"),
            arrived=progress.get("arrived") or 0,
            bytes_per_second=progress.get("bytes_per_second") or 0,
            eta_seconds=progress.get("eta_seconds"),
            error=document["error"],
        )


class DrawError(Exception):
    """The suite refused a request; the text says why."""


class Draw:
    """The suite as an operator's program sees it."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token

    def node_id(self, name: str) -> int:
        """Return the id of a remote node by its name."""
        cursor = ""
        while True:
            page = self._json("GET", f"/api/v1/nodes?limit=500{cursor}")
            for node in page["items"]:
                if node["name"] == name:
                    return int(node["id"])
            if not page["next_cursor"]:
                raise DrawError(f"there is no remote node called {name}")
            cursor = f"&cursor={page['next_cursor']}"

    def retrieve(self, node_id: int, study_instance_uids: list[str]) -> Retrieve:
        """Ask for studies; several become a batch."""
        items = [{"study_instance_uid": uid} for uid in study_instance_uids]
        body = {"node_id": node_id, "items": items}
        return Retrieve.read(self._json("POST", "/api/v1/retrieves", body))

    def watch(self, retrieve_id: str) -> Iterator[Retrieve]:
        """Yield the job whenever it has changed, at last in its final state."""
        last: Retrieve | None = None
        # A stream may end before the job does: after an hour, or with its replica.
        while last is None or last.state not in FINAL:
            with self._open("GET", f"/api/v1/retrieves/{retrieve_id}/events") as stream:
                for line in stream:
                    if line.startswith(b"data: "):
                        last = Retrieve.read(json.loads(line.removeprefix(b"data: ")))
                        yield last

    def missing(self, retrieve_id: str) -> list[str]:
        """Return the SOP Instance UIDs of the first 500 objects that have not arrived."""
        path = f"/api/v1/retrieves/{retrieve_id}/instances?missing=true&limit=500"
        return [item["sop_instance_uid"] for item in self._json("GET", path)["items"]]

    def _json(self, method: str, path: str, body: object = None) -> Any:
        with self._open(method, path, body) as answer:
            return json.load(answer)

    def _open(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            self._url + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
            },
        )
        try:
            return urllib.request.urlopen(request, timeout=60)
        except urllib.error.HTTPError as error:
            problem = json.load(error)
            details = [f"{e['field']}: {e['message']}" for e in problem.get("errors", [])]
            raise DrawError("; ".join([problem["detail"], *details])) from error


def main(arguments: list[str]) -> int:
    """Retrieve what the command line names."""
    parser = argparse.ArgumentParser(description="Retrieve studies and show the progress.")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--node", required=True, help="name of the remote node")
    parser.add_argument("studies", nargs="+", help="Study Instance UIDs")
    given = parser.parse_args(arguments)
    draw = Draw(given.url, os.environ["DRAW_TOKEN"])
    try:
        asked = draw.retrieve(draw.node_id(given.node), given.studies)
        job = asked
        for job in draw.watch(asked.id):
            rate = f"{job.bytes_per_second / 1e6:.1f} MB/s"
            print(f"{job.state}: {job.arrived} of {job.expected or '?'} objects, {rate}")
        for uid in draw.missing(job.id):
            print(f"missing: {uid}")
    except DrawError as refused:
        print(refused, file=sys.stderr)
        return 2
    if job.error:
        print(job.error, file=sys.stderr)
    return 0 if job.state == "complete" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
