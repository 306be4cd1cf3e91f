"""Fingerprints of certificates in one notation, however they were typed."""

import base64
import binascii
import hashlib
import re
import ssl
from typing import Final

from draw_shared.wording import message

PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
HEXADECIMAL: Final = re.compile(r"[0-9A-Fa-f]{64}")
WORDS: Final = message(
    "must be a SHA-256 fingerprint (64 hexadecimal digits, as `openssl x509 "
    "-fingerprint -sha256` prints them) or a certificate in PEM"
)


def fingerprint_of(certificate: bytes) -> str:
    """Return the SHA-256 of a certificate in DER, in openssl's notation."""
    return _format(hashlib.sha256(certificate).hexdigest())


def parse_fingerprint(typed: str) -> str:
    """Return the fingerprint that was typed, or that of the first certificate in PEM.

    Raises:
        ValueError: the text is neither; the message says what is expected.
    """
    block = PEM.search(typed)
    if block is not None:
        return fingerprint_of(_certificate(block[1]))
    digits = re.sub(r"[\s:]", "", typed.rpartition("=")[2])
    if HEXADECIMAL.fullmatch(digits) is None:
        raise ValueError(WORDS)
    return _format(digits)


def _certificate(text: str) -> bytes:
    """Return a certificate in DER that OpenSSL can read."""
    try:
        found = base64.b64decode("".join(text.split()), validate=True)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=found)
    except (binascii.Error, ssl.SSLError, ValueError) as error:
        raise ValueError(message("the certificate is damaged; copy it as a whole")) from error
    return found


def _format(digits: str) -> str:
    upper = digits.upper()
    return ":".join(upper[at : at + 2] for at in range(0, len(upper), 2))
