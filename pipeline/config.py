"""The configuration behind the commands. Each check stands here, and each message names flag, value and rule."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from pipeline.exits import UsageError
from vit.data import DataConfig

PrecisionChoice = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class TrialResources:
    """What one trial takes of the cluster. None: one core, or one GPU where there are GPUs."""

    cpus_per_trial: float = 1.0
    gpus_per_trial: float | None = None
    max_concurrent: int | None = None

    def __post_init__(self) -> None:
        if not self.cpus_per_trial > 0:
            raise UsageError(f"--cpus-per-trial is {self.cpus_per_trial:g}, but must be above 0")
        gpus = self.gpus_per_trial
        if gpus is not None and (not gpus >= 0 or (gpus > 1 and gpus % 1 != 0)):
            raise UsageError(f"--gpus-per-trial is {gpus:g}, but must be 0, a fraction of one, or a whole number")
        _at_least("--max-concurrent", self.max_concurrent, 1)


@dataclass(frozen=True)
class SweepConfig:
    """All that a sweep depends on."""

    data: DataConfig = field(default_factory=DataConfig)
    trials: int = 32
    max_epochs: int | None = None
    """Full length of a trial; None takes the space's."""
    grace_epochs: int | None = None
    """The first rung of ASHA; None takes a twelfth of the full length."""
    reduction_factor: int = 3
    """One in this many trials passes a rung of ASHA."""
    space: str | None = None
    """Name of a search space; None chooses by the image size."""
    seed: int = 0
    precision: PrecisionChoice = "auto"
    compile: bool = False
    resources: TrialResources = field(default_factory=TrialResources)
    address: str | None = None
    """A running Ray cluster to join; None starts one and stops it."""
    tracking_uri: str | None = None
    storage: str = "sweeps"
    """Folder, or URI that every node reaches, for the trials' checkpoints."""

    def __post_init__(self) -> None:
        _at_least("--trials", self.trials, 1)
        _at_least("--max-epochs", self.max_epochs, 1)
        _at_least("--grace-epochs", self.grace_epochs, 1)
        _at_least("--reduction-factor", self.reduction_factor, 2)
        _at_least("--seed", self.seed, 0)
        if self.max_epochs and self.grace_epochs and self.grace_epochs > self.max_epochs:
            raise UsageError(
                f"--grace-epochs is {self.grace_epochs}, but must be at most --max-epochs {self.max_epochs}"
            )
        if self.precision not in get_args(PrecisionChoice):
            raise UsageError(f"--precision is {self.precision!r}, but must be one of {get_args(PrecisionChoice)}")


def _at_least(flag: str, value: int | None, low: int) -> None:
    if value is not None and value < low:
        raise UsageError(f"{flag} is {value}, but must be at least {low}")


def resolve_tracking_uri(given: str | None) -> str:
    """The flag, else MLFLOW_TRACKING_URI, else `mlflow.db` here: where a plain `mlflow ui` looks. Absolute."""
    uri = given or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    prefix = "sqlite:///"
    return f"{prefix}{Path(uri.removeprefix(prefix)).resolve()}" if uri.startswith(prefix) else uri


def experiment_name(dataset: str) -> str:
    """The experiment of a data set; its registered model has the same name."""
    return f"vit-{dataset}"
