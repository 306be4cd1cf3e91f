"""Certificates for TLS tests, made with the openssl program: one authority and who it signs."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key."""

    certificate: str
    key: str


class Authority:
    """Signs certificates into one folder."""

    def __init__(self, folder: Path, name="authority"):
        self._folder = folder
        self._made = self._request(name, "-x509", "-days", "2")
        self.file = self._made.certificate

    def sign(self, name) -> Certificate:
        """Return a new certificate of this authority."""
        signed = ("-x509", "-days", "2", "-CA", self._made.certificate, "-CAkey", self._made.key)
        return self._request(name, *signed)

    def _request(self, name, *how) -> Certificate:
        made = Certificate(str(self._folder / f"{name}.pem"), str(self._folder / f"{name}.key"))
        command = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"]
        command += [*how, "-out", made.certificate, "-keyout", made.key]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        return made
