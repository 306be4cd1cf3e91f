"""Reads a new password from an administrator at a shell."""

import getpass
import sys
from pathlib import Path
from typing import Final

from draw_shared.wording import message

NO_TERMINAL: Final = (
    "there is no terminal to ask for the password: give --password-file PATH, or"
    " `--password-file -` to read it from standard input"
)


def read_password(file: Path | None) -> str:
    """Return the password in a file, on standard input for `-`, or typed twice for None.

    Raises:
        ValueError: there is no terminal, or the two differ.
        OSError: the file cannot be read.
    """
    if file is None:
        return _ask_password()
    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    return text.rstrip("\r\n")


def _ask_password() -> str:
    if not sys.stdin.isatty():
        raise ValueError(NO_TERMINAL)
    try:
        first = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != first:
            raise ValueError(message("the two passwords differ"))
    except EOFError:
        raise ValueError(NO_TERMINAL) from None
    return first
