"""Finds the suite that runs on this machine and calls its REST interface."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Final

from tools.home import MARK, running
from tools.processes import environment, find

ANSWER_TIMEOUT_SECONDS: Final = 20
INDEX_TIMEOUT_SECONDS: Final = 20.0
USUAL_API_PORT: Final = 8000
ADDRESSES: Final = ("DRAW_API_PORT", "DRAW_ADMIN_PASSWORD", "DRAW_ADMIN_PASSWORD_FILE")
"""If one of these is set, the target is a suite that no launcher of this machine started."""


class SuiteFailed(Exception):
    """The suite does not run, or one of its answers was wrong; the text says which."""


@dataclass(frozen=True, slots=True)
class Target:
    """The address of the page, and possible passwords of the first user."""

    web: str
    passwords: tuple[str, ...]
    receiver: Mapping[str, str]
    """The environment variables for the receiver."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where associations are accepted."""

    ae_title: str
    host: str
    port: int
    tls: bool = False
    """Whether the port uses TLS; a port without it is preferred."""
    elsewhere: str = ""
    """The address that the suite itself reports, if it differs from the environment."""


def target(given: Mapping[str, str]) -> Target:
    """Return the suite that runs in `DRAW_HOME`, or that the environment names.

    Raises:
        SuiteFailed: no suite runs there; the text says where one runs.
    """
    home = Path(given.get("DRAW_HOME") or "var")
    found = running(home)
    if found is None and not any(given.get(name) for name in ADDRESSES):
        raise SuiteFailed(_none_runs(home.expanduser().resolve()))
    port = given.get("DRAW_API_PORT") or (found or {}).get("DRAW_API_PORT") or USUAL_API_PORT
    password = given.get("DRAW_ADMIN_PASSWORD", "")
    files = (given.get("DRAW_ADMIN_PASSWORD_FILE"), home / "admin-password")
    texts = [
        Path(file).read_text(encoding="utf-8").strip()
        for file in files
        if file and Path(file).is_file()
    ]
    return Target(
        web=f"http://127.0.0.1:{port}",
        passwords=tuple(text for text in (password, *texts) if text),
        receiver=given,
    )


def _none_runs(home: Path) -> str:
    others = sorted(
        {
            pair.removeprefix(f"{MARK}=")
            for pid in find(lambda _: True)
            for pair in environment(pid)
            if pair.startswith(f"{MARK}=")
        }
    )
    if str(home) in others:
        return f"the suite in {home} is not ready yet, or its launcher was killed"
    if others:
        there = "; ".join(f"DRAW_HOME={other} make demo" for other in others)
        return f"no suite runs in {home}, but elsewhere: {there}"
    return f"no suite runs in {home}: start it with make run"


class Rest:
    """The REST interface, signed in as the first user.

    Raises:
        SuiteFailed: the suite does not answer, or no password is right.
    """

    def __init__(self, to: Target) -> None:
        self.web = to.web
        self._receiver = to.receiver
        self._cookie = ""
        for password in to.passwords:
            body = json.dumps({"name": "admin", "password": password}).encode()
            try:
                with self._open("/api/v1/session", body) as answer:
                    self._cookie = str(answer.headers["Set-Cookie"]).partition(";")[0]
                    return
            except urllib.error.HTTPError as error:
                with error:
                    if error.code != HTTPStatus.UNAUTHORIZED:
                        raise SuiteFailed(f"{to.web}: {error}") from error
        raise SuiteFailed(
            f"the password of the user admin at {to.web} is not known here: "
            "DRAW_ADMIN_PASSWORD=... make demo"
        )

    def get(self, path: str) -> dict[str, Any]:
        """Return a parsed answer."""
        try:
            with self._open(path) as answer:
                parsed: dict[str, Any] = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise SuiteFailed(f"{self.web}{path}: {error}") from error
        return parsed

    def receiver(self) -> Receiver:
        """Return the receiver's address, from the environment or the configuration.

        Raises:
            SuiteFailed: the receiver is stopped.
        """
        network = self.get("/api/v1/config")["document"]["network"]
        replicas = self.get("/api/v1/services/scp")["replicas"]
        if replicas and all(replica["state"] == "stopped" for replica in replicas):
            raise SuiteFailed(
                f"the receiver is stopped: start it on the page, {self.web}/ (Dashboard)"
            )
        tls, given = network["tls"], self._receiver.get("DRAW_SCP_PORT")
        by_tls = tls["enabled"] and not (tls["port"] and tls["keep_plain_port"])
        told = tls["port"] if by_tls and tls["port"] else network["port"]
        host = str(network["host"])
        host = "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 - compared
        port = told if told != network["port"] else int(given or told)
        differs = port != told
        return Receiver(
            ae_title=self._receiver.get("DRAW_SCP_AE_TITLE") or str(network["ae_title"]),
            host=host,
            port=port,
            tls=by_tls,
            elsewhere=f"; the suite listens at {host}:{told}" if differs else "",
        )

    def study(self, study: str, wanted: int) -> tuple[dict[str, Any], float]:
        """Wait until the index has all objects of the study; return it and the seconds waited."""
        began = time.monotonic()
        while True:
            found = self.get(f"/api/v1/studies?study_instance_uid={study}")["items"]
            took = time.monotonic() - began
            if found and found[0]["instance_count"] >= wanted:
                return found[0], took
            if took > INDEX_TIMEOUT_SECONDS:
                raise SuiteFailed(
                    f"the index does not have all {wanted} objects after {took:.0f} s"
                )
            time.sleep(0.05)

    def _open(self, path: str, body: bytes | None = None) -> HTTPResponse:
        headers = {"Content-Type": "application/json", "Cookie": self._cookie}
        request = urllib.request.Request(self.web + path, body, headers)  # noqa: S310 - ours
        try:
            answer: HTTPResponse = urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_SECONDS)  # noqa: S310 - ours
        except urllib.error.HTTPError:
            raise
        except (OSError, HTTPException) as error:
            raise SuiteFailed(f"nobody answers at {self.web}: {error}") from error
        return answer
