"""Provides the fixture that draws a figure and returns its pixels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.figures.canvas import HEIGHT, WIDTH

LARGEST_FILE = 300_000
"""The limit of a figure's file in bytes: three figures for each of dozens of trials are uploaded to the server."""


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., np.ndarray]:
    """Returns a function that draws a figure into a PNG, checks the file, and returns its pixels (HEIGHT, WIDTH, 3)."""

    def run(function: Callable[..., None], *arguments: object, **options: object) -> np.ndarray:
        path = tmp_path / "figure.png"
        function(str(path), "a title", *arguments, **options)
        assert path.stat().st_size < LARGEST_FILE
        with Image.open(path) as image:
            assert (image.format, image.size) == ("PNG", (WIDTH, HEIGHT))
            return np.asarray(image.convert("RGB"))

    return run
