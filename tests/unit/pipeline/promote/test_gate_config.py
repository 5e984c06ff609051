"""Tests that limits of the gate that make no sense are refused, with the name of the flag."""

import math

import pytest

from pipeline.errors import UsageError
from pipeline.promote.gate_config import GateConfig


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("class_margin", -0.1, "--class-margin is -0.1, but must be from 0 to 1"),
        ("class_margin", 5.0, "0.05 is five points"),
        ("calibration_margin", math.nan, "--calibration-margin is nan"),
        ("max_latency_ratio", 0.0, "--max-latency-ratio is 0, but must be above 0"),
        ("max_size_ratio", math.nan, "--max-size-ratio is nan"),
        ("max_size_ratio", math.inf, "--max-size-ratio is inf, but must be above 0 and finite$"),
    ],
)
def test_it_refuses(name: str, value: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GateConfig(**{name: value})  # type: ignore[arg-type]
