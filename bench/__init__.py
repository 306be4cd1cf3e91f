"""Benchmarks beside peers in the same run; one command each, results as a table."""
