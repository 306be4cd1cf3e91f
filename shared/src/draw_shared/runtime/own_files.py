"""Restricts the files of a process to its user and group, as folder names may name patients."""

import os
from typing import Final

OTHERS: Final = 0o027
"""A umask: no access for other users, no write access for the group."""


def keep_from_others() -> None:
    """Deny other users access to all files that this process and its children create.

    From now on folders get at most mode 0750 and files 0640, or less if the umask is stricter.
    """
    # The umask cannot be read without being set.
    before = os.umask(OTHERS)
    os.umask(before | OTHERS)
