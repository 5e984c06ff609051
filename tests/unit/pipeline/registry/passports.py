"""Provides a passport for tests that register versions."""

from dataclasses import replace
from typing import Any

from pipeline.registry.passport import DataFacts, Figures, Origin, Passport
from pipeline.registry.provenance import CodeState
from pipeline.registry.versions import TestFigures
from pipeline.statistics.intervals import accuracy_interval
from tune_spaces.trial_spec import TrialSpec
from vit.data.dataset import DataConfig
from vit.model.config import ViTConfig
from vit.training.machine import Machine
from vit.training.recipes import Recipe

MEASURED = TestFigures("sha256:abc", test_correct=7, test_images=9, val_accuracy=0.75)
PASSPORT = Passport(
    model_name="vit-x",
    origin=Origin("python -m pipeline.sweep --dataset x", "r1", sweep_run_id="s1", trial=3, confirm_seed=1),
    spec=TrialSpec(3, ViTConfig(img_size=8, num_classes=4, depth=2), Recipe(optimizer="muon"), seed=17),
    precision="bf16",
    compile=False,
    data=DataFacts("x", DataConfig("x", train_limit=40), "sha256:images", 40, 20, ("ant", "bee", "cat", "dog")),
    figures=Figures(
        MEASURED, accuracy_interval(15, 20), accuracy_interval(7, 9), (1.0, 0.5, None, 0.75), 8 / 9, test_set_reads=2
    ),
    code=CodeState("0123456789abcdef", False, {"vit.training.fit": "0a1b"}),
    packages={"python": "3.11.9", "torch": "2.15.0"},
    machines=(Machine("Xeon", "AVX512", 2, 1, None, "2.15.0"),),
    weights_digest="5f",
    registered_at="2026-11-25T10:00:00+00:00",
)


def passport(model_name: str, run_id: str, measured: TestFigures = MEASURED, **changes: Any) -> Passport:
    """Returns the passport of a version of this model that this run trained."""
    figures = replace(PASSPORT.figures, measured=measured)
    origin = replace(PASSPORT.origin, run_id=run_id)
    return replace(PASSPORT, model_name=model_name, origin=origin, figures=figures, **changes)
