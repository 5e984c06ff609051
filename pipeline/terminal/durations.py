"""Lengths of time as the user writes and reads them: `90s`, `2h30m`."""

import math
import re

from pipeline.errors import UsageError

_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(f"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?")


def parse_duration(text: str) -> float:
    """Returns the seconds of a duration such as `90s`, `30m`, `1.5h` or `2h30m`."""
    match = _DURATION.fullmatch(text)
    hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0.0, 0.0, 0.0)
    total = 3600 * hours + 60 * minutes + seconds
    if not 0 < total < math.inf:
        raise UsageError(f"--budget is {text!r}, but must be a time above 0 such as 90s, 30m, 1.5h or 2h30m")
    return total


def duration_text(seconds: float) -> str:
    """Formats a duration as `parse_duration` reads it, in the largest units: `2h30m`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{value:g}{unit}" for value, unit in parts if value) or "0s"


def clock_text(seconds: float) -> str:
    """Formats a duration as a clock shows it, rounded to whole seconds: `2:30:00`, `1:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
