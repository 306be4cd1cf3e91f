"""Looks at a running suite all the time, and remembers what was not as it should be."""

import subprocess
import threading
from http import HTTPStatus
from typing import Self

import httpx

from support.service_finder import program
from support.suite import AE_TITLE, Suite
from support.waiting import wait_until

LISTS = ("nodes", "jobs", "webhooks", "changes", "transactions", "studies", "ae-titles")
PAUSE_SECONDS = 0.1
ROUND_SECONDS = 60


class Onlooker:
    """Asks each service whether it is ready, REST for its lists and the receiver for studies."""

    def __init__(self, suite: Suite, client: httpx.Client) -> None:
        self.complaints: list[str] = []
        self._suite = suite
        self._client = client
        self._rounds = 0
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._look_again_and_again)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._enough.set()
        self._thread.join()

    def wait_for_rounds(self, number: int) -> None:
        """Return after so many more rounds."""
        wanted = self._rounds + number
        assert wait_until(lambda: self._rounds >= wanted, number * ROUND_SECONDS)

    def _look_again_and_again(self) -> None:
        while not self._enough.wait(PAUSE_SECONDS):
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - whatever it is, it should not have been
                self.complaints.append(repr(error))
            self._rounds += 1

    def _look(self) -> None:
        for name, process in self._suite.services.items():
            status, words = process.answer("/readyz")
            # A busy machine may let a probe wait; that is no answer.
            if status not in {0, HTTPStatus.OK}:
                self.complaints.append(f"{name} is not ready: {words}")
        for listed in LISTS:
            answer = self._client.get(f"/api/v1/{listed}")
            if answer.status_code != HTTPStatus.OK:
                self.complaints.append(f"{listed}: {answer.status_code} {answer.text}")
        asked = [
            program("findscu", "dcmtk"), "-S", "-aec", AE_TITLE, "-k", "QueryRetrieveLevel=STUDY",
            "-k", "PatientID=STEADY*", "-k", "StudyInstanceUID", "127.0.0.1",
            str(self._suite.dicom_port),
        ]  # fmt: skip
        found = subprocess.run(asked, capture_output=True, text=True, check=False)
        if found.returncode or "Failed" in found.stderr or "Unable" in found.stderr:
            self.complaints.append(f"findscu: {found.stdout}{found.stderr}")
