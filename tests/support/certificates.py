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

    def expired(self, name) -> Certificate:
        """Return a certificate of this authority that was valid a year ago."""
        made = self._request(name, "-x509", "-days", "2")
        # The requests of the openssl program of Debian 12 end today at the earliest.
        database, serial = self._folder / f"{name}.txt", self._folder / f"{name}.serial"
        database.touch()
        serial.write_text("01\n")
        words = ["openssl", "ca", "-batch", "-notext", "-name", "expired", "-config", "/dev/stdin"]
        words += [
            "-ss_cert",
            made.certificate,
            "-out",
            made.certificate,
        ]
        words += ["-startdate", "20240101000000Z", "-enddate", "20240201000000Z"]
        words += ["-cert", self._made.certificate, "-keyfile", self._made.key]
        settings = (
            f"[expired]\ndatabase={database}\nserial={serial}\nnew_certs_dir={self._folder}\n"
            "default_md=sha256\npolicy=any\n[any]\ncommonName=supplied\n"
        )
        subprocess.run(words, check=True, capture_output=True, timeout=30, input=settings.encode())
        return made

    def _request(self, name, *how) -> Certificate:
        made = Certificate(str(self._folder / f"{name}.pem"), str(self._folder / f"{name}.key"))
        command = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"]
        command += [*how, "-out", made.certificate, "-keyout", made.key]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        return made
