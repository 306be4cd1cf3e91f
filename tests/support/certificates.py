"""Certificates for TLS tests, made with the openssl program: one authority and who it signs."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from draw_shared.dicom.network.fingerprints import fingerprint_of
from draw_shared.dicom.network.peer_trust import PeerTrusts

HERE = ("IP:127.0.0.1", "DNS:localhost")


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key."""

    certificate: str
    key: str

    @property
    def both(self) -> str:
        """One file with both, as our own services take it."""
        file = Path(f"{self.certificate}.both")
        file.write_text(Path(self.certificate).read_text() + Path(self.key).read_text())
        return str(file)

    @property
    def fingerprint(self) -> str:
        """As openssl prints it."""
        text = Path(self.certificate).read_text("ascii")
        return fingerprint_of(ssl.PEM_cert_to_DER_cert(text))

    @property
    def tls(self) -> dict[str, str]:
        """A receiver's settings with it."""
        return {"certificate_file": self.certificate, "key_file": self.key}


class Authority:
    """Signs certificates into one folder."""

    def __init__(self, folder: Path, name="authority"):
        self._folder = folder
        self._made = self._request(name, "-x509", "-days", "2")
        self.file = self._made.certificate

    def sign(self, name, hosts=HERE) -> Certificate:
        """Return a new certificate of this authority for hosts such as DNS:a.org and IP:::1."""
        signed = ("-x509", "-days", "2", "-CA", self._made.certificate, "-CAkey", self._made.key)
        return self._request(name, *signed, *_for(hosts))

    def self_signed(self, name, hosts=HERE) -> Certificate:
        """Return a certificate that nobody else has signed, as many devices have one."""
        return self._request(name, "-x509", "-days", "2", *_for(hosts))

    def expired(self, name) -> Certificate:
        """Return a certificate of this authority that was valid years ago."""
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
            "default_md=sha256\npolicy=any\nx509_extensions=hosts\n[any]\ncommonName=supplied\n"
            f"[hosts]\nsubjectAltName={','.join(HERE)}\n"
        )
        subprocess.run(words, check=True, capture_output=True, timeout=30, input=settings.encode())
        return made

    def _request(self, name, *how) -> Certificate:
        made = Certificate(str(self._folder / f"{name}.pem"), str(self._folder / f"{name}.key"))
        command = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"]
        command += [*how, "-out", made.certificate, "-keyout", made.key]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        return made


def _for(hosts) -> tuple[str, ...]:
    return ("-addext", f"subjectAltName={','.join(hosts)}") if hosts else ()


def trust(authorities="", shown=None, fingerprint=""):
    """Return how a client trusts: authorities in a file, a certificate of its own, or a pin."""
    return PeerTrusts(
        Path(authorities) if authorities else None, Path(shown.both) if shown else None
    ).of(fingerprint)
