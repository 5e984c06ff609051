"""Tests of what is timed for a plan, and in how many processes side by side, without Ray and with made-up times."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.cluster.allotment import Allotment
from pipeline.config import SweepConfig
from pipeline.errors import PipelineError
from pipeline.planning import timing
from pipeline.planning.timing import calibrate
from tune_spaces.trial_spec import TrialSpec
from vit.model.config import ViTConfig
from vit.timing.step_times import StepTimes
from vit.training.recipes import Recipe

MODEL = ViTConfig(img_size=8, in_chans=1, embed_dim=32, num_heads=4, depth=1)
SPECS = [TrialSpec(index, MODEL, Recipe(batch_size=size), seed=0) for index, size in enumerate((64, 32, 1000))]
IMAGES = 100


@dataclass
class Cluster:
    """Stands in for Ray, and runs tasks immediately; a step takes one second per image."""

    asked: list[timing._Question] = field(default_factory=list)

    def remote(self, max_calls: int) -> Any:
        return lambda task: SimpleNamespace(options=lambda **resources: SimpleNamespace(remote=self._measured))

    def get(self, answers: list[Any]) -> list[Any]:
        return answers

    def _measured(self, question: timing._Question) -> timing._Answer:
        self.asked.append(question)
        sizes = [spec.recipe.batch_size for spec in question.specs]
        return timing._Answer(0.0, [StepTimes(float(size), size, 0.1) for size in sizes], [])


@pytest.mark.parametrize(
    ("workers", "shares"),
    [
        (1, {0: 64, 1: 32, 2: 100}),  # a batch has at most all images
        (2, {0: 32, 1: 16, 2: 50}),
        (3, {0: 22, 1: 11, 2: 34}),
    ],
)
def test_a_process_times_the_share_of_a_batch_that_a_worker_takes(
    monkeypatch: pytest.MonkeyPatch, workers: int, shares: dict[int, int]
) -> None:
    cluster = Cluster()
    monkeypatch.setattr(timing, "ray", cluster)
    calibration = calibrate(_session(SPECS, workers))
    assert len(cluster.asked) == 2 * workers  # as many as will slow each other down in the sweep
    assert {spec.index: spec.recipe.batch_size for spec in cluster.asked[0].specs} == shares
    assert sorted(each.times.batch_size for each in calibration.measured) == sorted(shares.values())


def test_a_model_that_no_memory_holds_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "ray", Cluster())
    monkeypatch.setattr(Cluster, "_measured", lambda cluster, question: timing._measure(question))
    too_large = replace(SPECS[1], model=replace(MODEL, in_chans=2**42))  # 9 PB for the first weight
    with pytest.raises(PipelineError, match=r"^trial 1 finds no memory, so its time cannot be measured"):
        calibrate(_session([SPECS[0], too_large], workers=1))


def _session(specs: list[TrialSpec], workers: int) -> Any:
    return SimpleNamespace(
        specs=specs, allotment=Allotment(1, 0, concurrent=2, workers=workers), precision="fp32",
        config=SweepConfig(workers_per_trial=workers, fuse="off"), dataset=SimpleNamespace(train=range(IMAGES)),
    )  # fmt: skip
