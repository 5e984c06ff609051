"""Claim: a command's time and memory grow no faster than the number of images; 1,000 classes cost a training little.

    python -m benchmarks.data_scale

For 10,000, 100,000 and 1,000,000 random images of 32x32x3, each number in a process of its own, it measures what a
command does with them before it trains. For 10, 100 and 1,000 classes, it measures what a training writes after its
30th epoch, with a tiny model, so that the measured cost is that of the classes.
"""

import argparse
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import machine_line
from benchmarks.own_process import in_its_own_process
from pipeline.tracking.server import prepare_mlflow

if TYPE_CHECKING:
    from vit.data.arrays import ImageArrays, Splits

MEGABYTE = 2**20
SIDE, TEST_IMAGES, EPOCHS = 32, 10_000, 30
MOST_IN_FILES = 100_000
"""Larger numbers of images are only made in memory, to save disk space."""
SECONDS_BETWEEN_LOOKS = 0.01


@dataclass(frozen=True)
class Step:
    """One step of what a command does with the images."""

    name: str
    seconds: float
    cpu_seconds: float
    """The CPU time of all threads, which other processes on the machine do not lengthen."""
    peak: int
    """The process's greatest resident memory during the step, in bytes."""


def measure_images(count: int, connection: Connection) -> None:
    """Sends the `Step`s that a command takes with `count` training images."""
    from pipeline.cluster.connection import connected
    from pipeline.training.training import TrainingData
    from pipeline.training.worker_group import SharedData
    from vit.data.dataset import DataConfig, cut_dataset
    from vit.data.duplicates import duplicates_across_splits
    from vit.data.normalisation import measure_normalisation
    from vit.data.sources import read_splits

    steps: list[Step] = []
    with _timed("before", steps):
        pass  # so its peak is the memory of the imports
    if count <= MOST_IN_FILES:
        with tempfile.TemporaryDirectory() as folder:
            # Not in this process, since what writing leaves in memory would be counted.
            writer = multiprocessing.get_context("spawn").Process(target=_write_parquet, args=(Path(folder), count))
            writer.start()
            writer.join()
            with _timed("read (Parquet)", steps):
                held = [read_splits(folder, None)]
    else:
        held = [_random_splits(count)]
    with _timed("cut, digest", steps):
        data = cut_dataset(held.pop(), DataConfig())  # popped, so that the splits can be freed
    with _timed("duplicates", steps):
        duplicates_across_splits(data)
    with _timed("normalisation", steps):
        normalisation = measure_normalisation(data.train.images)
    with connected(None), _timed("object store", steps):
        SharedData.put(TrainingData(data.train, data.validation, normalisation, data.class_names))
    connection.send(steps)


@contextmanager
def _timed(name: str, steps: list[Step]) -> Iterator[None]:
    """Adds what is done inside the context to `steps`, as one step."""
    import psutil

    process, over = psutil.Process(), threading.Event()
    peaks = [process.memory_info().rss]

    def look() -> None:
        while not over.wait(SECONDS_BETWEEN_LOOKS):
            peaks.append(process.memory_info().rss)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    started, cpu_started = time.perf_counter(), time.process_time()
    yield
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    over.set()
    looking.join()
    steps.append(Step(name, seconds, cpu_seconds, max(*peaks, process.memory_info().rss)))


def _random_splits(count: int) -> "Splits":
    import numpy as np

    from vit.data.arrays import ImageArrays, Splits

    rng = np.random.default_rng(0)

    def arrays(size: int) -> "ImageArrays":
        return ImageArrays(rng.integers(0, 256, (size, SIDE, SIDE, 3), dtype=np.uint8), rng.integers(0, 10, size))

    names = tuple(str(number) for number in range(10))
    return Splits("random", arrays(count), arrays(TEST_IMAGES), names, mirror_safe=True, source="random")


def _write_parquet(folder: Path, count: int) -> None:
    """Writes random images as PNG, in the layout of the Hugging Face hub."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    def encoded(pixels: Any) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "png", compress_level=1)
        return buffer.getvalue()

    splits = _random_splits(count)
    for part, arrays in (("train", splits.train), ("test", splits.test)):
        images = [{"bytes": encoded(pixels), "path": ""} for pixels in arrays.images]
        pq.write_table(pa.table({"image": images, "label": arrays.labels}), folder / f"{part}.parquet")


@dataclass(frozen=True)
class Written:
    """What a training writes after an epoch, and how long its metrics take to reach MLflow."""

    classes: int
    seconds: float
    """The time from the end of validation until all files are written."""
    sizes: dict[str, int]
    """The size of each file, in bytes."""
    tracking_seconds: float
    """The time until the epoch's metrics are in MLflow (SQLite); training does not wait for it."""

    @property
    def line(self) -> str:
        files = ", ".join(f"{name} {size / 1024:.0f} kB" for name, size in sorted(self.sizes.items()))
        return (
            f"{self.classes:5d} classes: {self.seconds:.3f} s an epoch to write {files}; "
            f"{self.tracking_seconds:.3f} s for its metrics in MLflow"
        )


def measure_classes(classes: int, connection: Connection) -> None:
    """Sends what a training of 30 epochs has `Written` after its last one; times are medians of the last ten epochs."""
    prepare_mlflow()
    import statistics

    import numpy as np
    import torch

    from pipeline.tracking.tracker import Tracker
    from pipeline.training.training import LoadedData, Training, TrainingContext, TrainingData
    from pipeline.trials.folder import trial_folder
    from tune_spaces.trial_spec import TrialSpec
    from vit.data.arrays import ImageArrays
    from vit.data.normalisation import measure_normalisation
    from vit.model.config import ViTConfig
    from vit.training.parallel import Workers
    from vit.training.recipes import Recipe
    from vit.training.runtime import Runtime

    rng = np.random.default_rng(0)
    images = ImageArrays(rng.integers(0, 256, (classes, 8, 8, 1), dtype=np.uint8), np.arange(classes))
    names = tuple(f"class {number}" for number in range(classes))
    data = TrainingData(images, images, measure_normalisation(images.images), names)
    model = ViTConfig(
        img_size=8, patch_size=8, in_chans=1, num_classes=classes, embed_dim=4, depth=1, num_heads=1
    )  # fmt: skip
    spec = TrialSpec(0, model, Recipe(epochs=EPOCHS, flip=False), seed=0)
    with tempfile.TemporaryDirectory() as folder:
        tracker = Tracker(f"sqlite:///{folder}/mlflow.db", "classes")
        tracker.start_run("trial", "trial")
        tracker.flush()
        device, context = torch.device("cpu"), TrainingContext(f"{folder}/trials", "fp32", compile=False)
        training = Training(spec, LoadedData.of(data, device), context, Runtime(device), Workers())
        writing, tracking = list[float](), list[float]()
        while not training.is_done:
            started = time.perf_counter()
            entry = training.run_epoch()
            writing.append(time.perf_counter() - started - entry["metrics"]["epoch_seconds"])
            started = time.perf_counter()
            tracker.log("trial", entry["metrics"], step=entry["epoch"])
            tracker.flush()
            tracking.append(time.perf_counter() - started)
        tracker.close()
        files = Path(trial_folder(context.folder, 0).uri.removeprefix("file://")).iterdir()
        sizes = {file.name: file.stat().st_size for file in files}
    seconds, tracking_seconds = (statistics.median(each[-10:]) for each in (writing, tracking))
    connection.send(Written(classes, seconds, sizes, tracking_seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="*", default=[10_000, 100_000, 1_000_000], help="numbers of images")
    parser.add_argument("--classes", type=int, nargs="*", default=[10, 100, 1000], help="numbers of classes")
    arguments = parser.parse_args()
    print(machine_line())
    for count in arguments.images:
        print(f"{count} images, {count * SIDE * SIDE * 3 / MEGABYTE:.0f} MB:")
        for step in in_its_own_process(measure_images, count):
            print(
                f"  {step.name}: {step.seconds:.2f} s ({step.cpu_seconds:.2f} s of CPU), peak"
                f" {step.peak / MEGABYTE:.0f} MB",
                flush=True,
            )
    for classes in arguments.classes:
        print(in_its_own_process(measure_classes, classes).line, flush=True)


if __name__ == "__main__":
    main()
