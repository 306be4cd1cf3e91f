"""Fields that name a certificate; input is normalized to one notation."""

from typing import Annotated, Final

from pydantic import AfterValidator, Field

from draw_shared.contracts.texts import LINE
from draw_shared.dicom.network.fingerprints import parse_fingerprint
from draw_shared.wording import message

MAX_TYPED_CHARACTERS: Final = 65_536
"""Enough for a PEM certificate with its chain."""


def _checked_optional(typed: str) -> str:
    return parse_fingerprint(typed) if typed.strip() else ""


Fingerprint = Annotated[
    str, Field(max_length=MAX_TYPED_CHARACTERS), AfterValidator(parse_fingerprint)
]
"""SHA-256 of a certificate; a PEM certificate is converted to its fingerprint."""

OptionalFingerprint = Annotated[
    str, Field(max_length=MAX_TYPED_CHARACTERS), AfterValidator(_checked_optional)
]
"""The same, or nothing."""


def _checked_certificate(value: str) -> str:
    text = value.strip()
    if not text:
        raise ValueError(message("must be a name of the certificate or its SHA-256 fingerprint"))
    try:
        return parse_fingerprint(text)
    except ValueError:
        return text


CertificateName = Annotated[str, Field(max_length=200), LINE, AfterValidator(_checked_certificate)]
"""Common name or host of a certificate, or its fingerprint as `fingerprints` writes it."""
