"""Decides which TLS peers we trust when we call them (PS3.15 B.9, RFC 9525).

A peer must show a certificate that one of our authorities has signed and that is valid for the
host we call: one of its DNS names or addresses (subjectAltName), wildcards included. The common
name is ignored. Alternatively a certificate is pinned, which many devices with self-signed ones
need: then exactly this certificate is trusted, whoever signed it, whatever it names and however
old it is, and no other.
"""

import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from draw_shared.dicom.network.fingerprints import fingerprint_of
from draw_shared.dicom.network.peer_certificates import certificate_of
from draw_shared.dicom.network.peer_failures import Unreachable
from draw_shared.dicom.network.service import PeerCertificate
from draw_shared.dicom.network.tls import TLS_1_2_CIPHERS, load_authorities, load_pair, stamp
from draw_shared.wording import message

LOOK_TIMEOUT_SECONDS: Final = 5.0
HOST_DIFFERS: Final = frozenset({62, 64})
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""
FAILURES: Final = {
    "WRONG_VERSION_NUMBER": message("it speaks no TLS there"),
    "UNEXPECTED_EOF_WHILE_READING": message("it closed the connection"),
    "SSLV3_ALERT_HANDSHAKE_FAILURE": message(
        "it has no cipher suite in common with us, or asks for a certificate of ours"
    ),
    "TLSV1_ALERT_PROTOCOL_VERSION": message("it speaks an old version of TLS only"),
    "UNSUPPORTED_PROTOCOL": message("it speaks an old version of TLS only"),
    "TLSV1_ALERT_UNKNOWN_CA": message("it does not know the authority of our certificate"),
}
"""Messages by OpenSSL's reasons."""
NOT_YET: Final = 9
EXPIRED: Final = 10
SELF_SIGNED: Final = 18
UNKNOWN_ISSUER: Final = frozenset({2, 19, 20, 21})
"""X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT and similar: the chain does not end at our authorities."""


class NotTrusted(Unreachable):
    """The peer's certificate is not trusted; the text says why, and what to do.

    A retry succeeds after an operator has pinned it or the peer has another one.
    """

    def __init__(self, why: str, certificate: PeerCertificate | None, where: str = "") -> None:
        super().__init__(
            message("no TLS with %(where)s: %(why)s", where=where, why=why) if where else why
        )
        self.why = why
        self.certificate = certificate
        """The certificate that the peer showed; None if it could not be read."""


@dataclass(frozen=True, slots=True)
class PeerTrust:
    """How one peer is trusted."""

    verifying: ssl.SSLContext
    looking: ssl.SSLContext
    """Trusts nobody and verifies nothing; the certificate is compared afterwards."""
    fingerprint: str = ""
    """Fingerprint of the pinned certificate; empty: none is pinned."""

    def secure(self, connection: socket.socket, host: str) -> ssl.SSLSocket:
        """Return a TLS connection to the intended peer.

        Raises:
            NotTrusted: its certificate is not trusted; the connection is closed.
            OSError: TLS failed; the text says why.
        """
        host = host.partition("%")[0]
        address = connection.getpeername()
        context = self.looking if self.fingerprint else self.verifying
        try:
            secured = context.wrap_socket(connection, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            certificate = self._look(address, host)
            raise NotTrusted(_why(error, certificate, host), certificate) from error
        except ssl.SSLError as error:
            raise ConnectionError(FAILURES.get(error.reason or "", str(error.reason))) from error
        finally:
            # Closes nothing that is in use: TLS has taken the descriptor over.
            connection.close()
        if self.fingerprint:
            self._compare(secured)
        return secured

    def _compare(self, secured: ssl.SSLSocket) -> None:
        shown = secured.getpeercert(binary_form=True) or b""
        found = fingerprint_of(shown)
        if found != self.fingerprint:
            secured.close()
            raise NotTrusted(
                message(
                    "it shows another certificate than the pinned one, %(found)s: if it has "
                    "a new one, pin that",
                    found=found,
                ),
                certificate_of(shown),
            )

    def _look(self, address: tuple[str, int], host: str) -> PeerCertificate | None:
        """Return the certificate that a peer shows; OpenSSL drops one that it has rejected."""
        try:
            with (
                socket.create_connection(address[:2], LOOK_TIMEOUT_SECONDS) as connection,
                self.looking.wrap_socket(connection, server_hostname=host) as secured,
            ):
                shown = secured.getpeercert(binary_form=True)
        except OSError:
            return None
        return certificate_of(shown) if shown else None


class PeerTrusts:
    """Builds the trust in each peer; replaced files are loaded automatically.

    Args:
        ca_file: authorities in PEM that replace those of the system.
        certificate_file: certificate chain and key in PEM that we show to peers.
    """

    def __init__(self, ca_file: Path | None = None, certificate_file: Path | None = None) -> None:
        self._ca_file = str(ca_file or "")
        self._certificate_file = str(certificate_file or "")
        self._lock = threading.Lock()
        self._seen: tuple[tuple[int, int], ...] | None = None
        self._made: tuple[ssl.SSLContext, ssl.SSLContext] | None = None

    def of(self, fingerprint: str = "") -> PeerTrust:
        """Return the trust in the peer with this pinned certificate, or in any other peer.

        Raises:
            TlsUnusable: our own files cannot be used.
        """
        with self._lock:
            seen = tuple(stamp(name) for name in (self._ca_file, self._certificate_file) if name)
            if self._made is None or seen != self._seen:
                self._made = self._verifying_context(), self._looking_context()
                self._seen = seen
            return PeerTrust(*self._made, fingerprint)

    def _verifying_context(self) -> ssl.SSLContext:
        context = self._context()
        context.hostname_checks_common_name = False
        if self._ca_file:
            load_authorities(context, self._ca_file)
        else:
            context.load_default_certs()
        return context

    def _looking_context(self) -> ssl.SSLContext:
        context = self._context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(TLS_1_2_CIPHERS)
        if self._certificate_file:
            load_pair(context, self._certificate_file, self._certificate_file)
        return context


def _why(
    error: ssl.SSLCertVerificationError, certificate: PeerCertificate | None, host: str
) -> str:
    """Return why a certificate is not trusted, and what to do about it."""
    code = error.verify_code
    if code in HOST_DIFFERS:
        return message(
            "the certificate is for %(whom)s, not for host %(host)s: pin it, or correct the host",
            whom=_whom(certificate),
            host=host,
        )
    if code in {EXPIRED, NOT_YET}:
        return message(
            "%(trouble)s: pin it, or give the node a new one",
            trouble=_out_of_its_time(code, certificate),
        )
    if code == SELF_SIGNED:
        return message(
            "the certificate is signed by itself and by none of our authorities: pin it, or set"
            " the file of authorities"
        )
    if code in UNKNOWN_ISSUER:
        issuer = certificate.issuer if certificate is not None else ""
        return message(
            "the certificate is signed by %(issuer)s, none of our authorities: pin it, or set the"
            " file of authorities",
            issuer=issuer or message("somebody"),
        )
    return message("the certificate is not trusted (%(reason)s)", reason=error.verify_message)


def _whom(certificate: PeerCertificate | None) -> str:
    if certificate is None:
        return message("somebody else")
    if certificate.names:
        return ", ".join(certificate.names)
    if not certificate.subject:
        return message("nobody without a host's name (subjectAltName)")
    return message(
        "%(subject)s without a host's name (subjectAltName)", subject=certificate.subject
    )


def _out_of_its_time(code: int, certificate: PeerCertificate | None) -> str:
    if code == EXPIRED:
        moment = certificate.not_after if certificate is not None else None
        if moment is None:
            return message("the certificate has expired")
        return message("the certificate has expired on %(day)s", day=format(moment, "%Y-%m-%d"))
    moment = certificate.not_before if certificate is not None else None
    if moment is None:
        return message("the certificate is not valid yet")
    return message("the certificate is not valid before %(day)s", day=format(moment, "%Y-%m-%d"))
