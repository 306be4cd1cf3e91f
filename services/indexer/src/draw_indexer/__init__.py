"""Writes received objects into the index."""
