"""Chooses the search space of a sweep: by the size of its images, by name, or from the user's own file."""

from pipeline.config import SweepConfig
from pipeline.errors import UsageError
from pipeline.search.suggestions import refuse_unsuggestable
from tune_spaces.catalogue import SPACES, space_for
from tune_spaces.space import Space
from tune_spaces.user_space import SpaceError, load_space
from vit.data.dataset import Dataset

NAMING_TRIALS = 32
"""The folder of a sweep is named after this many first trials of its search, however many the search has."""


def space_of(config: SweepConfig, dataset: Dataset) -> Space:
    """Returns the space. Raises UsageError if there is no such space, or if the user's own has a mistake."""
    if config.space is None:
        return space_for(dataset.img_size)
    if config.space in SPACES:
        return SPACES[config.space]
    if not config.space.endswith(".py"):
        known = ", ".join(sorted(SPACES))
        raise UsageError(f"--space is {config.space!r}, but must be one of {known}, or a file that ends in .py")
    try:
        space = load_space(config.space, dataset.shape, max(config.trials, NAMING_TRIALS), config.seed)
    except SpaceError as error:
        raise UsageError(f"--space: {error}") from error
    if config.search == "tpe":
        refuse_unsuggestable(space, dataset.shape)
    return space
