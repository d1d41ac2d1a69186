"""Measures speed and size: `python -m tests.bench`, or `make bench`."""
