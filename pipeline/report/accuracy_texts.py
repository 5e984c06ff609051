"""Accuracies as the report writes them, on the terminal and on the page."""


def points_text(difference: float) -> str:
    """A difference of two accuracies, in percentage points: `+0.85`."""
    return f"{100 * difference:+.2f}"


def spread_text(mean: float, deviation: float | None) -> str:
    """A mean with its standard deviation, where there is one: `98.80% ± 0.42`."""
    return f"{mean:.2%}" if deviation is None else f"{mean:.2%} ± {100 * deviation:.2f}"
