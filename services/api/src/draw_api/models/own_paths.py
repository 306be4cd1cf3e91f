"""Where a page may lead back to: only to addresses of our own site.

Such addresses come from forms and links, which a stranger may have written.
"""

import re
from typing import Final
from urllib.parse import unquote, urlsplit

MAX_LENGTH: Final = 2000
ELSEWHERE: Final = re.compile(r"^//|\\")
"""Browsers read a backslash as a slash, and `//host` as another site."""


def own_path(text: str, *, within: tuple[str, ...] = ()) -> str:
    """Return an address of our own site, or nothing if it is none.

    With `within` it must also be one of these paths, or below one of them.
    """
    if not text.startswith("/") or ELSEWHERE.search(text) or not text.isprintable():
        return ""
    if len(text) > MAX_LENGTH:
        return ""
    steps = unquote(urlsplit(text).path).replace("\\", "/").split("/")
    if {".", ".."} & set(steps) or "" in steps[1:-1]:
        return ""
    path = "/".join(steps)
    inside = any(path == place or path.startswith(f"{place}/") for place in within)
    return text if inside or not within else ""
