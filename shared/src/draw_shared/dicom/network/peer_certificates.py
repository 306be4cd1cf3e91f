"""What a TLS peer shows of itself: its certificate (RFC 5280)."""

import ssl
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from draw_shared.dicom.network.fingerprints import fingerprint_of
from draw_shared.dicom.network.service import PeerCertificate

MAX_NAMES: Final = 20
MAX_TEXT_CHARACTERS: Final = 300
"""Of what a certificate says; nobody limits that, and it is shown and logged."""


def verified_certificate(secured: ssl.SSLSocket) -> PeerCertificate | None:
    """Return the certificate that the peer has proved to be its own; None when it showed none.

    One that was not checked against our authorities does not count.
    """
    whole = secured.getpeercert(binary_form=True)
    return certificate_of(whole) if whole is not None and secured.getpeercert() else None


def certificate_of(whole: bytes) -> PeerCertificate:
    """Return what a certificate in DER says; of one that cannot be read, only its fingerprint."""
    fingerprint = fingerprint_of(whole)
    try:
        found = x509.load_der_x509_certificate(whole)
        return PeerCertificate(
            fingerprint,
            subject=_shown(found.subject.rfc4514_string()),
            common_name=_shown(_common_name(found)),
            issuer=_shown(found.issuer.rfc4514_string()),
            serial=f"{found.serial_number:X}",
            names=tuple(_shown(name) for name in _names(found)[:MAX_NAMES]),
            not_before=found.not_valid_before_utc,
            not_after=found.not_valid_after_utc,
        )
    except ValueError:
        return PeerCertificate(fingerprint)


def _common_name(found: x509.Certificate) -> str:
    """Return the subject's first common name, empty when it has none."""
    names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _names(found: x509.Certificate) -> Sequence[str]:
    """Return the hosts that a certificate is for: DNS names and addresses (RFC 9525 2)."""
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension):
        return ()
    addresses = names.get_values_for_type(x509.IPAddress)
    return [*names.get_values_for_type(x509.DNSName), *map(str, addresses)]


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[
        :MAX_TEXT_CHARACTERS
    ]
