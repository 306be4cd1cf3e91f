"""Seals and attestations, which require the key and cannot be forged with the database alone.

A *seal* belongs to the last line of a batch. It is an HMAC-SHA256 over the line's position, the
number of lines in the batch and the line's hash, which covers everything before it. An
*attestation* belongs to a line that was written unchained, or to a statement of the log about
itself. It is an HMAC-SHA256 over the line. Both name their key by eight bytes of its hash. The
first key of a ring signs; the others verify older seals and attestations.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from draw_shared.db.transaction_lines import content
from draw_shared.wording import message

MIN_KEY_CHARACTERS: Final = 32
"""`openssl rand -hex 32` prints twice as many characters."""

_SEAL: Final = b"draw transaction seal 1\0"
_LINE: Final = b"draw transaction line 1\0"
_ID_BYTES: Final = 8
_NUMBER_BYTES: Final = 8
_MAC_BYTES: Final = 32
_SEAL_BYTES: Final = _ID_BYTES + _NUMBER_BYTES + _MAC_BYTES


class NotSealed(Exception):
    """A line has no valid seal by these keys; the text says what is wrong."""


@dataclass(frozen=True, slots=True, repr=False)
class Keyring:
    """The keys of the transaction log; the first one seals."""

    keys: tuple[bytes, ...]

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the keys in a text, one per line.

        Raises:
            ValueError: there is no key, or one is too short.
        """
        lines = tuple(line.strip().encode() for line in text.splitlines() if line.strip())
        if not lines or min(map(len, lines)) < MIN_KEY_CHARACTERS:
            raise ValueError(
                f"a key of the transaction log has {MIN_KEY_CHARACTERS} characters or more"
            )
        return cls(lines)

    def seal(self, position: int, lines: int, chain_hash: bytes) -> bytes:
        """Return the seal of `lines` lines whose last one is at `position`."""
        key = self.keys[0]
        return _name(key) + _number(lines) + _mac(key, _SEAL, position, lines, chain_hash)

    def lines_sealed(self, seal: bytes | None, position: int, chain_hash: bytes) -> int:
        """Return how many lines the seal of a line covers.

        Raises:
            NotSealed: the seal is missing, belongs to another line or was made by an unknown key.
        """
        if seal is None:
            raise NotSealed(message("it has no seal"))
        if len(seal) != _SEAL_BYTES:
            raise NotSealed(message("what it has is no seal"))
        key = self._named(seal[:_ID_BYTES])
        lines = int.from_bytes(seal[_ID_BYTES : _ID_BYTES + _NUMBER_BYTES])
        mac = _mac(key, _SEAL, position, lines, chain_hash)
        if not hmac.compare_digest(mac, seal[-_MAC_BYTES:]):
            raise NotSealed(message("its seal is not one of this line"))
        return lines

    def attest(self, row: Mapping[str, Any]) -> bytes:
        """Return the attestation of a line; it does not depend on id and chain position."""
        key = self.keys[0]
        return _name(key) + hmac.digest(key, _LINE + content(row), "sha256")

    def attests(self, row: Mapping[str, Any]) -> bool:
        """Return whether a line matches its attestation by one of these keys."""
        said = bytes(row["attestation"] or b"")
        try:
            key = self._named(said[:_ID_BYTES])
        except NotSealed:
            return False
        mac = hmac.digest(key, _LINE + content(row), "sha256")
        return hmac.compare_digest(mac, said[_ID_BYTES:])

    def _named(self, name: bytes) -> bytes:
        for key in self.keys:
            if _name(key) == name:
                return key
        raise NotSealed(
            message("its seal is by a key that is not here (%(name)s)", name=name.hex())
        )


def attested(row: dict[str, Any], keyring: Keyring | None) -> dict[str, Any]:
    """Return a line with its attestation, or without one if there is no key."""
    return row | {"attestation": None if keyring is None else keyring.attest(row)}


def _name(key: bytes) -> bytes:
    return hashlib.sha256(b"draw key name\0" + key).digest()[:_ID_BYTES]


def _number(value: int) -> bytes:
    return value.to_bytes(_NUMBER_BYTES)


def _mac(key: bytes, purpose: bytes, position: int, lines: int, chain_hash: bytes) -> bytes:
    return hmac.digest(key, purpose + _number(position) + _number(lines) + chain_hash, "sha256")
