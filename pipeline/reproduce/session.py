"""The session of a training that repeats an earlier one."""

import os
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pipeline.config import TrainConfig, WorkerRange
from pipeline.errors import UsageError
from pipeline.registry.passport import Passport
from pipeline.session.train_session import TrainSession
from tune_spaces.trial_spec import TrialSpec
from vit.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig(TrainConfig):
    """The configuration of a training that a passport describes, instead of a recipe's name."""

    passport: Passport

    @staticmethod
    def of(passport: Passport, dataset: str | None, tracking_uri: str | None, storage: str) -> "ReproduceConfig":
        """Returns the configuration of the passport's training; `dataset` says where its images are, if they moved."""
        data = passport.data.config
        last = passport.machines[-1] if passport.machines else None
        # The number of threads should stay the same: it decides how sums are split, and so their last bits.
        threads = 1 if last is None else min(last.threads, os.cpu_count() or 1)
        return ReproduceConfig(
            passport=passport,
            data=data if dataset is None else replace(data, dataset=dataset),
            seed=passport.spec.seed,
            precision=passport.precision,
            compile=passport.compile,
            workers=WorkerRange() if last is None else WorkerRange(1, last.workers),
            cpus_per_worker=float(threads),
            gpus_per_worker=0.0 if last is not None and last.gpu is None else None,
            tracking_uri=tracking_uri,
            storage=storage,
        )


class ReproduceSession(TrainSession):
    kind: ClassVar[str] = "reproduce"
    command: ClassVar[str] = "pipeline.reproduce"

    @classmethod
    def identity(cls, config: Any, dataset: Dataset) -> dict[str, Any]:
        expected = config.passport.data.digest
        if dataset.digest != expected:
            raise UsageError(
                f"--dataset is {config.data.dataset!r}, whose images are {dataset.digest[:19]}, but must hold "
                f"those that the model was trained on, {expected[:19]}"
            )
        return super().identity(config, dataset)

    @classmethod
    def spec_of(cls, config: Any, dataset: Dataset) -> TrialSpec:
        """The trial of the passport, as the only trial of its folder."""
        spec: TrialSpec = config.passport.spec
        return replace(spec, index=0)

    @property
    def run_tags(self) -> dict[str, str]:
        return {**super().run_tags, "pipeline.reproduces": self.passport.origin.run_id}

    @property
    def passport(self) -> Passport:
        config = self.config
        assert isinstance(config, ReproduceConfig)
        return config.passport
