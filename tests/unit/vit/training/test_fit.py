"""The training loop on a toy task: compared with plain torch, resumed in another process, and when it diverges."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.unit.vit.training.toy import CONFIG, CPU, EVERYTHING, NORMALISATION, PLAIN, RECIPES, RUNTIME, toy_split
from vit.data.arrays import ImageArrays
from vit.data.normalisation import Normalisation
from vit.files.checkpoint import load_state, save_state
from vit.files.storage import Folder
from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer
from vit.training.evaluation import EVALUATION_BATCH, evaluate, predict
from vit.training.fit import Epoch, Fit, NonFiniteLossError
from vit.training.optim import parameter_groups
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime, Split

RANDOM_DEPTH = replace(CONFIG, proj_drop_rate=0.1, drop_path_rate=0.2)


def toy_labels(normalised: Tensor) -> Tensor:
    brightness = (normalised * NORMALISATION.std[0] + NORMALISATION.mean[0]) * 255
    return (brightness.mean(dim=(1, 2, 3)) / 60).long()


def toy_fit(recipe: Recipe = PLAIN, config: ViTConfig = CONFIG, seed: int = 0, **changes: Any) -> Fit:
    parts: dict[str, Any] = {
        "runtime": RUNTIME,
        "train": toy_split(64),
        "validation": toy_split(30, seed=1),
        "normalisation": NORMALISATION,
    }
    return Fit(config, recipe, seed=seed, **parts | changes)


def run(fit: Fit, epochs: int) -> list[Epoch]:
    return [fit.run_epoch() for _ in range(epochs)]


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    torch.testing.assert_close(left, right, atol=0, rtol=0)


def before_each_step(fit: Fit, look: Callable[[Tensor], None]) -> None:
    """Calls `look` with the images of every training step, before the step."""

    def hook(model: nn.Module, inputs: tuple[Tensor]) -> None:
        if model.training:
            look(inputs[0])

    fit.model.register_forward_pre_hook(hook)


# --- learning ---


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("global_pool", ["token", "avg"])
def test_learns_the_toy_task(optimizer: Any, precision: Any, global_pool: Any) -> None:
    config, runtime = replace(CONFIG, global_pool=global_pool), Runtime(CPU, precision=precision)
    recipe = replace(PLAIN, learning_rate=0.01, optimizer=optimizer)
    fit = toy_fit(recipe, config, train=toy_split(512), runtime=runtime)
    epochs = run(fit, 10)
    assert epochs[-1].train.loss < 0.3 * epochs[0].train.loss
    assert epochs[-1].validation.accuracy > 0.95


@pytest.mark.parametrize("clip_grad", [0.0, 0.3])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_training_equals_a_plain_torch_loop(clip_grad: float, label_smoothing: float) -> None:
    recipe = replace(PLAIN, epochs=2, batch_size=16, clip_grad=clip_grad, label_smoothing=label_smoothing)
    fit = toy_fit(recipe)
    model = VisionTransformer(CONFIG)
    model.load_state_dict(fit.model.state_dict())
    batches: list[Tensor] = []
    before_each_step(fit, batches.append)
    run(fit, 2)

    groups: Any = parameter_groups(model, recipe.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
    for images in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(images), toy_labels(images), label_smoothing=label_smoothing).backward()
        if clip_grad:
            norm = nn.utils.clip_grad_norm_(model.parameters(), clip_grad)
            assert norm > clip_grad  # so that clipping changes the gradient
        optimizer.step()
        schedule.step()
    assert len(batches) == 8
    torch.testing.assert_close(without_key_bias(fit.model), without_key_bias(model), atol=1e-6, rtol=0)


def without_key_bias(model: VisionTransformer) -> dict[str, Tensor]:
    """The weights, with the keys' bias set to 0.

    Softmax ignores that bias, so its gradient is rounding noise, which Adam amplifies.
    """
    kept = weights(model)
    for name, tensor in kept.items():
        if name.endswith("qkv.bias"):
            tensor[CONFIG.embed_dim : 2 * CONFIG.embed_dim] = 0
    return kept


def test_every_epoch_and_every_seed_sees_every_image_once_in_its_own_order() -> None:
    batches: list[Tensor] = []
    for seed in (0, 1):
        fit = toy_fit(replace(PLAIN, batch_size=16), seed=seed)
        before_each_step(fit, batches.append)
        run(fit, 2)
    orders = [torch.cat(batches[start : start + 4]).flatten(1).tolist() for start in (0, 4, 8, 12)]
    images = NORMALISATION(toy_split(64).images).flatten(1).tolist()
    assert all(sorted(order) == sorted(images) for order in orders)
    assert all(left != right for left, right in combinations([images, *orders], 2))


def test_an_image_that_alternates_is_mirrored_in_every_second_epoch() -> None:
    batches: list[Tensor] = []
    fit = toy_fit(replace(PLAIN, flip=True, flip_alternates=True))
    before_each_step(fit, batches.append)
    run(fit, 4)
    as_they_are = {as_key(image) for image in NORMALISATION(toy_split(64).images)}
    epochs = [torch.cat(batches[2 * epoch : 2 * epoch + 2]) for epoch in range(4)]
    plain = [{key for key in map(as_key, epoch) if key in as_they_are} for epoch in epochs]
    assert plain[0] == plain[2]
    assert plain[1] == plain[3] == as_they_are - plain[0]
    assert 20 < len(plain[0]) < 44


def as_key(image: Tensor) -> tuple[float, ...]:
    return tuple(image.flatten().tolist())


def test_average_of_the_weights_is_that_computed_by_hand() -> None:
    fit = toy_fit(replace(PLAIN, batch_size=8, epochs=3, ema_decay=0.5))
    steps: list[dict[str, Tensor]] = []
    before_each_step(fit, lambda _: steps.append(weights(fit.model)))
    run(fit, 2)
    average, *_ = steps
    for step, after in enumerate([*steps[1:], weights(fit.model)]):
        decay = min(0.5, (1 + step) / (10 + step))
        average = {name: decay * average[name] + (1 - decay) * after[name] for name in average}
    torch.testing.assert_close(weights(fit.kept_model), average, atol=1e-6, rtol=0)
    assert fit.kept_model is not fit.model


def test_the_average_is_what_is_validated() -> None:
    fit = toy_fit(replace(PLAIN, ema_decay=0.99))
    epoch = run(fit, 2)[-1]
    validation = toy_split(30, seed=1)
    assert epoch.validation.loss == evaluate(fit.kept_model, validation, NORMALISATION, RUNTIME).loss
    assert epoch.validation.loss != evaluate(fit.model, validation, NORMALISATION, RUNTIME).loss


def test_validation_loss_is_the_plain_cross_entropy() -> None:
    fit = toy_fit(replace(PLAIN, label_smoothing=0.3), config=RANDOM_DEPTH)
    epoch = run(fit, 3)[-1]
    validation = toy_split(30, seed=1)
    logits = predict(fit.kept_model, validation.images, NORMALISATION, RUNTIME)
    assert epoch.validation.loss == pytest.approx(F.cross_entropy(logits, validation.labels).item(), rel=1e-6)
    assert epoch.validation.correct == int((logits.argmax(1) == validation.labels).sum())


# --- counts ---


@pytest.mark.parametrize(("images", "batch_size", "seen"), [(70, 32, 64), (64, 32, 64), (20, 128, 20), (5, 2, 4)])
def test_training_counts_whole_batches(images: int, batch_size: int, seen: int) -> None:
    fit = toy_fit(replace(PLAIN, batch_size=batch_size), train=toy_split(images))
    assert [epoch.train.total for epoch in run(fit, 2)] == [seen, seen]


@pytest.mark.parametrize("count", [1, EVALUATION_BATCH - 1, EVALUATION_BATCH + 1, 2 * EVALUATION_BATCH])
def test_validation_counts_every_image_once(count: int) -> None:
    validation = toy_split(count)
    counts = run(toy_fit(validation=validation), 1)[0].validation
    assert counts.total == count
    assert counts.confusion.sum(dim=1).tolist() == validation.labels.bincount(minlength=4).tolist()


def test_predictions_come_in_the_order_of_the_images() -> None:
    images = toy_split(EVALUATION_BATCH + 3).images
    model = VisionTransformer(RANDOM_DEPTH)
    logits = predict(model, images, NORMALISATION, RUNTIME)
    alone = torch.cat([predict(model, images[i : i + 1], NORMALISATION, RUNTIME) for i in (0, 300, len(images) - 1)])
    torch.testing.assert_close(logits[[0, 300, len(images) - 1]], alone)


def test_with_the_mirror_image_logits_are_the_mean_of_both_views() -> None:
    images, model = toy_split(EVALUATION_BATCH + 3).images, VisionTransformer(CONFIG)
    plain, mirrored = (predict(model, view, NORMALISATION, RUNTIME) for view in (images, images.flip(2)))
    both = predict(model, images, NORMALISATION, RUNTIME, with_mirror=True)
    torch.testing.assert_close(both, (plain + mirrored) / 2)
    assert not torch.allclose(both, plain)


def test_epochs_are_numbered_and_tell_their_last_learning_rate() -> None:
    epochs = run(toy_fit(replace(PLAIN, epochs=2, batch_size=32, learning_rate=0.01)), 2)
    assert [epoch.number for epoch in epochs] == [1, 2]
    # Steps 1 and 3 of 4: cosines of 45 and 135 degrees.
    assert [epoch.learning_rate for epoch in epochs] == pytest.approx([0.008535534, 0.001464466])
    assert all(0 < epoch.train_seconds < epoch.seconds for epoch in epochs)


def test_read_only_arrays_make_a_split(recwarn: pytest.WarningsRecorder) -> None:
    arrays = ImageArrays(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1], np.int64))
    arrays.images.setflags(write=False)
    assert Split.of(arrays, CPU).labels.tolist() == [0, 1]
    assert not recwarn.list


# --- seeds and resuming ---


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_same_seed_same_weights_other_seed_others(recipe: Recipe) -> None:
    def trained(seed: int) -> dict[str, Tensor]:
        fit = toy_fit(recipe, RANDOM_DEPTH, seed=seed)
        run(fit, 2)
        return weights(fit.model)

    first, again, other = trained(0), trained(0), trained(1)
    assert_same(first, again)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def read_state(folder: str) -> dict[str, Any]:
    state = load_state(Folder(folder), lambda error: pytest.fail(str(error)))
    assert state is not None
    return state


def continue_run(folder: str, recipe_name: str) -> None:
    """Resumes the run in `folder` and trains it to its end; called in this process and in another."""
    fit = toy_fit(RECIPES[recipe_name], RANDOM_DEPTH)
    fit.load_state_dict(read_state(folder))
    run(fit, EVERYTHING.epochs - fit.epochs_done)
    save_state(Folder(folder), fit.state_dict())


def continue_run_in_another_process(folder: str, recipe_name: str) -> None:
    root = Path(__file__).parents[4]
    code = f"import runpy; runpy.run_path({__file__!r})['continue_run']({folder!r}, {recipe_name!r})"
    subprocess.run([sys.executable, "-c", code], cwd=root, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)


@pytest.mark.parametrize("recipe_name", RECIPES)
@pytest.mark.parametrize("continue_there", [continue_run, continue_run_in_another_process])
def test_a_resumed_run_ends_bit_for_bit_like_one_without_a_break(
    continue_there: Callable[[str, str], None], recipe_name: str, tmp_path: Path
) -> None:
    straight = toy_fit(RECIPES[recipe_name], RANDOM_DEPTH)
    run(straight, 4)
    expected = straight.state_dict()

    # The run stops in the middle of an alternation of flips, and while Muon has momentum.
    broken_off = toy_fit(RECIPES[recipe_name], RANDOM_DEPTH)
    run(broken_off, 2)
    save_state(Folder(str(tmp_path)), broken_off.state_dict())
    torch.manual_seed(99)
    continue_there(str(tmp_path), recipe_name)

    resumed = read_state(str(tmp_path))
    assert resumed["epochs_done"] == 4
    for part in ("model", "averaged", "optimizers", "generator"):
        torch.testing.assert_close(resumed[part], expected[part], atol=0, rtol=0)


# --- what goes wrong ---


@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_loss_that_is_not_finite_leaves_the_weights_before_that_step(optimizer: Any, device: str) -> None:
    # All images are black except one, which this normalisation makes infinite: the steps before it have a finite loss.
    train = toy_split(32)
    train.images[:] = 0
    train.images[5] = 255
    fit = toy_fit(
        replace(PLAIN, batch_size=1, ema_decay=0.9, optimizer=optimizer),
        runtime=Runtime(torch.device(device)),
        train=Split(train.images.to(device), train.labels.to(device)),
        normalisation=Normalisation((0.0,), (1e-40,)),
    )
    steps: list[tuple[bool, dict[str, Tensor], dict[str, Tensor]]] = []

    def look(images: Tensor) -> None:
        steps.append((bool(images.isfinite().all()), weights(fit.model), weights(fit.kept_model)))

    before_each_step(fit, look)
    with pytest.raises(NonFiniteLossError, match="not finite in epoch 1"):
        fit.run_epoch()
    good = [finite for finite, _, _ in steps].index(False)
    assert good > 0
    _, before, average_before = steps[good]
    assert_same(weights(fit.model), before)
    assert all(tensor.isfinite().all() for tensor in before.values())
    if device == "cpu":  # a GPU does not check every step: until it does, the average moves on towards the weights
        assert len(steps) == good + 1
        assert_same(weights(fit.kept_model), average_before)


def test_a_run_that_diverges_is_stopped() -> None:
    fit = toy_fit(replace(PLAIN, learning_rate=1e38))
    with pytest.raises(NonFiniteLossError):
        run(fit, 10)


def test_spoiled_weights_are_not_trained_on() -> None:
    fit = toy_fit()
    run(fit, 1)
    nn.init.constant_(fit.model.head.bias, torch.nan)
    before = weights(fit.model)
    with pytest.raises(NonFiniteLossError, match="not finite in epoch 2"):
        fit.run_epoch()
    torch.testing.assert_close(weights(fit.model), before, atol=0, rtol=0, equal_nan=True)
    assert fit.epochs_done == 1


def test_a_step_copies_no_numbers_to_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each copy would make the host wait until a GPU has finished all its earlier work."""
    real, made = torch.tensor, []

    def tensor(*arguments: Any, **options: Any) -> Tensor:
        made.append(arguments)
        return real(*arguments, **options)

    counts = []
    for count in (64, 256):
        fit = toy_fit(train=toy_split(count))
        made.clear()
        monkeypatch.setattr(torch, "tensor", tensor)
        fit.run_epoch()
        monkeypatch.undo()
        counts.append(len(made))
    assert counts[0] == counts[1]


# --- compiled ---


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_the_compiled_model_learns_the_same() -> None:
    config = replace(CONFIG, depth=1)
    plain, compiled = (toy_fit(config=config, runtime=Runtime(CPU, compile=compile)) for compile in (False, True))
    for left, right in zip(run(plain, 2), run(compiled, 2), strict=True):
        assert right.train.loss == pytest.approx(left.train.loss, rel=1e-3)
        assert right.validation.loss == pytest.approx(left.validation.loss, rel=1e-3)
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()


def test_the_ninth_model_of_a_process_is_compiled_too(compiled_graphs: list[torch.fx.GraphModule]) -> None:
    """Dynamo keeps only eight compiled variants of a function, and all models share one function."""
    counts = []
    for depth in range(1, 11):
        compiled_graphs.clear()
        toy_fit(config=replace(CONFIG, depth=depth), runtime=Runtime(CPU, compile=True)).run_epoch()
        counts.append(len(compiled_graphs))
    assert counts == [counts[0]] * 10
    assert counts[0] > 0
