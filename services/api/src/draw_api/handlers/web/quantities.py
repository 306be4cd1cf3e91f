"""Sizes and times as people write them in forms: `8 GiB`, `8.6 GB`, `2 min`, or a bare number.

A bare number is in the unit of its setting, which is also how REST has it.
"""

import re
from decimal import Decimal
from typing import Final

from babel.numbers import get_decimal_symbol

from draw_api.handlers.web.languages import spoken_locale

QUANTITY: Final = re.compile(r"\s*(\d{1,20}(?:[.,]\d{1,9})?)\s*([A-Za-z]*)\s*", re.ASCII)
"""A number, with a point or a comma, and its unit."""
SPACES: Final = re.compile("[\u00a0\u2007\u2009\u202f]")
"""Those that do not break a line, as the page writes them between a number and its unit."""
PARTS: Final = re.compile(r"([0-9.,]+\s*([A-Za-z]+))", re.ASCII)
PREFIXES: Final = ("k", "M", "G", "T", "P")
BYTES: Final = {
    "B": 1,
    **{f"{name}B": 1000**power for power, name in enumerate(PREFIXES, start=1)},
    **{f"{name.upper()}iB": 1024**power for power, name in enumerate(PREFIXES, start=1)},
}
SECONDS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86400}
UNITS: Final = {
    "bytes": {name: Decimal(factor) for name, factor in BYTES.items()},
    "gb": {name: Decimal(factor) / 1000**3 for name, factor in BYTES.items()},
    "seconds": {name: Decimal(factor) for name, factor in SECONDS.items()},
}
"""By the unit of the setting: how much of it each unit is."""
MAX_DECIMALS: Final = 3
GROUP: Final = 3
"""Digits between separators of thousands."""


def read_quantity(text: str, unit: str) -> int | None:
    """Return a quantity in the unit of its setting; None if it is none, or no whole number.

    Several together are one, as `2 min 30 s`, if each has a smaller unit than the one before.
    """
    plain = SPACES.sub(" ", text)
    parts = PARTS.findall(plain) if unit == "seconds" else []
    if len(parts) <= 1 or PARTS.sub("", plain).strip():
        return _read(plain, unit)
    factors = [SECONDS.get(name.lower(), 0) for _, name in parts]
    amounts = [amount for part, _ in parts if (amount := _read(part, unit)) is not None]
    if len(amounts) < len(parts) or factors != sorted(set(factors), reverse=True):
        return None
    return sum(amounts)


def _read(text: str, unit: str) -> int | None:
    found = QUANTITY.fullmatch(text)
    if found is None:
        return None
    names = {name.lower(): factor for name, factor in UNITS[unit].items()}
    factor = names.get(found[2].lower()) if found[2] else Decimal(1)
    if factor is None:
        return None
    whole, separator, rest = re.split(r"([.,]|$)", found[1], maxsplit=1)
    if separator and len(rest) == GROUP and separator != get_decimal_symbol(spoken_locale()):
        # 1,000 GB may be meant as a thousand.
        return None
    value = Decimal(f"{whole}.{rest or 0}") * factor
    return int(value) if value == value.to_integral_value() else None


def write_quantity(value: int, unit: str) -> str:
    """Return a quantity in the largest unit that writes it exactly and briefly."""
    best = ""
    for name, factor in UNITS[unit].items():
        amount = Decimal(value) / factor
        digits = max(0, -int(amount.normalize().as_tuple().exponent))
        if amount >= 1 and digits <= MAX_DECIMALS:
            text = f"{amount:.{digits}f} {name}".replace(".", get_decimal_symbol(spoken_locale()))
            best = text if not best or len(text) <= len(best) else best
    return best or f"{value} {_own_name(unit)}"


def _own_name(unit: str) -> str:
    return next(name for name, factor in UNITS[unit].items() if factor == 1)
