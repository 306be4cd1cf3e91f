"""Child processes of a receiver: how they start, and what they are given.

The receiver and a child talk over a private socket pair. The child ends when the receiver tells it
to or is gone. It gets only the settings that it reads: a process that talks to peers has access
to neither database nor broker.
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


def start(
    module: str, settings: type[ServiceSettings], *inherited: int
) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start a module as a child; return the process and our end of the socket pair.

    Args:
        module: the module to run.
        settings: the settings that it reads from its environment.
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


def attach(settings_read: type[Read]) -> tuple[Read, Connection]:
    """Return, in the child, its settings and its end of the socket pair, with logging set up."""
    # The receiver decides when the child ends, even after a Ctrl-C that reaches both.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    settings = settings_read.read()
    logging.configure_for(settings)
    return settings, Connection(int(sys.argv[1]))
