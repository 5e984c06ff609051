"""A version's passport: everything needed to judge the version and to retrain it, in one JSON file beside the model."""

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
    """The training that the weights come from."""

    command: str
    """The command line as it was typed."""
    run_id: str
    sweep_run_id: str | None = None
    """The run of the sweep; None for a training outside a sweep, as are the next two fields."""
    trial: int | None = None
    confirm_seed: int | None = None
    """Which of the seeds used to confirm its configuration this training had, counting from 0."""


@dataclass(frozen=True)
class DataFacts:
    """The data set, and how to load it again."""

    name: str
    config: DataConfig
    digest: str
    """`vit.data.dataset.Dataset.digest`."""
    train_images: int
    validation_images: int
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Figures:
    """What was measured before the version was registered. Accuracies are fractions; intervals are Wilson's 95%."""

    measured: TestFigures
    val_interval: Interval
    test_interval: Interval
    test_class_accuracy: tuple[float | None, ...]
    """In the order of the class names; None for a class without test images."""
    test_accuracy_tta_flip: float | None
    """Test accuracy by the mean prediction for each image and its mirror image; None where not requested."""
    test_set_reads: int
    """How often these test images had been read in its tracking store, including this time."""


@dataclass(frozen=True)
class Passport:
    """The passport of one version of a registered model."""

    model_name: str
    origin: Origin
    spec: TrialSpec
    precision: Precision
    compile: bool
    data: DataFacts
    figures: Figures
    code: CodeState
    packages: dict[str, str]
    """Package versions by name, as the command that registered the version used them; `python` is one of them."""
    machines: tuple[Machine, ...]
    """The machines on which it was trained, one after the other."""
    weights_digest: str
    """The digest of the weights (`pipeline.tracking.weights.weights_digest`)."""
    registered_at: str
    """UTC, ISO 8601."""

    def to_json(self) -> str:
        return TypeAdapter(Passport).dump_json(self, indent=2).decode()

    @property
    def tags(self) -> dict[str, str]:
        """The version's tags: what its page in MLflow shows of the passport, and what versions are looked up by."""
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
    """Returns the passport of a version; None for a version that was registered without one."""
    repository = get_artifact_repository(str(version.source), tracking_uri=client.tracking_uri)
    if PASSPORT_FILE not in {file.path for file in repository.list_artifacts(None)}:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = repository.download_artifacts(PASSPORT_FILE, folder)  # type: ignore[no-untyped-call]
        return TypeAdapter(Passport).validate_json(Path(path).read_bytes())
