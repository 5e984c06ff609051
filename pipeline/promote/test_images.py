"""Loads the test images on which a version was measured."""

import json
import os
from dataclasses import dataclass, replace

from mlflow.entities.model_registry import ModelVersion

from pipeline.errors import GateRefusedError, UsageError
from vit.data.arrays import DataError, ImageArrays
from vit.data.dataset import DataConfig, load_dataset


@dataclass(frozen=True)
class TestImages:
    """The test images on which both versions are measured."""

    __test__ = False  # tells pytest that this class is not a test

    images: ImageArrays
    class_names: tuple[str, ...]
    digest: str
    """`Dataset.test_digest`."""
    source: str


def load_test_images(version: ModelVersion, dataset: str | None, test_digest: str) -> TestImages:
    """Loads the test images of the data set that the version's tags describe.

    Args:
        version: a version that this pipeline registered.
        dataset: the user's `--dataset`: a path says where the images are now, a name only says which model is meant.
        test_digest: the digest that the images must have.

    Raises:
        UsageError: the images cannot be loaded.
        GateRefusedError: they are not the images on which the version was measured.
    """
    try:
        config = _data_config(version, dataset)
        loaded = load_dataset(config)
    except DataError as error:
        raise UsageError(
            f"the test images of version {version.version} cannot be loaded ({error}): give --dataset PATH, or set"
            f" VIT_DATA_DIR to the folder that holds {version.tags.get('pipeline.dataset', 'them')}/"
        ) from error
    if loaded.test_digest != test_digest:
        raise GateRefusedError(
            f"version {version.version} was measured on test images of digest {test_digest}, but those of"
            f" {config.dataset} have {loaded.test_digest}: give --dataset PATH with the images it was measured on"
        )
    return TestImages(loaded.test, loaded.class_names, loaded.test_digest, loaded.source)


def _data_config(version: ModelVersion, dataset: str | None) -> DataConfig:
    tag = version.tags.get("pipeline.data_source")
    # Versions in older stores record only the data set's name.
    kept = DataConfig(**json.loads(tag)) if tag else DataConfig(version.tags.get("pipeline.dataset", dataset or ""))
    is_path = dataset is not None and (os.sep in dataset or os.path.isdir(dataset))
    return replace(kept, dataset=dataset) if is_path and dataset is not None else kept
