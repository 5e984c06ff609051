"""The configuration of the commands, and the checks of its values.

The message of a failed check names the flag, the value and the rule.
"""

import os
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from pipeline.errors import UsageError
from vit.data.dataset import DataConfig

PrecisionChoice = Literal["auto", "fp32", "bf16"]
SearchMethod = Literal["random", "tpe"]
Fuse = int | Literal["auto", "off"]
TestTimeAugmentation = Literal["none", "flip"]
Export = Literal["none", "onnx"]
_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class TrialResources:
    """The resources that each worker of a trial takes, and how many trials may run at the same time.

    `gpus_per_trial` None means one GPU if the cluster has GPUs; `max_concurrent` None means as many trials as fit.
    """

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


@dataclass(frozen=True, kw_only=True)
class CommandConfig:
    """The settings that all commands that train have in common."""

    data: DataConfig = field(default_factory=DataConfig)
    seed: int = 0
    precision: PrecisionChoice = "auto"
    compile: bool = False
    tta: TestTimeAugmentation = "none"
    """`flip`: also measure the test accuracy with the mean of the logits of each image and of its mirror image."""
    export: Export = "none"
    """`onnx`: the registered model also gets an ONNX file, whose outputs have been checked with onnxruntime."""
    max_failures: int = 2
    """How often a training is restarted after its process has died."""
    address: str | None = None
    """The address of a running Ray cluster to join; None starts one and stops it at the end."""
    tracking_uri: str | None = None
    tracking_timeout: float = 120.0
    """The seconds that a command waits at its end for the next answer of the tracking server."""
    storage: str = "sweeps"
    """The folder for checkpoints, or a URI that every node can reach."""
    stall_minutes: float = 10.0
    """The minutes without progress after which the command reports who holds and who waits for resources."""

    @property
    def forced(self) -> str | None:
        """The flag, if any, that makes the command ignore earlier results."""
        return None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:  # torch takes no larger one
            raise UsageError(f"--seed is {self.seed}, but must be at least 0 and below 2**63")
        _at_least("--max-failures", self.max_failures, 0)
        if self.precision not in get_args(PrecisionChoice):
            raise UsageError(f"--precision is {self.precision!r}, but must be one of {get_args(PrecisionChoice)}")
        if self.tta not in get_args(TestTimeAugmentation):
            raise UsageError(f"--tta is {self.tta!r}, but must be one of {', '.join(get_args(TestTimeAugmentation))}")
        if self.export not in get_args(Export):
            raise UsageError(f"--export is {self.export!r}, but must be one of {', '.join(get_args(Export))}")
        missing = [name for name in _ONNX_PACKAGES if find_spec(name) is None] if self.export == "onnx" else []
        if missing:
            raise UsageError(
                f"--export is onnx, but {' and '.join(missing)} must be installed for it:"
                " pip install -c constraints.txt '.[onnx]'"
            )
        for flag, value in (("--tracking-timeout", self.tracking_timeout), ("--stall-minutes", self.stall_minutes)):
            if not value > 0:
                raise UsageError(f"{flag} is {value:g}, but must be above 0")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The time limit of a sweep, and what is expected to fit into it; further trials start only if there is time."""

    seconds: float
    deadline: float
    """When the time is over, in seconds since 1970."""
    trials: int
    finalists_seconds: float
    """The seconds that the epochs of the finalists are expected to take."""
    fixed_seconds: float
    """The seconds that everything else after the search is expected to take."""


@dataclass(frozen=True, kw_only=True)
class SweepConfig(CommandConfig):
    """All settings of a sweep."""

    trials: int = 32
    max_epochs: int | None = None
    """The full length of a trial; None takes the length that the search space sets."""
    grace_epochs: int | None = None
    """The first rung of ASHA; None takes a twelfth of the full length."""
    reduction_factor: int = 3
    """One in this many trials passes a rung of ASHA."""
    space: str | None = None
    """The name of a search space, or a Python file that defines one; None chooses by the image size."""
    search: SearchMethod = "random"
    """How trials are chosen: all drawn before the search begins, or each one by the results of the earlier ones."""
    workers_per_trial: int = 1
    """How many processes train one trial together; `resources` says what each of them takes."""
    resources: TrialResources = field(default_factory=TrialResources)
    fuse: Fuse = "auto"
    """How many trials of one shape are fused at most; `auto`: any number, where fusing is measured to be faster."""
    finalists: int = 2
    """How many of the best trials are retrained at full length, to confirm their accuracy before one is chosen."""
    seeds: int = 2
    """How many times each finalist and the published configuration are trained, each time with another seed."""
    audit: int = 0
    """How many trials that ASHA stopped are trained to their full length, to see whether stopping them was right."""
    cache: bool = True
    """Whether to skip stages that have finished before with the same settings, inputs and code."""
    from_stage: str | None = None
    """The stage to run again even if it has finished before, together with all stages that depend on it."""
    until_stage: str | None = None
    """The last stage to run: all others that run are stages that it depends on."""
    budget: Budget | None = None

    @property
    def forced(self) -> str | None:
        if not self.cache:
            return "--no-cache"
        return None if self.from_stage is None else f"--from {self.from_stage}"

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least("--trials", self.trials, 1)
        _at_least("--finalists", self.finalists, 1)
        _at_least("--seeds", self.seeds, 1)
        _at_least("--audit", self.audit, 0)
        if not self.cache and self.from_stage is not None:
            raise UsageError(f"--from is {self.from_stage!r}, but with --no-cache all stages run: give one of the two")
        _at_least("--max-epochs", self.max_epochs, 1)
        _at_least("--grace-epochs", self.grace_epochs, 1)
        _at_least("--reduction-factor", self.reduction_factor, 2)
        if self.search not in get_args(SearchMethod):
            raise UsageError(f"--search is {self.search!r}, but must be one of {', '.join(get_args(SearchMethod))}")
        _at_least("--workers-per-trial", self.workers_per_trial, 1)
        self._check_fuse()
        gpus = self.resources.gpus_per_trial
        if self.workers_per_trial > 1 and gpus is not None and gpus % 1 != 0:
            raise UsageError(
                f"--gpus-per-trial is {gpus:g}, but must be 0 or a whole number where --workers-per-trial is above 1: "
                "the workers of one trial cannot share a GPU"
            )
        if self.max_epochs and self.grace_epochs and self.grace_epochs > self.max_epochs:
            raise UsageError(
                f"--grace-epochs is {self.grace_epochs}, but must be at most --max-epochs {self.max_epochs}"
            )

    def _check_fuse(self) -> None:
        if not isinstance(self.fuse, int):
            return
        _at_least("--fuse", self.fuse, 2)
        if self.search != "random":
            raise UsageError(f"--fuse is {self.fuse}, but must be auto or off with --search {self.search}")
        if self.workers_per_trial > 1:
            raise UsageError(f"--fuse is {self.fuse}, but must be auto or off where --workers-per-trial is above 1")


@dataclass(frozen=True)
class WorkerRange:
    """The number of workers of a training run: as many as there is room for, from `fewest` to `most`."""

    fewest: int = 1
    most: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.fewest <= self.most:
            raise UsageError(
                f"--workers is {self.fewest}:{self.most}, but must be N or FEWEST:MOST with 1 <= FEWEST <= MOST"
            )

    @staticmethod
    def parse(text: str) -> "WorkerRange":
        """Parses `N` or `FEWEST:MOST`, such as `4` or `1:4`."""
        fewest, _, most = text.partition(":")
        if not fewest.isdecimal() or not (most or fewest).isdecimal():
            raise UsageError(f"--workers is {text!r}, but must be N or FEWEST:MOST with 1 <= FEWEST <= MOST")
        return WorkerRange(int(fewest), int(most or fewest))


@dataclass(frozen=True, kw_only=True)
class TrainConfig(CommandConfig):
    """All settings of one training run."""

    recipe: str = "seed"
    epochs: int | None = None
    """None takes the number of epochs of the recipe."""
    settings: tuple[str, ...] = ()
    """Each `FIELD=VALUE` replaces a field of the model or of the recipe that `recipe` names."""
    workers: WorkerRange = field(default_factory=WorkerRange)
    cpus_per_worker: float = 1.0
    gpus_per_worker: float | None = None
    """None takes one GPU if the cluster has GPUs."""
    register: bool = False
    """Whether to measure the model on the test images and register it as the challenger."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least("--epochs", self.epochs, 1)
        if self.export != "none" and not self.register:
            raise UsageError(f"--export is {self.export}, but must be none without --register")
        if not self.cpus_per_worker > 0:
            raise UsageError(f"--cpus-per-worker is {self.cpus_per_worker:g}, but must be above 0")
        gpus = self.gpus_per_worker
        if gpus is not None and not (gpus >= 0 and gpus % 1 == 0):
            raise UsageError(f"--gpus-per-worker is {gpus:g}, but must be 0 or a whole number")


def _at_least(flag: str, value: int | None, low: int) -> None:
    if value is not None and value < low:
        raise UsageError(f"{flag} is {value}, but must be at least {low}")


def resolve_tracking_uri(given: str | None) -> str:
    """Returns the tracking URI: the flag's, else MLFLOW_TRACKING_URI, else `mlflow.db` in the current folder.

    That file is where a plain `mlflow ui` looks. The path in a SQLite URI becomes absolute.
    """
    uri = given or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    prefix = "sqlite:///"
    return f"{prefix}{Path(uri.removeprefix(prefix)).resolve()}" if uri.startswith(prefix) else uri


def experiment_name(dataset: str) -> str:
    """Returns the name of a data set's experiment, which is also the name of its registered model."""
    return f"vit-{dataset}"
