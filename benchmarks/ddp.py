"""Claim: two workers train nearly twice as fast as one; the rest is lost to the all-reduce.

    python -m benchmarks.ddp

Trains the published model on random images of 32x32, with the global batch of 128 split over the workers, which have a
core each and use gloo. Three kinds run in turn, so that noise affects all alike: one worker, two workers, and two
workers that skip the all-reduce (DDP's `no_sync`; they learn nonsense, and only the time counts). Two workers on a core
each are compared with one worker on one core: twice the speed is an efficiency of 100%. This is done in fp32, and in
bf16 where the CPU supports it in hardware.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from benchmarks.machine import machine_line
from vit.data.normalisation import Normalisation
from vit.model.config import ViTConfig
from vit.training.fit import Fit
from vit.training.parallel import Workers
from vit.training.precision import PRECISIONS, Precision, has_fast_bf16
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime, Split

STEPS = 4
BATCH = 128


def _fit(workers: Workers, precision: Precision) -> Fit:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (STEPS * BATCH, 32, 32, 3), generator=generator, dtype=torch.uint8)
    split = Split(images, torch.randint(0, 10, (len(images),), generator=generator))
    normalisation = Normalisation((0.5,) * 3, (0.25,) * 3)
    runtime = Runtime(precision=precision)
    validation = Split(split.images[:2], split.labels[:2])
    return Fit(ViTConfig(), Recipe(batch_size=BATCH), runtime, split, validation, normalisation, 0, workers)


def _speed(fit: Fit, synchronised: bool) -> float:
    """Images per second of one epoch, over all workers."""
    silence = contextlib.nullcontext() if synchronised else fit._forward.no_sync()  # type: ignore[operator]
    with silence:
        return fit.run_epoch().images_per_second


def _work(rank: int, size: int, rounds: int, precision: Precision, folder: str) -> None:
    """The work of one of the two processes, of which the first also trains alone, and writes the speeds by kind."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    alone, together = _fit(Workers(), precision), _fit(Workers(rank, 2), precision)
    speeds: dict[str, list[float]] = {"one": [], "two": [], "two without all-reduce": []}
    for turn in range(rounds + 1):
        dist.barrier()
        if rank == 0:
            speeds["one"].append(_speed(alone, synchronised=True))
        dist.barrier()
        speeds["two"].append(_speed(together, synchronised=True))
        dist.barrier()
        speeds["two without all-reduce"].append(_speed(together, synchronised=False))
        if turn == 0:  # warm-up
            speeds = {name: [] for name in speeds}
    if rank == 0:
        torch.save(speeds, f"{folder}/speeds.pt")
    dist.barrier()
    dist.destroy_process_group()


def _precisions() -> tuple[Precision, ...]:
    """The precisions in which a step does not take minutes here."""
    if has_fast_bf16(torch.device("cpu")):
        return PRECISIONS
    print("bf16 is left out: this CPU has no hardware for it, and a step in it may take 400 times as long")
    return ("fp32",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each kind")
    arguments = parser.parse_args()
    print(machine_line())
    for precision in _precisions():
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            task = (2, arguments.rounds, precision, folder)
            multiprocessing.spawn(_work, task, nprocs=2)  # type: ignore[attr-defined, no-untyped-call]
            speeds = {name: statistics.median(each) for name, each in torch.load(f"{folder}/speeds.pt").items()}
        one, two, silent = speeds.values()
        print(
            f"{precision}: {one:.0f} images/s with one worker, {two:.0f} with two: efficiency {two / one / 2:.0%};"
            f" without all-reduce {silent:.0f}: it costs {1 - two / silent:.0%} of the time"
            f" (medians of {arguments.rounds}, {time.perf_counter() - started:.0f} s)"
        )


if __name__ == "__main__":
    main()
