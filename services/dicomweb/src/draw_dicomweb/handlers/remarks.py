"""Remarks on an answer, in its headers (RFC 7234 5.5)."""

from typing import Final

WARNING: Final = "Warning"
MAX_REMARK_CHARACTERS: Final = 200


def remark(words: str) -> str:
    """Return the value of a header `Warning`, with words that a header may have."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "?" for c in words)
    return f'299 draw "{plain[:MAX_REMARK_CHARACTERS]}"'
