"""Associations and messages on both of their sides (PS3.7, PS3.8)."""
