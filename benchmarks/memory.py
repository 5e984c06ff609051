"""Claim: the images are in memory once per node, however many trials run there.

    python -m benchmarks.memory

Runs searches with 1 trial on few images, and with 1 and 4 concurrent trials on many. The total memory of the trials
divides each shared page among the processes that share it (proportional set size, Linux).
"""

import argparse
import tempfile
import threading
from multiprocessing.connection import Connection

import numpy as np
import psutil

from benchmarks.machine import machine_line
from benchmarks.own_process import in_its_own_process
from pipeline.cluster.allotment import allot
from pipeline.cluster.connection import connected
from pipeline.config import TrialResources
from pipeline.search.search import Search
from pipeline.search.tuner import run_search
from pipeline.training.training import TrainingContext, TrainingData
from pipeline.training.worker_group import SharedData
from pipeline.trials.observers import Observer
from pipeline.trials.records import EpochRecord
from pipeline.trials.rungs import Rungs
from tune_spaces.trial_spec import TrialSpec
from vit.data.arrays import ImageArrays
from vit.data.normalisation import measure_normalisation
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe

MEGABYTE = 2**20
LOOKS = 8
FEW_IMAGES = 5_000


class _PeakMemory(Observer):
    """Observes a search, and keeps the greatest memory of all trials together at the end of any epoch."""

    def __init__(self, trials: int) -> None:
        self._trials = trials
        self._lock = threading.Lock()
        self.pss = self.private = 0
        self.looks = 0

    def epoch_done(self, spec: TrialSpec, epoch: EpochRecord) -> None:
        workers = [process for process in psutil.Process().children(recursive=True) if _is_trial(process)]
        if len(workers) == self._trials:
            memory = [process.memory_full_info() for process in workers]
            self.pss = max(self.pss, sum(info.pss for info in memory))
            self.private = max(self.private, sum(info.uss for info in memory))
            self.looks += 1


def _is_trial(process: psutil.Process) -> bool:
    try:
        # Ray names a trial's process after its class while it is idle, and after Tune's wrapper while it works.
        return any(part.startswith(("ray::Trial", "ray::ResourceTrainable")) for part in process.cmdline())
    except psutil.Error:
        return False


def measure(trials: int, images: int, connection: Connection) -> None:
    """Runs a search with `trials` concurrent trials; sends (PSS, private memory, size of the images) in bytes."""
    rng = np.random.default_rng(0)
    train = ImageArrays(rng.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, images))
    data = TrainingData(
        train, ImageArrays(train.images[:64], train.labels[:64]), measure_normalisation(train.images[:64]), ("a",) * 10
    )
    # A tiny model, so that the measured memory is mostly that of the images.
    model, recipe = ViTConfig(patch_size=16, embed_dim=8, depth=1, num_heads=1), Recipe(epochs=1000, batch_size=4096)
    specs = [TrialSpec(index, model, recipe, seed=index) for index in range(trials)]
    peak = _PeakMemory(trials)
    with tempfile.TemporaryDirectory() as folder, connected(None):
        allotment = allot(TrialResources(cpus_per_trial=0.25, max_concurrent=trials))
        context = TrainingContext(f"{folder}/trials", "fp32", compile=False)
        search = Search(
            specs,
            SharedData.put(data),
            context,
            Rungs(1000, 3, 1000),
            allotment,
            f"{folder}/tune",
            f"{folder}/ray-train",
        )
        run_search(search, [peak], lambda: peak.looks >= LOOKS)
    connection.send((peak.pss, peak.private, train.images.nbytes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000, help="images of 32x32x3 to train on")
    arguments = parser.parse_args()
    print(machine_line())
    for trials, images in ((1, FEW_IMAGES), (1, arguments.images), (4, arguments.images)):
        pss, private, image_bytes = in_its_own_process(measure, trials, images)
        print(
            f"{trials} at once, images {image_bytes / MEGABYTE:.0f} MB: {pss / MEGABYTE:.0f} MB in all; private to "
            f"each trial {private / trials / MEGABYTE:.0f} MB"
        )
    print("images that stood in each trial would be in its private memory")


if __name__ == "__main__":
    main()
