"""How long a test waits for what should come: for ever would hang the suite, and a slow machine takes its time."""

DEADLINE = 600
"""Seconds. Far above anything that works, on the slowest machine; no measure of speed."""
