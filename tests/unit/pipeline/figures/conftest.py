"""Drawing a figure as a test sees it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.figures.canvas import HEIGHT, WIDTH

LARGEST_FILE = 300_000
"""Bytes: three figures for each of dozens of trials go to the tracking server."""


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., np.ndarray]:
    """Draws into a file and gives the pixels (HEIGHT, WIDTH, 3), the file being a PNG of the right size."""

    def run(function: Callable[..., None], *arguments: object, **options: object) -> np.ndarray:
        path = tmp_path / "figure.png"
        function(str(path), "a title", *arguments, **options)
        assert path.stat().st_size < LARGEST_FILE
        with Image.open(path) as image:
            assert (image.format, image.size) == ("PNG", (WIDTH, HEIGHT))
            return np.asarray(image.convert("RGB"))

    return run
