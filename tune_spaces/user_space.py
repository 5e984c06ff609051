"""Loads a search space from a file that the user wrote."""

import importlib.util
from pathlib import Path

from tune_spaces.space import Space, draw_trials
from vit.data.arrays import DataShape


class SpaceError(ValueError):
    """A file holds no usable space; the message names the file and what is wrong."""


def load_space(file: str, shape: DataShape, trials: int, seed: int) -> Space:
    """Runs a Python file and returns its `SPACE`, after drawing the sweep's trials to see that all can be trained.

    Args:
        file: the path of the Python file.
        shape: the shape of the data set.
        trials: how many trials the sweep will have.
        seed: the seed by which they are drawn.

    Raises:
        SpaceError: the file cannot be read or run, has no SPACE, or its SPACE draws a trial that is not valid.
    """
    path = Path(file)
    if not path.is_file():
        raise SpaceError(f"{file} is not a file")
    specification = importlib.util.spec_from_file_location(f"user_space_{path.stem}", path)
    if specification is None or specification.loader is None:
        raise SpaceError(f"{file} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises
        raise SpaceError(f"{file} cannot be run: {type(error).__name__}: {error}") from error
    space = getattr(module, "SPACE", None)
    if not isinstance(space, Space):
        raise SpaceError(f"{file} has no SPACE, which must be a tune_spaces.space.Space")
    try:
        draw_trials(space, shape, trials, space.max_epochs, seed)
    except Exception as error:  # from the user's code, or from a model or recipe that refuses a value
        raise SpaceError(f"{file} draws a trial that cannot be trained: {error}") from error
    return space
