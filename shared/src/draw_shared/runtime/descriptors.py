"""Raises the limit of open files and sockets of this process."""

import resource
from typing import Final

MAX_DESCRIPTORS: Final = 65536
"""More is never needed, and some systems allow a billion."""


def allow_descriptors() -> int:
    """Raise the soft limit of open descriptors towards the hard one, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)
