"""How text is made comparable before it is searched for."""

import unicodedata


def search_text(text: str) -> str:
    """Return `text` without accents and letter case, as the index keeps it beside the original."""
    decomposed = unicodedata.normalize("NFKD", text)
    bare = "".join(c for c in decomposed if not unicodedata.combining(c))
    return bare.casefold().strip()


def prefix_pattern(text: str) -> str:
    """Return the LIKE pattern that matches what begins with `text`, wildcards taken literally."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"{escaped}%"
