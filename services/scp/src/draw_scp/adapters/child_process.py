"""Further processes of one receiver: how they begin, and what they begin with.

The receiver and a child talk over a socket pair that nobody else has. The child ends when
the receiver says so or is gone. It is told the settings that it reads and no other: a process
that talks to peers knows neither database nor broker.
"""

import signal
import subprocess
import sys
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import TypeVar

from draw_shared.runtime import logging
from draw_shared.runtime.child_environment import child_environment
from draw_shared.runtime.settings import ServiceSettings

Read = TypeVar("Read", bound=ServiceSettings)


def begin(
    module: str, settings: type[ServiceSettings], *inherited: int
) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start a module as a child; return it and our end of what we talk over.

    Args:
        module: what it runs.
        settings: what it reads of its environment.
        inherited: file descriptors that it keeps open as long as it lives.
    """
    ours, theirs = Pipe()
    with theirs:
        number = theirs.fileno()
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", module, str(number)],
            stdin=subprocess.DEVNULL,
            pass_fds=(number, *inherited),
            env=child_environment(settings),
        )
    return process, ours


def begun(settings_read: type[Read]) -> tuple[Read, Connection]:
    """Return, in a child, its settings and its end of what it talks over; it can log then."""
    # The receiver decides when it is over, also after a Ctrl-C that reaches both.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    settings = settings_read.read()
    logging.configure_for(settings)
    return settings, Connection(int(sys.argv[1]))
