"""A version's passport: all that it takes to judge it, and to train it again, as one JSON file beside the model."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from pydantic import TypeAdapter

from pipeline.registry.provenance import CodeState
from pipeline.registry.versions import TestFigures
from pipeline.statistics.intervals import Interval
from tune_spaces.trial_spec import TrialSpec
from vit.data.dataset import DataConfig
from vit.training.machine import Machine
from vit.training.precision import Precision

PASSPORT_FILE = "passport.json"


@dataclass(frozen=True)
class Origin:
    """Which training the weights come from."""

    command: str
    """As it was typed."""
    run_id: str
    sweep_run_id: str | None = None
    """None for a training by itself; so are the next two."""
    trial: int | None = None
    confirm_seed: int | None = None
    """Which of the seeds that its configuration was confirmed with, from 0."""


@dataclass(frozen=True)
class DataFacts:
    """The images, and how to get them again."""

    name: str
    config: DataConfig
    digest: str
    """`vit.data.dataset.Dataset.digest`."""
    train_images: int
    validation_images: int
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Figures:
    """What was measured before it was registered. Accuracies are fractions, intervals Wilson's 95%."""

    measured: TestFigures
    val_interval: Interval
    test_interval: Interval
    test_class_accuracy: tuple[float | None, ...]
    """In the order of the class names; None for a class without test images."""
    test_accuracy_tta_flip: float | None
    """With each image's mirror image; None where nobody asked."""
    test_set_reads: int
    """How often these test images had been read in its tracking store, this time included."""


@dataclass(frozen=True)
class Passport:
    """Of one version of a registered model."""

    model_name: str
    origin: Origin
    spec: TrialSpec
    precision: Precision
    compile: bool
    data: DataFacts
    figures: Figures
    code: CodeState
    packages: dict[str, str]
    """Versions by name, of the command that registered it; `python` is one of them."""
    machines: tuple[Machine, ...]
    """On which it was trained, one after the other."""
    weights_digest: str
    """`pipeline.tracking.weights.weights_digest`."""
    registered_at: str
    """UTC, ISO 8601."""

    def to_json(self) -> str:
        return TypeAdapter(Passport).dump_json(self, indent=2).decode()

    @property
    def tags(self) -> dict[str, str]:
        """What the version's page shows of it, and what versions are looked up by."""
        origin, data = self.origin, self.data
        tags = {
            "pipeline.dataset": data.name,
            "pipeline.data_digest": data.digest,
            "pipeline.data_source": TypeAdapter(DataConfig).dump_json(data.config).decode(),
            "pipeline.run_id": origin.run_id,
            "pipeline.seed": str(self.spec.seed),
            "pipeline.git_commit": self.code.commit or "unknown",
            "pipeline.git_clean": str(self.code.is_clean).lower(),
            **self.figures.measured.to_tags(),
        }
        if origin.sweep_run_id is not None:
            tags["pipeline.sweep_run_id"] = origin.sweep_run_id
            tags["pipeline.trial"] = str(origin.trial)
            tags["pipeline.confirm_seed"] = str(origin.confirm_seed)
        return tags


def read_passport(client: MlflowClient, version: ModelVersion) -> Passport | None:
    """The passport of a version; None for one that was registered without."""
    repository = get_artifact_repository(str(version.source), tracking_uri=client.tracking_uri)
    if PASSPORT_FILE not in {file.path for file in repository.list_artifacts(None)}:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = repository.download_artifacts(PASSPORT_FILE, folder)  # type: ignore[no-untyped-call]
        return TypeAdapter(Passport).validate_json(Path(path).read_bytes())
