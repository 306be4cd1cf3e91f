"""Bytes and what they mean: elements, character sets, dates, identifiers (PS3.5, PS3.6, PS3.10)."""
