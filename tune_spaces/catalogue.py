"""Lists all search spaces by name, and chooses the one that suits the images."""

from tune_spaces import natural, recipe, small
from tune_spaces.space import Space

SPACES: dict[str, Space] = {module.SPACE.name: module.SPACE for module in (small, natural, recipe)}


def space_for(img_size: int) -> Space:
    """The space that suits images of this many pixels a side."""
    return SPACES["small"] if img_size < 32 else SPACES["natural"]
