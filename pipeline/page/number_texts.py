"""Formats numbers as the page shows them."""

MISSING = "-"


def percent(fraction: float | None, digits: int = 2) -> str:
    return MISSING if fraction is None else f"{fraction:.{digits}%}"


def points(difference: float | None) -> str:
    """A difference of two accuracies, in percentage points: `+0.85`."""
    return MISSING if difference is None else f"{100 * difference:+.2f}"


def spread(mean: float | None, deviation: float | None) -> str:
    """A mean with its standard deviation, where there is one: `98.80% ± 0.42`."""
    if mean is None:
        return MISSING
    return f"{mean:.2%}" if deviation is None else f"{mean:.2%} ± {100 * deviation:.2f}"


def duration(seconds: float | None) -> str:
    """A duration: `42.0 s`, `1 min 36 s` or `1 h 2 min`."""
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def count_of(count: int, thing: str) -> str:
    """A count with its noun: `1 seed`, `2 seeds`."""
    return f"{count} {thing}" if count == 1 else f"{count:,} {thing}s"


def times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
