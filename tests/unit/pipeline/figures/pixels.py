"""Colours in a drawn figure."""

import numpy as np


def ink(pixels: np.ndarray, color: str) -> int:
    """How many pixels have exactly this colour ("#RRGGBB")."""
    wanted = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    return int((pixels == wanted).all(axis=2).sum())
