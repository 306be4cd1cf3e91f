"""Writes tables for spreadsheets in which no cell can be a formula."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

FORMULA_BEGINNINGS: Final = ("=", "+", "-", "@", "\t", "\r")
"""Characters that make spreadsheets compute the rest of a cell."""
NEUTRALISED: Final = re.compile(r"'+[=+\-@\t\r]")
"""A cell that would be read back as such gets one more mark; reading removes one."""
HIDDEN_FORMULA: Final = re.compile(r"""([,;\t|\r\n]["\s]*)(?='*[=+\-@])""")
"""Where a spreadsheet that splits lines at another separator than ours begins a new cell."""


def csv_of(rows: Iterable[Sequence[object]], separator: str = ",") -> str:
    """Return rows as CSV (RFC 4180)."""
    out = io.StringIO()
    csv.writer(out, delimiter=separator).writerows([cell(value) for value in row] for row in rows)
    return out.getvalue()


def cell(value: object) -> object:
    """Return a value for a spreadsheet: a text that looks like a formula stays a text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        harmless = HIDDEN_FORMULA.sub(r"\1'", value)
        marked = harmless.startswith(FORMULA_BEGINNINGS) or NEUTRALISED.match(harmless)
        return f"'{harmless}" if marked else harmless
    return "" if value is None else value
