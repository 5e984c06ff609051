"""Several workers train a model as a single worker does; they are real processes that sum over gloo."""

import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.deadline import DEADLINE
from vit.data.normalisation import Normalisation
from vit.files.checkpoint import load_state, save_state
from vit.files.storage import Folder
from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer
from vit.training.fit import Fit, NonFiniteLossError
from vit.training.metrics import Counts
from vit.training.parallel import Workers
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime, Split

CPU = torch.device("cpu")
CONFIG = ViTConfig(img_size=8, in_chans=1, num_classes=4, embed_dim=16, depth=2, num_heads=2)
NORMALISATION = Normalisation((0.47,), (0.27,))
# Everything except dropout, which each worker draws separately. Of 16 images, three workers get 5, 5 and 6.
RECIPE = Recipe(
    epochs=4, batch_size=16, warmup_epochs=0.5, label_smoothing=0.1, clip_grad=0.5, ema_decay=0.9, crop_padding=1
)
MUON = replace(
    RECIPE, epochs=1, optimizer="muon", learning_rate=1e-2, attention_init="mimetic", position_init="sincos",
    patch_init="whitening", flip_alternates=True, cutout=3,
)  # fmt: skip
SIZES = (1, 2, 3)
SPLITS = (1, 2, 7, 100)
BROKEN_OFF = 2
"""The epochs after which the team of two workers saves its state, from which all teams resume."""


# --- what each worker does, in a process of its own ---


def toy_split(count: int, seed: int = 0) -> Split:
    """8x8 noise on one of four levels of brightness: that level is the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=generator)
    noise = torch.randint(0, 60, (count, 8, 8, 1), generator=generator)
    return Split((noise + 60 * labels.view(-1, 1, 1, 1)).to(torch.uint8), labels)


def toy_fit(recipe: Recipe = RECIPE, **changes: Any) -> Fit:
    parts = {"train": toy_split(70), "validation": toy_split(30, seed=1), "normalisation": NORMALISATION}
    return Fit(CONFIG, recipe, Runtime(CPU), seed=0, workers=Workers.joined(), **{**parts, **changes})


def weights(model: VisionTransformer) -> dict[str, Tensor]:
    """The weights, with the keys' bias set to 0.

    Softmax ignores that bias, so its gradient is rounding noise, which Adam amplifies.
    """
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, tensor in kept.items():
        if name.endswith("qkv.bias"):
            tensor[CONFIG.embed_dim : 2 * CONFIG.embed_dim] = 0
    return kept


def train(folder: Folder) -> dict[str, Any]:
    """Trains to the end; the team of two workers saves its state in the middle."""
    fit, epochs = toy_fit(), []
    while fit.epochs_done < RECIPE.epochs:
        epoch = fit.run_epoch()
        epochs.append({"train": plain(epoch.train), "validation": plain(epoch.validation)})
        if (Workers.joined().rank, Workers.joined().size, fit.epochs_done) == (0, 2, BROKEN_OFF):
            save_state(folder, fit.state_dict())
    return {"model": weights(fit.model), "kept": weights(fit.kept_model), "epochs": epochs}


def train_with_muon() -> dict[str, Tensor]:
    fit = toy_fit(MUON)
    fit.run_epoch()
    return weights(fit.model)


def plain(counts: Counts) -> dict[str, Any]:
    return {"loss": counts.loss, "confusion": counts.confusion}


def go_on(folder: Folder) -> dict[str, Any]:
    """Resumes from the state that the team of two workers saved, and trains to the end."""
    fit = toy_fit()
    state = load_state(folder, lambda error: pytest.fail(str(error)))
    assert state is not None
    fit.load_state_dict(state)
    assert fit.epochs_done == BROKEN_OFF
    while fit.epochs_done < RECIPE.epochs:
        fit.run_epoch()
    return {"model": weights(fit.model), "kept": weights(fit.kept_model)}


def validate(count: int) -> dict[str, Any]:
    # With this learning rate the weights do not change, so only the counting can differ.
    recipe = Recipe(epochs=1, batch_size=16, learning_rate=1e-30)
    epoch = toy_fit(recipe, train=toy_split(16), validation=toy_split(count, seed=2)).run_epoch()
    return plain(epoch.validation)


def diverge() -> dict[str, Any]:
    """Trains until the loss is not finite, and returns the error and the weights before and after.

    All images are black except one, which this normalisation makes infinite: one worker gets it, after good steps.
    """
    split = toy_split(48)
    split.images[:] = 0
    split.images[7] = 255
    fit = toy_fit(replace(RECIPE, batch_size=6), train=split, normalisation=Normalisation((0.0,), (1e-40,)))
    before = weights(fit.model)
    finite: list[bool] = []

    def look(model: VisionTransformer, inputs: tuple[Tensor]) -> None:
        finite.append(bool(inputs[0].isfinite().all()))

    fit.model.register_forward_pre_hook(look)
    told = None
    try:
        fit.run_epoch()
    except NonFiniteLossError as error:
        told = str(error)
    return {"told": told, "finite": finite, "before": before, "model": weights(fit.model)}


def train_on_few() -> dict[str, Any]:
    """Trains with two images per batch, so that one of three workers gets none."""
    fit = toy_fit(replace(RECIPE, batch_size=2), train=toy_split(9))
    return {"seen": fit.run_epoch().train.total, "model": weights(fit.model)}


def agree(workers: Workers) -> dict[str, Any]:
    """The results of all that the workers exchange: sums, the first worker's value and flags."""
    counts = workers.sum(Counts(2.0**workers.rank, torch.eye(2, dtype=torch.int64) * 10**workers.rank), CPU)
    return {
        "joined": (workers.rank, workers.size),
        "first": workers.first(7 + workers.rank, CPU),
        "flags": [workers.any(torch.tensor(float(workers.rank == rank))).item() for rank in range(workers.size)],
        "no flag": workers.any(torch.zeros(())).item(),
        "loss_sum": counts.loss_sum,
        "confusion": counts.confusion,
    }


def work(rank: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    if size > 1:
        group = f"file://{folder}/group-{size}"
        dist.init_process_group("gloo", group, timedelta(seconds=60), size, rank)
    report = {
        "trained": train(Folder(folder)),
        "resumed": go_on(Folder(folder)),
        "muon": train_with_muon(),
        "validated": {count: validate(count) for count in SPLITS},
        "few": train_on_few(),
        "diverged": diverge(),
        "agreed": agree(Workers.joined()),  # the workers are in step even after they diverged
    }
    torch.save(report, f"{folder}/{size}-{rank}.pt")
    if size > 1:
        dist.destroy_process_group()


def start_all(folder: str) -> None:
    """Runs one team after the other, first that of two workers: the others resume from the state that it saves."""
    context = multiprocessing.get_context("fork")  # a forked process need not import everything again
    for size in (2, 1, 3):
        team = [context.Process(target=work, args=(rank, size, folder)) for rank in range(size)]
        for process in team:
            process.start()
        for process in team:
            process.join()
        assert [process.exitcode for process in team] == [0] * size


# --- the results ---


Reports = dict[tuple[int, int], dict[str, Any]]
"""The report of each worker, by the number of workers and its rank."""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    """The reports of all teams, which run once for all tests, since their imports take seconds."""
    folder = tmp_path_factory.mktemp("parallel")
    code = f"import runpy; runpy.run_path({__file__!r})['start_all']({str(folder)!r})"
    env = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    line = [sys.executable, "-c", code]
    done = subprocess.run(
        line, cwd=Path(__file__).parents[4], env=env, timeout=DEADLINE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {
        (size, rank): torch.load(folder / f"{size}-{rank}.pt", weights_only=True)
        for size in SIZES
        for rank in range(size)
    }


def of_all(reports: Reports, size: int, part: str) -> list[Any]:
    """One part of the reports of a team, by rank."""
    return [reports[size, rank][part] for rank in range(size)]


def assert_close(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    """Asserts that both are equal up to rounding: the gradients are the same sums in another order."""
    torch.testing.assert_close(left, right, atol=1e-6, rtol=0)


def assert_same(left: Any, right: Any) -> None:
    torch.testing.assert_close(left, right, atol=0, rtol=0)


several = pytest.mark.parametrize("size", [2, 3])


@several
@pytest.mark.parametrize("part", ["trained", "resumed"])
@pytest.mark.parametrize("which", ["model", "kept"])
def test_several_workers_learn_what_one_learns(reports: Reports, size: int, part: str, which: str) -> None:
    alone = reports[1, 0]["trained"][which]
    for report in of_all(reports, size, part):
        assert_close(report[which], alone)
        assert_same(report[which], reports[size, 0][part][which])


@several
def test_several_workers_learn_with_muon_what_one_learns(reports: Reports, size: int) -> None:
    alone = reports[1, 0]["muon"]
    before = weights(toy_fit(MUON).model)
    assert all((alone[name] - before[name]).abs().max() > 1e-2 for name in alone if name.endswith("fc1.weight"))
    for muon in of_all(reports, size, "muon"):
        torch.testing.assert_close(muon, alone, atol=1e-5, rtol=0)
        assert_same(muon, reports[size, 0]["muon"])


def test_one_worker_goes_on_from_what_two_left(reports: Reports) -> None:
    for which in ("model", "kept"):
        assert_close(reports[1, 0]["resumed"][which], reports[1, 0]["trained"][which])


def test_the_weights_have_moved_further_than_the_tolerance(reports: Reports) -> None:
    """If the weights had moved less, the tests above would show nothing."""
    report = reports[1, 0]["trained"]
    before = weights(toy_fit().model)
    for name, tensor in before.items():
        assert (report["model"][name] - tensor).abs().max() > 1e-3, name
        assert (report["model"][name] - report["kept"][name]).abs().max() > 1e-5, name


@several
def test_the_counts_of_an_epoch_are_those_of_all_workers(reports: Reports, size: int) -> None:
    alone = reports[1, 0]["trained"]["epochs"]
    assert [int(epoch["train"]["confusion"].sum()) for epoch in alone] == [64] * RECIPE.epochs
    for report in of_all(reports, size, "trained"):
        for ours, theirs in zip(report["epochs"], alone, strict=True):
            for split in ("train", "validation"):
                assert_same(ours[split]["confusion"], theirs[split]["confusion"])
                assert ours[split]["loss"] == pytest.approx(theirs[split]["loss"], rel=1e-6)


@several
@pytest.mark.parametrize("count", SPLITS)
def test_every_image_is_validated_once(reports: Reports, size: int, count: int) -> None:
    alone = reports[1, 0]["validated"][count]
    labels = toy_split(count, seed=2).labels
    assert alone["confusion"].sum(dim=1).tolist() == labels.bincount(minlength=4).tolist()
    for report in of_all(reports, size, "validated"):
        assert_same(report[count]["confusion"], alone["confusion"])
        assert report[count]["loss"] == pytest.approx(alone["loss"], rel=1e-6)


@several
def test_a_batch_may_be_smaller_than_the_team(reports: Reports, size: int) -> None:
    for report in of_all(reports, size, "few"):
        assert report["seen"] == 8
        assert_close(report["model"], reports[1, 0]["few"]["model"])


@several
def test_what_one_worker_meets_stops_all_before_the_step(reports: Reports, size: int) -> None:
    alone, team = reports[1, 0]["diverged"], of_all(reports, size, "diverged")
    steps = len(alone["finite"])
    assert steps > 2
    assert [report["told"] for report in team] == ["the training loss is not finite in epoch 1"] * size
    assert [len(report["finite"]) for report in team] == [steps] * size
    assert sum(not all(report["finite"]) for report in team) == 1
    for report in team:
        assert_close(report["model"], alone["model"])
        assert_same(report["model"], team[0]["model"])
        assert not torch.equal(report["model"]["head.weight"], report["before"]["head.weight"])  # the good steps count


@pytest.mark.parametrize("size", SIZES)
def test_what_the_workers_tell_each_other(reports: Reports, size: int) -> None:
    for rank, report in enumerate(of_all(reports, size, "agreed")):
        assert report["joined"] == (rank, size)
        assert report["first"] == 7
        assert (report["flags"], report["no flag"]) == ([1.0] * size, 0.0)
        assert report["loss_sum"] == 2**size - 1
        assert report["confusion"].tolist() == [[int("1" * size), 0], [0, int("1" * size)]]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("batch", [slice(0, 0), slice(0, 1), slice(5, 7), slice(32, 48), slice(10, 111)])
def test_a_batch_is_cut_into_even_parts(batch: slice, size: int) -> None:
    parts = [Workers(rank, size).share(batch) for rank in range(size)]
    assert (parts[0].start, parts[-1].stop) == (batch.start, batch.stop)
    assert all(left.stop == right.start for left, right in pairwise(parts))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) - min(lengths) <= 1


def test_one_worker_needs_no_process_group() -> None:
    assert Workers.joined() == Workers(0, 1)
    fit = toy_fit()
    assert Workers().wrap(fit.model, CPU) is fit.model
