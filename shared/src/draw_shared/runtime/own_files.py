"""What a process makes on disk is for its user and group; names of folders may name patients."""

import os
from typing import Final

OTHERS: Final = 0o027
"""Nothing for other users, no writing for the group."""


def keep_from_others() -> None:
    """Have everything that this process and its children make closed to other users.

    Folders are 0750 and files at most 0640 from now on, or closer where the umask says so.
    """
    # The umask cannot be read without being set.
    before = os.umask(OTHERS)
    os.umask(before | OTHERS)
