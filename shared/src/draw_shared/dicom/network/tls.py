"""DICOM TLS: the BCP 195 profile (PS3.15 B.9), with certificates that may change at runtime."""

import errno
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import structlog

from draw_shared.errors import Permanent
from draw_shared.wording import message

log = structlog.get_logger()

# RFC 9325 4.2: forward secrecy and authenticated encryption only.
TLS_1_2_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"

_NOT_YET: Final = 9
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID."""
_EXPIRED: Final = 10
"""OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED."""

MAX_FILE_BYTES: Final = 2**22
"""No file of authorities is larger."""

_NO_TLS: Final = message("the peer speaks no TLS on a port for TLS")
_HANDSHAKE_FAILURES: Final = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "HTTPS_PROXY_REQUEST": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": message("the peer shows no certificate of its own"),
    "TLSV1_ALERT_UNKNOWN_CA": message("the peer does not know the authority of our certificate"),
    "SSLV3_ALERT_BAD_CERTIFICATE": message("the peer does not trust our certificate"),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": message("the peer does not trust our certificate"),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": message("our certificate has expired for the peer"),
    "UNSUPPORTED_PROTOCOL": message("the peer speaks an old version of TLS only"),
    "NO_SHARED_CIPHER": message("the peer has weak cipher suites only"),
}
"""Messages by OpenSSL's reasons."""


class TlsUnusable(Permanent):
    """The certificate, key or authorities cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The PEM files for TLS; with authorities, peers must show a certificate."""

    certificate_file: str
    """Our certificate with its chain."""
    key_file: str = ""
    """Empty: the key is in the file of the certificate."""
    client_ca_file: str = ""
    """Authorities that sign the certificates of peers."""
    client_certificates: ssl.VerifyMode = ssl.CERT_NONE


class ServerTls:
    """Provides the context of each handshake; a renewed certificate is loaded automatically.

    Raises:
        TlsUnusable: a file cannot be used.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._seen = self._stamps()
        self._context = _server_context(files)
        self.outdated = _describe_expiry(self._context, files.certificate_file)
        """Why peers will refuse the certificate because of its date; empty if it is valid now."""
        self.problem = self.outdated
        """What is wrong with the files, in words; empty if nothing is."""

    def context(self) -> ssl.SSLContext:
        """Return the context of the current files; if they are unusable, the previous one."""
        with self._lock:
            stamps = self._stamps()
            if stamps != self._seen:
                self._seen = stamps
                self._take_up()
            return self._context

    def _take_up(self) -> None:
        try:
            renewed = _server_context(self._files)
        except TlsUnusable as error:
            self._keep(str(error))
            return
        outdated = _describe_expiry(renewed, self._files.certificate_file)
        if outdated:
            self._keep(outdated)
            return
        self._context, self.outdated, self.problem = renewed, "", ""
        log.info("tls.reloaded")

    def _keep(self, why: str) -> None:
        self.problem = message("still with the certificate of before, because %(why)s", why=why)
        log.warning("tls.not_reloaded", error=why)

    def _stamps(self) -> tuple[tuple[int, int], ...]:
        files = self._files
        names = (files.certificate_file, files.key_file, files.client_ca_file)
        return tuple(stamp(name) for name in names if name)


def handshake_failure(error: ssl.SSLError) -> str:
    """Return in words why the handshake with a calling peer failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return message(
            "the peer's certificate is not trusted: %(reason)s",
            reason=error.verify_message,
        )
    return _HANDSHAKE_FAILURES.get(
        error.reason or "", message("no TLS: %(reason)s", reason=error.reason)
    )


def stamp(name: str) -> tuple[int, int]:
    """Return a value that changes when the file does: its modification time and inode."""
    try:
        found = Path(name).stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_ino


def _server_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(TLS_1_2_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # A peer that renegotiates without end would use up a core.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.verify_mode = files.client_certificates
    load_pair(context, files.certificate_file, files.key_file or files.certificate_file)
    if files.client_ca_file:
        load_authorities(context, files.client_ca_file)
    elif context.verify_mode is not ssl.CERT_NONE:
        raise TlsUnusable(message("client certificates need a file of authorities"))
    return context


def load_authorities(context: ssl.SSLContext, file: str) -> None:
    """Trust peers whose certificates are signed by the authorities in a file.

    Raises:
        TlsUnusable: the file cannot be used.
    """
    _require_pem(message("file of authorities"), file, "CERTIFICATE-----")
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as error:
        raise TlsUnusable(
            message("the file of authorities %(file)s is damaged", file=file)
        ) from error


def load_pair(context: ssl.SSLContext, certificate_file: str, key_file: str) -> None:
    """Show our own certificate to peers.

    Raises:
        TlsUnusable: certificate or key cannot be used.
    """
    _require_pem(message("certificate"), certificate_file, "CERTIFICATE-----")
    _require_pem(message("key"), key_file, "PRIVATE KEY-----")

    def no_password() -> NoReturn:
        # Otherwise OpenSSL would ask at the terminal, and wait.
        raise TlsUnusable(message("the key %(key_file)s is encrypted", key_file=key_file))

    try:
        context.load_cert_chain(certificate_file, key_file, password=no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            words = message(
                "the key %(key_file)s does not fit the certificate %(certificate_file)s",
                key_file=key_file,
                certificate_file=certificate_file,
            )
        else:
            words = message(
                "the certificate %(certificate_file)s or the key %(key_file)s is damaged",
                certificate_file=certificate_file,
                key_file=key_file,
            )
        raise TlsUnusable(words) from error


def _require_pem(what: str, name: str, mark: str) -> None:
    try:
        with Path(name).open("rb") as file:
            held = file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise TlsUnusable(_describe_unread(what, name, error)) from error
    if mark.encode() not in held:
        raise TlsUnusable(message("the %(what)s %(name)s holds none in PEM", what=what, name=name))


def _describe_unread(what: str, name: str, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return message("the %(what)s %(name)s is not there", what=what, name=name)
        case errno.EACCES:
            return message(
                "the %(what)s %(name)s may not be read by this user", what=what, name=name
            )
        case errno.EISDIR:
            return message("the %(what)s %(name)s is a folder", what=what, name=name)
        case _:
            return message(
                "the %(what)s %(name)s cannot be read: %(why)s",
                what=what,
                name=name,
                why=error.strerror,
            )


def _describe_expiry(context: ssl.SSLContext, certificate_file: str) -> str:
    """Return the words a peer would use for an expired or early certificate, or nothing."""
    peer = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    peer.check_hostname = False
    # Any issuer is accepted: only the dates matter here.
    peer.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    peer.load_verify_locations(certificate_file)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = peer.wrap_bio(back, there)
    asked = context.wrap_bio(there, back, server_side=True)
    try:
        # Hello, hello with certificate, verification: both sides speak TLS 1.3.
        for side in (asking, asked, asking):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _NOT_YET:
            return message("the certificate %(file)s is not valid yet", file=certificate_file)
        if error.verify_code == _EXPIRED:
            return message("the certificate %(file)s has expired", file=certificate_file)
        return ""
    except ssl.SSLError:
        # Other objections are left to real peers.
        return ""
    return ""
