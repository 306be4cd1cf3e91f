"""Regular expressions of operators, matched in linear time and bounded memory (decision 48)."""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import re2

from draw_shared.wording import message

MAX_EXPRESSION_LENGTH: Final = 500
MAX_REMEMBERED: Final = 2048
"""Expressions, without what they are compiled to."""
MAX_EXPRESSION_BYTES: Final = 256 * 1024
"""Memory of one expression; one that needs more is refused."""


def check_expression(expression: str) -> None:
    """Return if an expression can be used, whether capital and small letters differ or not.

    A document is read for every page, and compiling an expression takes up to 10 ms: what was found
    out is remembered.

    Raises:
        ValueError: it cannot; the text says why in words.
    """
    words = _fault_of(expression)
    if words:
        raise ValueError(words)


@lru_cache(maxsize=MAX_REMEMBERED)
def _fault_of(expression: str) -> str:
    try:
        # What is read without regard to them needs more memory.
        for case_sensitive in (False, True):
            compile_expression(expression, case_sensitive=case_sensitive)
    except ValueError as error:
        return str(error)
    return ""


def compile_expression(expression: str, *, case_sensitive: bool) -> Callable[[str], bool]:
    """Return whether a text has a part that matches, as a function.

    Raises:
        ValueError: it is no expression that can be used; the text says so in words.
    """
    if len(expression) > MAX_EXPRESSION_LENGTH:
        raise ValueError(
            message("must have at most %(count)s characters", count=MAX_EXPRESSION_LENGTH)
        )
    options = re2.Options()
    options.max_mem = MAX_EXPRESSION_BYTES
    options.log_errors = False
    options.never_capture = True
    options.case_sensitive = case_sensitive
    try:
        search = re2.compile(expression, options).search
    except re2.error as error:
        told = error.args[0]
        words = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
        raise ValueError(
            message(
                "is not a regular expression that can be used (%(reason)s)",
                reason=words.partition(":")[0],
            )
        ) from None

    def found(text: str) -> bool:
        try:
            return search(text) is not None
        except UnicodeEncodeError:
            # Half a character, from a value that is not in its character set.
            return search(text.encode("utf-8", "replace").decode()) is not None

    return found
