"""The gain from fusing is a ratio of the times of real steps, and measuring it changes nothing."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from tests.unit.vit.training.toy import CONFIG, CPU, EVERYTHING, PLAIN, RUNTIME
from vit.timing import fusing_gain as module
from vit.timing.fusing_gain import fusing_gain
from vit.training.runtime import Runtime


def test_it_is_measured_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    diverging = replace(EVERYTHING, learning_rate=1e30)  # a search may draw such a recipe, and measuring must not fail
    assert fusing_gain(CONFIG, [EVERYTHING, diverging], RUNTIME) > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_compiled_while_the_clock_runs(
    compiled_graphs: list[torch.fx.GraphModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    before: list[int] = []
    real = module._rounds

    def rounds(run: Callable[[], tuple[float, float]]) -> list[tuple[float, float]]:
        before.append(len(compiled_graphs))
        return real(run)

    monkeypatch.setattr(module, "_rounds", rounds)
    monkeypatch.setattr(module, "BUSY_STEP_SECONDS", math.inf)  # so that fused steps are timed on a busy machine, too
    fusing_gain(replace(CONFIG, depth=1), [PLAIN, PLAIN], Runtime(CPU, compile=True))
    assert before == [len(compiled_graphs)]
    assert before[0] > 0


def test_both_kinds_are_timed_in_each_of_at_most_five_rounds() -> None:
    given = iter([(4.0, 2.0), (3.0, 3.0), (5.0, 1.0), (6.0, 2.0), (6.0, 2.0), (7.0, 1.0)])
    assert module._rounds(lambda: next(given)) == [(4.0, 2.0), (3.0, 3.0), (5.0, 1.0), (6.0, 2.0), (6.0, 2.0)]


def test_a_model_that_keeps_the_device_busy_by_itself_is_not_measured_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_STEP_SECONDS", 0.0)  # every step takes longer than this
    monkeypatch.setattr(module, "FusedFit", None)
    assert fusing_gain(CONFIG, [EVERYTHING, EVERYTHING], RUNTIME) == 1.0
