"""How long a test waits for an event: not for ever, as that would hang the suite, but long enough for slow machines."""

DEADLINE = 600
"""In seconds. Far more than anything that works takes on the slowest machine; it is no measure of speed."""
