"""Counts the pixels of a colour in a drawn figure."""

import numpy as np


def ink(pixels: np.ndarray, color: str) -> int:
    """Returns how many pixels have exactly this colour ("#RRGGBB")."""
    return int(_is(pixels, color).sum())


def columns(pixels: np.ndarray, color: str) -> int:
    """Returns in how many columns there is a pixel of exactly this colour ("#RRGGBB")."""
    return int(_is(pixels, color).any(axis=0).sum())


def _is(pixels: np.ndarray, color: str) -> np.ndarray:
    wanted = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    found: np.ndarray = (pixels == wanted).all(axis=2)
    return found
