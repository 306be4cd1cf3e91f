"""Chooses the representation of an answer from what a client accepts (PS3.18 8.7).

Clients write media types in many ways: `multipart/related; type="application/dicom"`, the same
without quotes or with a transfer syntax, several in one header, one in the parameter `accept` of
the address. All of them are read; what cannot be read is passed over, as RFC 9110 12.5.1 allows.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from draw_shared.dicom.encoding.uids import EXPLICIT_LITTLE

MAX_ACCEPT_CHARACTERS: Final = 16 * 1024
"""What is beyond this is not read; nobody has so many wishes."""
MULTIPART: Final = "multipart/related"
DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
DICOM_XML: Final = "application/dicom+xml"
JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
ANY: Final = "*"
ANYTHING: Final = "*/*"

_TOKEN: Final = r"[A-Za-z0-9!#$%&'*+.^_`|~/-]+"  # noqa: S105 - no secret
_PARAMETER: Final = re.compile(rf'\s*;\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]+))')
_TYPE: Final = re.compile(rf"\s*({_TOKEN})")


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One wish of a client."""

    type: str
    """In lower case; of a multipart type that of its parts."""
    multipart: bool | None
    """Whether in parts; None: either way."""
    quality: float = 1.0
    transfer_syntax: str = ""
    """A UID, `*`, or nothing."""

    @property
    def precision(self) -> tuple[int, int]:
        """How exactly it says what is wanted; the more exact wish decides."""
        exact = 0 if self.type == ANYTHING else 1 if self.type.endswith("/*") else 2
        return exact, int(bool(self.transfer_syntax and self.transfer_syntax != ANY))

    def covers(self, media_type: str) -> bool:
        """Return whether a type is among what is wanted."""
        kind, _, sub = self.type.partition("/")
        if self.type in {ANYTHING, media_type}:
            return True
        return sub == "*" and media_type.startswith(f"{kind}/")


@dataclass(frozen=True, slots=True)
class Offer:
    """One way in which an answer can be had."""

    type: str
    multipart: bool
    transfer_syntaxes: Sequence[str] = field(default=())
    """In the order of our preference; the first is that of a wish which names none. `*` means
    the one in which an object is stored."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What an answer will be."""

    type: str
    multipart: bool
    transfer_syntax: str = ""
    """A UID, `*` for as it is stored, or nothing where there is none."""


def read_accept(headers: Iterable[str]) -> list[MediaRange]:
    """Return the wishes of a client, the most wanted first."""
    found = [wish for header in headers for wish in _wishes(header[:MAX_ACCEPT_CHARACTERS])]
    return sorted(found, key=lambda wish: -wish.quality)


def choose(wishes: Sequence[MediaRange], offers: Sequence[Offer]) -> Choice | None:
    """Return what fits best, or None if nothing does; without a wish the first offer fits."""
    if not wishes:
        first = offers[0]
        return Choice(first.type, first.multipart, (*first.transfer_syntaxes, "")[0])
    best: tuple[float, tuple[int, int], int, Choice] | None = None
    for place, offer in enumerate(offers):
        for wish in wishes:
            choice = _fit(wish, offer)
            if choice is None or _is_refused(choice, wishes):
                continue
            rank = wish.quality, wish.precision, -place
            if best is None or rank > best[:3]:
                best = *rank, choice
    return best[3] if best else None


def describe(offers: Sequence[Offer]) -> list[str]:
    """Return offers as a client would ask for them, for those who asked for something else."""
    return list(dict.fromkeys(word for offer in offers for word in _forms(offer)))


def _forms(offer: Offer) -> Iterator[str]:
    name = f'{MULTIPART}; type="{offer.type}"' if offer.multipart else offer.type
    if not offer.transfer_syntaxes:
        yield name
    for syntax in offer.transfer_syntaxes:
        yield f"{name}; transfer-syntax={syntax}"


def _fit(wish: MediaRange, offer: Offer) -> Choice | None:
    if wish.quality <= 0 or not wish.covers(offer.type):
        return None
    if wish.multipart is not None and wish.multipart != offer.multipart:
        return None
    if not offer.transfer_syntaxes:
        return Choice(offer.type, offer.multipart)
    wanted = wish.transfer_syntax or offer.transfer_syntaxes[0]
    if wanted not in offer.transfer_syntaxes:
        return None
    return Choice(offer.type, offer.multipart, wanted)


def _is_refused(choice: Choice, wishes: Iterable[MediaRange]) -> bool:
    """Return whether a wish of quality 0 names exactly this."""
    return any(
        wish.quality <= 0
        and wish.type == choice.type
        and wish.multipart in {None, choice.multipart}
        and wish.transfer_syntax in {"", choice.transfer_syntax}
        for wish in wishes
    )


def _wishes(header: str) -> Iterator[MediaRange]:
    at = 0
    while at < len(header):
        found = _TYPE.match(header, at)
        if found is None:
            at += 1
            continue
        parameters, at = _parameters(header, found.end())
        yield from _wish(found[1].lower(), parameters)
        comma = header.find(",", at)
        at = len(header) if comma < 0 else comma + 1


def _parameters(header: str, at: int) -> tuple[dict[str, str], int]:
    parameters: dict[str, str] = {}
    while found := _PARAMETER.match(header, at):
        value = re.sub(r"\\(.)", r"\1", found[2]) if found[2] is not None else found[3]
        parameters.setdefault(found[1].lower(), value.strip())
        at = found.end()
    return parameters, at


def _wish(name: str, parameters: Mapping[str, str]) -> Iterator[MediaRange]:
    quality = _quality(parameters.get("q", "1"))
    syntax = parameters.get("transfer-syntax", "")
    if name == MULTIPART:
        yield MediaRange(parameters.get("type", ANYTHING).lower(), True, quality, syntax)
    elif name == ANYTHING:
        yield MediaRange(ANYTHING, None, quality, syntax)
    elif "/" in name and not name.startswith("multipart/"):
        yield MediaRange(name, False, quality, syntax)


def read_content_type(header: str) -> tuple[str, Mapping[str, str]]:
    """Return the media type of a body, in lower case and empty if unknown, and its parameters."""
    found = _TYPE.match(header[:MAX_ACCEPT_CHARACTERS])
    if found is None:
        return "", {}
    return found[1].lower(), _parameters(header[:MAX_ACCEPT_CHARACTERS], found.end())[0]


def _quality(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 1.0


OBJECT_OFFERS: Final = (
    Offer(DICOM, multipart=True, transfer_syntaxes=(EXPLICIT_LITTLE, ANY)),
    Offer(DICOM, multipart=False, transfer_syntaxes=(EXPLICIT_LITTLE, ANY)),
)
