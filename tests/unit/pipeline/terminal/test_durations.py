"""Lengths of time as they are shown."""

import pytest

from pipeline.terminal.durations import clock_text


@pytest.mark.parametrize(("seconds", "clock"), [(0.4, "0:00"), (59.6, "1:00"), (61, "1:01"), (3661, "1:01:01")])
def test_clock(seconds: float, clock: str) -> None:
    assert clock_text(seconds) == clock
