"""The test images that a version was measured on, loaded anew."""

import json
import os
from dataclasses import dataclass, replace

from mlflow.entities.model_registry import ModelVersion

from pipeline.errors import GateRefusedError, UsageError
from vit.data.arrays import DataError, ImageArrays
from vit.data.dataset import DataConfig, load_dataset


@dataclass(frozen=True)
class TestImages:
    """What both contenders are shown."""

    __test__ = False  # not a test of pytest's

    images: ImageArrays
    class_names: tuple[str, ...]
    digest: str
    """`Dataset.test_digest`."""
    source: str


def load_test_images(version: ModelVersion, dataset: str | None, test_digest: str) -> TestImages:
    """Loads the images as the version's tags say.

    Args:
        version: of this pipeline's.
        dataset: what the user gave; a path says where the images are now, a name only which model is meant.
        test_digest: what they must have.

    Raises:
        UsageError: the images are not at hand.
        GateRefusedError: they are not those that the version was measured on.
    """
    try:
        config = _data_config(version, dataset)
        loaded = load_dataset(config)
    except DataError as error:
        raise UsageError(
            f"the test images of version {version.version} are not at hand ({error}): give --dataset PATH, or set"
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
    # Versions of older stores have but the data set's name.
    kept = DataConfig(**json.loads(tag)) if tag else DataConfig(version.tags.get("pipeline.dataset", dataset or ""))
    is_path = dataset is not None and (os.sep in dataset or os.path.isdir(dataset))
    return replace(kept, dataset=dataset) if is_path and dataset is not None else kept
