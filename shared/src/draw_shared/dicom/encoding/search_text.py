"""Makes text comparable for searches (PS3.4 C.2.2.2.1, PS3.5 6.2.1.2)."""

import unicodedata
from typing import Final

MAX_SEARCH_BYTES: Final = 2000
"""Less than the largest value of a PostgreSQL B-tree, with room to spare."""


def search_text(text: str) -> str:
    """Return `text` without accents and letter case, as stored in the index beside the original."""
    if text.isascii():
        return text.strip().lower()
    decomposed = unicodedata.normalize("NFKD", text)
    bare = "".join(c for c in decomposed if not unicodedata.combining(c))
    return unicodedata.normalize("NFKC", bare.casefold()).strip()


def person_name_search_text(name: str) -> str:
    """Return a person name as `=alphabetic=ideographic=phonetic=`, each group comparable.

    Empty components at the end of a group and empty groups at the end of the name are dropped. An
    empty name is the empty text. So `LIKE '=smith%'` finds a beginning in the alphabetic group,
    and `LIKE '%=smith%'` one in any group.
    """
    # A full-width equals sign becomes a plain one, and must not look like the end of a group.
    groups = [search_text(g).replace("=", " ").rstrip("^ ") for g in name.split("=")[:3]]
    while groups and not groups[-1]:
        groups.pop()
    return f"={'='.join(groups)}=" if groups else ""


def bounded_search_text(made: str) -> str:
    """Return as much of comparable text as an indexed column can hold."""
    if made.isascii():
        return made[:MAX_SEARCH_BYTES]
    return made.encode()[:MAX_SEARCH_BYTES].decode(errors="ignore")


def like_literal(text: str) -> str:
    """Escape `text` for a LIKE pattern, so that none of its characters is a wildcard."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
