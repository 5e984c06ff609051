"""Tests what is found to differ from a passport, and whether a repeated training counts as the same."""

from dataclasses import replace

import pytest

from pipeline.registry.passport import Passport
from pipeline.registry.provenance import CodeState
from pipeline.reproduce.differences import differences
from pipeline.reproduce.session import ReproduceConfig
from pipeline.reproduce.verdict import judge
from pipeline.statistics.intervals import accuracy_interval
from tests.unit.pipeline.registry.passports import PASSPORT
from vit.data.dataset import DataConfig
from vit.training.machine import Machine

HERE, CODE = PASSPORT.machines[0], PASSPORT.code
GPU = replace(HERE, gpu="H100")


def test_nothing_differs_where_all_is_as_it_was() -> None:
    assert differences(PASSPORT, CODE, PASSPORT.packages, HERE) == []


def test_a_commit_that_changes_no_training_is_no_difference() -> None:
    assert differences(PASSPORT, replace(CODE, commit="f" * 40, is_clean=True), PASSPORT.packages, HERE) == []


@pytest.mark.parametrize(
    ("code", "packages", "machine", "line"),
    [
        (
            CodeState(None, None, {"vit.training.fit": "ffff", "vit.training.muon": "0"}), PASSPORT.packages, HERE,
            "code: 2 of the modules that decide a training changed (vit.training.fit, vit.training.muon); commit "
            "0123456789ab with changes, now no git checkout",
        ),
        (CODE, {**PASSPORT.packages, "torch": "2.16.0"}, HERE, "package: torch 2.15.0, now 2.16.0"),
        (CODE, {"python": "3.11.9"}, HERE, "package: torch 2.15.0, now not installed"),
        (
            CODE, PASSPORT.packages, replace(HERE, threads=1),
            "machine: 1 worker with 2 threads, Xeon (AVX512), no GPU, torch 2.15.0, now 1 worker with 1 thread, Xeon "
            "(AVX512), no GPU, torch 2.15.0",
        ),
    ],
)  # fmt: skip
def test_each_difference_is_a_line(code: CodeState, packages: dict[str, str], machine: Machine, line: str) -> None:
    assert differences(PASSPORT, code, packages, machine) == [line]


def test_a_machine_that_nobody_recorded_may_differ() -> None:
    (line,) = differences(replace(PASSPORT, machines=()), CODE, PASSPORT.packages, HERE)
    assert line.startswith("machine: not recorded, now 1 worker with 2 threads")


# Of 100 validation images, 90 were classified correctly: Wilson's interval is 82.56% to 94.48%.
FIGURES = replace(PASSPORT.figures, val_interval=accuracy_interval(90, 100))
THEN = replace(PASSPORT, figures=replace(FIGURES, measured=replace(FIGURES.measured, val_accuracy=0.9)))


@pytest.mark.parametrize(
    ("passport", "digest", "accuracy", "nothing_differs", "expected"),
    [
        (THEN, "5f", 0.9, True, ("bit for bit", True)),
        (THEN, "5f", 0.9, False, ("bit for bit", True)),
        (THEN, "60", 0.9, True, ("within the interval", False)),  # a CPU repeats every bit, unless something is wrong
        (replace(THEN, machines=(GPU,)), "60", 0.9, True, ("within the interval", True)),  # a GPU does not
        (THEN, "60", 0.83, False, ("within the interval", True)),
        (THEN, "60", 0.82, False, ("otherwise", False)),
        (THEN, "60", 0.95, False, ("otherwise", False)),
    ],
)
def test_the_verdict(
    passport: Passport, digest: str, accuracy: float, nothing_differs: bool, expected: tuple[str, bool]
) -> None:
    verdict = judge(passport, digest, accuracy, nothing_differs)
    assert (verdict.sameness, verdict.as_expected) == expected
    assert f"validation {accuracy:.2%}, then 90.00%" in verdict.text


def test_what_was_trained_on_a_cpu_is_trained_on_a_cpu_again() -> None:
    """Even where there is a GPU, on which no training gives the same bits."""
    assert ReproduceConfig.of(PASSPORT, None, None, "sweeps").gpus_per_worker == 0
    on_gpu = replace(PASSPORT, machines=(GPU,))
    assert ReproduceConfig.of(on_gpu, None, None, "sweeps").gpus_per_worker is None


def test_images_that_are_elsewhere_now_are_read_as_they_were() -> None:
    known = replace(PASSPORT, data=replace(PASSPORT.data, config=DataConfig("there", 8, 50, mirror=False)))
    assert ReproduceConfig.of(known, "elsewhere", None, "sweeps").data == DataConfig("elsewhere", 8, 50, mirror=False)
