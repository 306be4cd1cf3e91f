"""Reads the certificate that a TLS peer shows (RFC 5280)."""

import ssl
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from draw_shared.dicom.network.fingerprints import fingerprint_of
from draw_shared.dicom.network.service import PeerCertificate

MAX_NAMES: Final = 20
MAX_TEXT_CHARACTERS: Final = 300
"""Longest text taken from a certificate; it is shown and logged, and nothing else limits it."""


def verified_certificate(secured: ssl.SSLSocket) -> PeerCertificate | None:
    """Return the certificate that the peer has proved to own, or None if it showed none.

    A certificate that was not verified against our authorities does not count.
    """
    whole = secured.getpeercert(binary_form=True)
    return certificate_of(whole) if whole is not None and secured.getpeercert() else None


def certificate_of(whole: bytes) -> PeerCertificate:
    """Return the content of a certificate in DER; only the fingerprint if it is unreadable."""
    fingerprint = fingerprint_of(whole)
    try:
        found = x509.load_der_x509_certificate(whole)
        return PeerCertificate(
            fingerprint,
            subject=_printable(found.subject.rfc4514_string()),
            common_name=_printable(_common_name(found)),
            issuer=_printable(found.issuer.rfc4514_string()),
            serial=f"{found.serial_number:X}",
            names=tuple(_printable(name) for name in _names(found)[:MAX_NAMES]),
            not_before=found.not_valid_before_utc,
            not_after=found.not_valid_after_utc,
        )
    except ValueError:
        return PeerCertificate(fingerprint)


def _common_name(found: x509.Certificate) -> str:
    """Return the subject's first common name, or nothing if it has none."""
    names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _names(found: x509.Certificate) -> Sequence[str]:
    """Return the hosts that a certificate is valid for: DNS names and addresses (RFC 9525 2)."""
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension):
        return ()
    addresses = names.get_values_for_type(x509.IPAddress)
    return [*names.get_values_for_type(x509.DNSName), *map(str, addresses)]


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[
        :MAX_TEXT_CHARACTERS
    ]
