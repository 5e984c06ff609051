"""Fused and compiled trainings compared with the plain loop: each must turn out as if it had been trained alone."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.unit.vit.training.toy import (
    CONFIG,
    CPU,
    EVERYTHING,
    MUON,
    NORMALISATION,
    PLAIN,
    RECIPES,
    RUNTIME,
    toy_split,
)  # fmt: skip
from vit.fused import fit as fit_module
from vit.fused.fit import FusedFit, fusing_key
from vit.model.config import ViTConfig
from vit.training import whitening
from vit.training.fit import Epoch, Fit, NonFiniteLossError
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime, Split

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")


def different(base: Recipe) -> list[Recipe]:
    """Recipes that differ in everything in which fused trainings may differ."""
    return [
        base,
        replace(base, learning_rate=3e-3, weight_decay=0.3, label_smoothing=0.0, clip_grad=0.0, ema_decay=0.0),
        replace(base, schedule="cosine", warmup_epochs=0.0, rotation=5.0, crop_padding=2, attention_init="timm"),
        replace(base, schedule="linear", flip_alternates=True, cutout=2, cutmix=0.7, ema_decay=0.99, clip_grad=0.1),
    ]


def parts(**changes: Any) -> dict[str, Any]:
    data = {"train": toy_split(64), "validation": toy_split(30, seed=1), "normalisation": NORMALISATION}
    return {"runtime": RUNTIME, **data, **changes}


def fused(recipes: Sequence[Recipe], config: ViTConfig = CONFIG, **changes: Any) -> FusedFit:
    return FusedFit(config, recipes, seeds=range(len(recipes)), **parts(**changes))


def alone(recipes: Sequence[Recipe], config: ViTConfig = CONFIG, **changes: Any) -> list[Fit]:
    return [Fit(config, recipe, seed=seed, **parts(**changes)) for seed, recipe in enumerate(recipes)]


def epochs(fit: FusedFit) -> list[Epoch]:
    outcomes = fit.run_epoch()
    assert all(isinstance(outcome, Epoch) for outcome in outcomes)
    return outcomes  # type: ignore[return-value]


def assert_alike(left: Epoch, right: Epoch, tolerance: float = 1e-5) -> None:
    assert left.number == right.number
    assert left.learning_rate == pytest.approx(right.learning_rate, rel=1e-9)
    for ours, theirs in ((left.train, right.train), (left.validation, right.validation)):
        assert ours.loss == pytest.approx(theirs.loss, rel=tolerance)
        assert ours.total == theirs.total
        assert (ours.confusion - theirs.confusion).abs().sum() <= 2  # an image between two classes may differ


def weights(state: dict[str, Any]) -> dict[str, Tensor]:
    return dict(state["averaged"] or state["model"])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    "shape", [{}, {"global_pool": "avg"}, {"stem": "conv", "mlp_ratio": 0.5}], ids=["token", "avg", "conv"]
)
def test_each_is_trained_as_if_it_were_alone(optimizer: str, shape: dict[str, Any]) -> None:
    recipes, config = different(RECIPES[optimizer]), replace(CONFIG, **shape)
    together, separate = fused(recipes, config), alone(recipes, config)
    for _ in range(3):
        for left, right in zip(epochs(together), [fit.run_epoch() for fit in separate], strict=True):
            assert_alike(left, right)
    for row, fit in enumerate(separate):
        kept = dict(together[row].kept_model.named_parameters())
        torch.testing.assert_close(kept, dict(fit.kept_model.named_parameters()), atol=2e-3, rtol=0)


def test_one_alone_may_draw_dropout() -> None:
    config = replace(CONFIG, proj_drop_rate=0.1, drop_path_rate=0.2)
    together, (separate,) = fused([EVERYTHING], config), alone([EVERYTHING], config)
    for _ in range(2):
        assert_alike(epochs(together)[0], separate.run_epoch())


def test_bf16_gives_the_same_but_for_rounding() -> None:
    recipes, runtime = different(MUON), Runtime(CPU, precision="bf16")
    separate = alone(recipes, runtime=runtime)
    for left, right in zip(epochs(fused(recipes, runtime=runtime)), [fit.run_epoch() for fit in separate], strict=True):
        assert left.train.loss == pytest.approx(right.train.loss, rel=0.02)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_kept_training_does_not_notice_that_others_left(optimizer: str) -> None:
    recipes = different(RECIPES[optimizer])
    all_of_them, some = fused(recipes), fused(recipes)
    for fit in (all_of_them, some):
        fit.run_epoch()
    some.keep([3, 1])
    left, everyone = epochs(some), epochs(all_of_them)
    for place, row in enumerate((3, 1)):
        torch.testing.assert_close(weights(some[place].state_dict()), weights(all_of_them[row].state_dict()))
        assert left[place].validation.loss == pytest.approx(everyone[row].validation.loss, rel=1e-6)


def test_one_that_diverges_leaves_the_others_as_they_are() -> None:
    recipes = different(EVERYTHING)
    sound = fused(recipes)
    spoiled = fused([recipes[0], replace(recipes[1], learning_rate=1e30), *recipes[2:]])
    for _ in range(2):
        expected, outcomes = epochs(sound), spoiled.run_epoch()
    assert isinstance(outcomes[1], NonFiniteLossError)
    assert "epoch 2" in str(outcomes[1]) or "epoch 1" in str(outcomes[1])
    for row in (0, 2, 3):
        left = outcomes[row]
        assert isinstance(left, Epoch)
        assert left.validation.loss == expected[row].validation.loss
        torch.testing.assert_close(spoiled[row].state_dict()["model"], sound[row].state_dict()["model"], atol=0, rtol=0)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_goes_on_alone_and_back(optimizer: str) -> None:
    recipes = different(RECIPES[optimizer])
    together, separate = fused(recipes), alone(recipes)
    together.run_epoch()
    for row, fit in enumerate(separate):
        fit.load_state_dict(together[row].state_dict())
    second = [fit.run_epoch() for fit in separate]
    for left, right in zip(epochs(together), second, strict=True):
        assert_alike(left, right)
    again = fused(recipes)
    again.load_state_dicts([fit.state_dict() for fit in separate])
    for left, right in zip(epochs(again), epochs(together), strict=True):
        assert_alike(left, right)


def test_a_state_taken_up_again_gives_the_same_numbers_bit_for_bit() -> None:
    recipes = different(MUON)
    whole, again = fused(recipes), fused(recipes)
    whole.run_epoch()
    again.load_state_dicts([whole[row].state_dict() for row in range(len(whole))])
    for left, right in zip(epochs(again), epochs(whole), strict=True):
        assert left.validation.loss == right.validation.loss


def test_the_state_is_what_the_plain_loop_keeps() -> None:
    together, (separate,) = fused([MUON]), alone([MUON])
    assert together[0].state_dict()["optimizers"] == separate.state_dict()["optimizers"]  # before the first step
    together.run_epoch(), separate.run_epoch()
    ours, theirs = together[0].state_dict(), separate.state_dict()
    assert ours.keys() == theirs.keys()
    assert list(ours["model"]) == list(theirs["model"])
    torch.testing.assert_close(ours["generator"], theirs["generator"])
    for left, right in zip(ours["optimizers"], theirs["optimizers"], strict=True):
        assert left["param_groups"] == right["param_groups"]
        torch.testing.assert_close(left["state"], right["state"], atol=1e-4, rtol=1e-4)


def test_states_of_different_age_do_not_mix() -> None:
    (young,), (old,) = alone([EVERYTHING]), alone([EVERYTHING])
    old.run_epoch()
    with pytest.raises(ValueError, match=r"as many epochs each, not \[0, 1\]"):
        fused([EVERYTHING] * 2).load_state_dicts([young.state_dict(), old.state_dict()])


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (CONFIG, {"batch_size": 8}),
        (CONFIG, {"epochs": 9}),
        (CONFIG, {"optimizer": "muon"}),
        (replace(CONFIG, drop_path_rate=0.1), {}),
        (replace(CONFIG, proj_drop_rate=0.1), {}),
    ],
)
def test_what_cannot_be_fused_is_refused(config: ViTConfig, changes: dict[str, Any]) -> None:
    recipes = [EVERYTHING, replace(EVERYTHING, **changes)]
    with pytest.raises(ValueError, match="must have in common"):
        fused(recipes, config)


def test_the_key_tells_what_fits_together() -> None:
    assert len({fusing_key(CONFIG, recipe) for recipe in different(EVERYTHING)}) == 1
    assert fusing_key(CONFIG, EVERYTHING) != fusing_key(replace(CONFIG, depth=3), EVERYTHING)


def test_trainings_that_start_alike_look_at_the_images_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    real = whitening.whitening_filters

    def filters(images: Tensor, side: int, most: int) -> Tensor:
        asked.append((side, most))
        return real(images, side, most)

    monkeypatch.setattr(whitening, "whitening_filters", filters)
    fused([MUON, replace(MUON, learning_rate=1e-3), replace(MUON, patch_init="timm")])
    assert asked == [(CONFIG.patch_size, CONFIG.embed_dim)]


@pytest.mark.parametrize(("img_size", "at_once"), [(8, 256), (64, 128), (128, 32)])
def test_large_images_are_validated_a_few_at_once(img_size: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of two models validates 256 small images at a time, but no more large ones than a single training."""
    batches: list[int] = []

    def forward(model: Any, layout: Any, weights: Tensor, images: Tensor, precision: str) -> Tensor:
        batches.append(len(images))
        return torch.zeros(len(weights), len(images), CONFIG.num_classes)

    monkeypatch.setattr(fit_module, "forward", forward)
    images = torch.zeros(1, 1, 1, 1, dtype=torch.uint8).expand(300, img_size, img_size, 1)
    validation = Split(images, torch.zeros(300, dtype=torch.int64))
    config = replace(CONFIG, img_size=img_size, patch_size=img_size // 2)
    fit = FusedFit(config, [PLAIN, PLAIN], RUNTIME, validation, validation, NORMALISATION, [0, 1])
    assert [counts.total for counts in fit._validate()] == [300, 300]
    assert max(batches) == at_once


# --- compiled ---


def test_what_is_compiled_after_some_left_is_what_the_epoch_runs(compiled_graphs: list[torch.fx.GraphModule]) -> None:
    together = fused([PLAIN] * 3, replace(CONFIG, depth=1), runtime=Runtime(CPU, compile=True))
    epochs(together)
    together.keep([0, 1])
    compiled_graphs.clear()
    first, _ = epochs(together)
    assert first.compile_seconds > 0
    assert len(compiled_graphs) == 1


@pytest.mark.slow
@needs_compiler
def test_the_compiled_step_learns_what_the_plain_loop_learns() -> None:
    config = replace(CONFIG, depth=1)
    compiled = fused([EVERYTHING], config, runtime=Runtime(CPU, compile=True))
    (separate,) = alone([EVERYTHING], config)
    ours, theirs = [epochs(compiled)[0] for _ in range(2)], [separate.run_epoch() for _ in range(2)]
    for left, right in zip(ours, theirs, strict=True):
        assert_alike(left, right)
    assert ours[0].compile_seconds > 0
    assert ours[1].compile_seconds == 0


@pytest.mark.slow
@needs_compiler
def test_fused_trainings_are_compiled_too_and_again_when_some_leave() -> None:
    config, recipes = replace(CONFIG, depth=1), different(MUON)[:2]
    compiled, separate = fused(recipes, config, runtime=Runtime(CPU, compile=True)), alone(recipes, config)
    for left, right in zip(epochs(compiled), [fit.run_epoch() for fit in separate], strict=True):
        assert_alike(left, right)
    compiled.keep([1])
    (left,) = epochs(compiled)
    assert_alike(left, separate[1].run_epoch())
    assert left.compile_seconds > 0
