"""DICOM TLS: the BCP 195 profile (PS3.15 B.9), with certificates that may change while running."""

import ssl
import threading
from pathlib import Path
from typing import Final

import structlog

from draw_shared.contracts.server_config import ClientCertificates, TlsConfig
from draw_shared.errors import Permanent

log = structlog.get_logger()

# RFC 9325 4.2: forward secrecy and authenticated encryption only.
TLS_1_2_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"

_MODES: Final = {
    ClientCertificates.NONE: ssl.CERT_NONE,
    ClientCertificates.OPTIONAL: ssl.CERT_OPTIONAL,
    ClientCertificates.REQUIRED: ssl.CERT_REQUIRED,
}


class TlsUnusable(Permanent):
    """The certificate, key or authorities cannot be used."""


class ServerTls:
    """Gives the context for each handshake; a renewed certificate is taken up by itself."""

    def __init__(self, config: TlsConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._seen = self._stamps()
        self._context = _server_context(config)

    def context(self) -> ssl.SSLContext:
        """Return the context of the files as they are now; unusable new files keep the old."""
        with self._lock:
            stamps = self._stamps()
            if stamps != self._seen:
                self._seen = stamps
                try:
                    self._context = _server_context(self._config)
                    log.info("tls.reloaded")
                except TlsUnusable as error:
                    log.warning("tls.not_reloaded", error=str(error))
            return self._context

    def _stamps(self) -> tuple[tuple[int, int], ...]:
        config = self._config
        names = (config.certificate_file, config.key_file, config.client_ca_file)
        return tuple(_stamp(name) for name in names if name)


def _stamp(name: str) -> tuple[int, int]:
    try:
        found = Path(name).stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_ino


def _server_context(config: TlsConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(TLS_1_2_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # A peer that renegotiates for ever would cost a core.
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(config.certificate_file, config.key_file or None)
        context.verify_mode = _MODES[config.client_certificates]
        if config.client_ca_file:
            context.load_verify_locations(config.client_ca_file)
        elif context.verify_mode is not ssl.CERT_NONE:
            raise TlsUnusable("client certificates need a file of authorities")
    except (OSError, ssl.SSLError) as error:
        raise TlsUnusable(f"certificate or key: {type(error).__name__}") from error
    return context


def client_context(
    ca_file: str = "", certificate_file: str = "", key_file: str = ""
) -> ssl.SSLContext:
    """Return a context for calling a peer: its certificate must be signed by `ca_file`.

    Host names are not compared: DICOM certificates name devices, not DNS hosts.

    Raises:
        TlsUnusable: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(TLS_1_2_CIPHERS)
    context.check_hostname = False
    try:
        if ca_file:
            context.load_verify_locations(ca_file)
        else:
            context.load_default_certs()
        if certificate_file:
            context.load_cert_chain(certificate_file, key_file or None)
    except (OSError, ssl.SSLError) as error:
        raise TlsUnusable(f"certificate or key: {type(error).__name__}") from error
    return context
