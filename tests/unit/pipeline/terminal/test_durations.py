"""Tests how lengths of time are read as they are typed, and how they are shown."""

import pytest

from pipeline.errors import UsageError
from pipeline.terminal.durations import clock_text, duration_text, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("2h30m", 9000), ("1h0m5.5s", 3605.5), ("0h1s", 1)],
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "0s", "30", "m", "-5m", "5 m", "30m2h", "1e3s", "inf", "nan", ".5h", "1.h", "9" * 400 + "h", "1d", "5m\n"],
)
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_duration(text)
    rule = "must be a time above 0 such as 90s, 30m, 1.5h or 2h30m"
    assert str(refusal.value) == f"--budget is {text!r}, but {rule}"


@pytest.mark.parametrize(
    ("seconds", "text"), [(9000, "2h30m"), (1800, "30m"), (48, "48s"), (3605, "1h5s"), (0.5, "0.5s"), (0, "0s")]
)
def test_a_length_of_time_reads_as_it_is_typed(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(("seconds", "clock"), [(0.4, "0:00"), (59.6, "1:00"), (61, "1:01"), (3661, "1:01:01")])
def test_clock(seconds: float, clock: str) -> None:
    assert clock_text(seconds) == clock
