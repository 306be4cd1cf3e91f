"""Decides what an associated peer may ask for, and how a denial is answered.

An unlisted AE title may verify and store as the configuration says, and read nothing. Reading
requires a listed AE title or, if the process allows it, an address of this machine. The list takes
precedence over the address.

Rights are checked when presentation contexts are negotiated, and again at each query and
retrieve, so that a revoked right ends with the current operation. A denial is answered like this:

- If nothing that the peer proposes is left and its AE title is not listed, the association is
  rejected: calling AE title not recognized (PS3.8 9.3.4), which every peer shows its operator.
- Otherwise the contexts are refused one by one as user-rejection (PS3.8 9.3.3.2).
- An operation is answered 0x0124, not authorized (PS3.7 C), with an error comment.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from draw_shared.dicom.network.admission import (
    PERMANENT,
    SERVICE_USER,
    AccessRules,
    comparable,
    is_expected,
    refuse,
)
from draw_shared.dicom.network.associate import AssociateRequest
from draw_shared.dicom.network.negotiation import ACCEPTED, Capabilities, negotiate
from draw_shared.dicom.network.rights import READING, Right, known_rights
from draw_shared.dicom.network.service import Accept, Peer, Reject
from draw_shared.wording import message

CALLING_AE_NOT_RECOGNIZED: Final = 3
DENIED: Final = re.compile(r"no right to ((?:[a-z]+, )*[a-z]+): .*")
DENIED_DESTINATION: Final = re.compile(r"no right to move to (.{1,16}) \(0x0124\)")


@dataclass(frozen=True, slots=True)
class Standing:
    """What a peer may ask for now, and why."""

    rights: frozenset[Right]
    listed: bool
    """Whether its AE title is listed and it calls from the expected address."""
    words: str
    """Why it has exactly these rights."""
    destinations: frozenset[str] = field(default_factory=frozenset)
    """AE titles to which its C-MOVE may send; empty: every remote node."""

    def may_move_to(self, destination: str) -> bool:
        """Return whether its C-MOVE may send to this AE title."""
        return not self.destinations or destination in self.destinations


def determine_standing(peer: Peer, calling_ae: str, rules: AccessRules) -> Standing:
    """Return what a peer that may associate may ask for."""
    listed = rules.listed.get(calling_ae)
    if listed is not None and is_expected(listed, peer):
        return Standing(
            listed.rights,
            listed=True,
            words=message("the AE title is on the list"),
            destinations=listed.move_destinations,
        )
    if rules.loopback_reads and _is_loopback(peer.address):
        words = message("the AE title is not on the list, but calls from this machine")
        return Standing(rules.unknown_rights | READING, listed=False, words=words)
    words = message("the AE title is not on the list")
    if listed is not None:
        words = message(
            "the AE title is expected from %(expected_address)s",
            expected_address=listed.expected_address,
        )
    return Standing(rules.unknown_rights, listed=False, words=words)


def authorize(
    peer: Peer, request: AssociateRequest, rules: AccessRules, offered: Capabilities
) -> Accept | Reject:
    """Return the answer to a request for an association."""
    refused = refuse(peer, request, rules)
    if refused is not None:
        return refused
    found = determine_standing(peer, request.calling_ae, rules)
    accept = negotiate(request, offered, found.rights)
    nothing_left = all(result.result != ACCEPTED for result in accept.results)
    if accept.denied and nothing_left and not found.listed:
        words = denial(accept.denied, found)
        return Reject(PERMANENT, SERVICE_USER, CALLING_AE_NOT_RECOGNIZED, words)
    return replace(accept, listed=found.listed)


def denial(rights: Iterable[Right], found: Standing) -> str:
    """Return which rights a peer lacks and why, in the words that `denied_rights` parses."""
    return message(
        "no right to %(rights)s: %(standing)s", rights=", ".join(rights), standing=found.words
    )


def denial_of_destination(destination: str) -> str:
    """Return that nothing may be moved there, in the words that `denied_destination` parses."""
    return message("no right to move to %(destination)s (0x0124)", destination=destination)


def denied_rights(reason: str) -> tuple[Right, ...]:
    """Return the missing rights that a recorded reason names."""
    found = DENIED.fullmatch(reason)
    named = known_rights(found[1].split(", ")) if found else frozenset()
    return tuple(right for right in Right if right in named)


def denied_destination(reason: str) -> str:
    """Return the move destination that a recorded reason names, or nothing."""
    found = DENIED_DESTINATION.fullmatch(reason)
    return found[1] if found else ""


def _is_loopback(address: str) -> bool:
    found = comparable(address)
    return found is not None and found.is_loopback
