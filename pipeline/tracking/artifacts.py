"""Collects the runs' figures and weights in a separate process of low priority, so that no trial waits for it."""

import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import PipelineError, storage_failure
from pipeline.trials.folder import CONFUSION_FILE, TrialHistory, read_confusion
from pipeline.trials.predictions import PREDICTIONS_FILE, Predictions
from vit.files.storage import CONFIG_FILE, WEIGHTS_FILE, Folder

BEGUN = ".begun"
"""The suffix of a folder's name until the folder is complete."""

logger = logging.getLogger("pipeline.tracking")


class ArtifactMaker:
    """Runs artifact jobs one after another in the background; each fills a folder of its own."""

    def __init__(self) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix="vit-artifacts-"))
        self._pool = _new_pool(self._scratch)
        # This thread starts the pool's process, which inherits its signal mask: Ctrl-C never reaches the process, not
        # even while it starts.
        self._waiter = ThreadPoolExecutor(1, thread_name_prefix="artifacts", initializer=_block_ctrl_c)
        self._jobs: list[Future[None]] = []
        self._lock = threading.Lock()
        """Guards `_jobs`: several threads submit jobs and wait for them."""

    def submit(self, job: Callable[..., None], *arguments: Any, name: str, then: Callable[[Path], None]) -> None:
        """Queues `job(folder, *arguments)`, with a new folder, and after it `then(folder)` in a thread of this process.

        If the job fails, a warning names it, and `then` gets the folder with what the job had completed: a missing
        figure must not make a search fail. A full disk, a storage that is away or a lost file does; `finish` raises it.
        """
        future = self._waiter.submit(self._run, job, arguments, name, then)
        with self._lock:
            self._jobs.append(future)

    def _run(
        self, job: Callable[..., None], arguments: tuple[Any, ...], name: str, then: Callable[[Path], None]
    ) -> None:
        folder, failure = self._attempt(job, arguments)
        if isinstance(failure, BrokenProcessPool):  # its process was killed, perhaps for its memory: retry
            shutil.rmtree(folder)
            folder, failure = self._attempt(job, arguments)
        if failure is not None:
            for begun in folder.glob(f"*{BEGUN}"):
                shutil.rmtree(begun)
            logger.warning("figures of %s are missing in MLflow, because they could not be drawn: %s", name, failure)
        then(folder)

    def _attempt(self, job: Callable[..., None], arguments: tuple[Any, ...]) -> tuple[Path, Exception | None]:
        """Returns a folder with what the job made, and the error that ended the job, if any."""
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        try:
            self._pool.submit(job, folder, *arguments).result()
        except BrokenProcessPool as error:
            self._pool.shutdown(wait=False)
            self._pool = _new_pool(self._scratch)
            return folder, error
        except Exception as error:  # drawing may raise anything
            # Worse than a missing figure: weights are lost, or cannot be written or read now.
            if storage_failure(error) or isinstance(error, PipelineError):
                raise
            return folder, error
        return folder, None

    def finish(self) -> None:
        """Waits for all jobs and their `then` callbacks.

        Raises the error of a job that met a full disk or a lost file, or of a callback; each error is raised only once.
        """
        with self._lock:
            jobs = list(self._jobs)
        for job in jobs:
            try:
                job.result()
            finally:
                with self._lock:
                    self._jobs = [other for other in self._jobs if other is not job]

    def close(self) -> None:
        """Cancels the jobs that have not begun and removes the folders: call it after the folders have been read."""
        self._waiter.shutdown(wait=True, cancel_futures=True)
        self._pool.shutdown(wait=True)
        shutil.rmtree(self._scratch, ignore_errors=True)


def _new_pool(scratch: Path) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_prepare_process, initargs=(scratch,))


def _block_ctrl_c() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for the driver, which still needs its figures


def _prepare_process(scratch: Path) -> None:
    """Prepares the process that runs the jobs."""
    os.nice(19)
    # Tools that stop a job may signal its child processes too; the driver still needs its figures, and ends this
    # process itself.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_driver, args=(scratch,), daemon=True).start()


def _end_with_the_driver(scratch: Path) -> None:
    """Ends this process with its driver, if that is killed; it would otherwise wait for a next job for ever.

    Nobody then wants what the jobs have made, so that is removed.
    """
    driver = parent_process()
    if driver is not None:
        driver.join()
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)


def make_trial_artifacts(out: Path, folder_uri: str, title: str, class_names: tuple[str, ...]) -> None:
    """Writes a trial's `checkpoint/` (its best weights, with their confusion matrix) first, and then its `figures/`.

    Raises:
        PipelineError: a file is missing from the trial's folder.
    """
    copy_weights(out, folder_uri)
    from pipeline.figures.trial_figures import draw_curves  # slow to import, and only the job process needs it

    folder = Folder(folder_uri)
    history = TrialHistory.read(folder)
    with _whole(out / "figures") as figures:
        epochs = [{"epoch": entry["epoch"], **entry["metrics"]} for entry in history.epochs]
        draw_curves(str(figures / "curves.png"), title, epochs, history.best_epoch)
        subtitle = f"{title}: validation images, epoch {history.best_epoch}"
        _draw_classes(figures, "", subtitle, class_names, read_confusion(folder))


def copy_weights(out: Path, folder_uri: str) -> None:
    """Writes a trial's `checkpoint/`: its best weights, their model card and their confusion matrix.

    Raises:
        PipelineError: a file is missing from the trial's folder.
    """
    folder = Folder(folder_uri)
    with _whole(out / "checkpoint") as checkpoint:
        for name in (WEIGHTS_FILE, CONFIG_FILE, CONFUSION_FILE):
            try:
                (checkpoint / name).write_bytes(folder.read(name))
            except FileNotFoundError as error:
                raise PipelineError(
                    f"{folder.uri}/{name} is missing, although its trial has ended: remove the trial's folder to run "
                    "it again"
                ) from error


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Yields a folder to fill, which is renamed to `folder` once it is complete.

    However the process ends, no half-filled folder is taken for a complete one.
    """
    begun = folder.with_name(folder.name + BEGUN)
    begun.mkdir()
    yield begun
    begun.rename(folder)


def make_test_artifacts(
    out: Path,
    title: str,
    class_names: tuple[str, ...],
    confusion: ArrayLike,
    predictions: Predictions,
) -> None:
    """Writes a model's predictions for the test images, and the per-class figures over these images."""
    file = out / PREDICTIONS_FILE
    with _whole(file.parent) as evaluation:
        predictions.write(evaluation / file.name)
    with _whole(out / "figures") as figures:
        _draw_classes(figures, "test_", f"{title}: test images", class_names, confusion)


def _draw_classes(figures: Path, prefix: str, title: str, class_names: tuple[str, ...], confusion: ArrayLike) -> None:
    from pipeline.figures.trial_figures import draw_class_accuracy, draw_confusion_matrix

    matrix = np.asarray(confusion, dtype=np.int64)
    hits, totals = matrix.diagonal().tolist(), matrix.sum(axis=1).tolist()
    accuracies = [hit / total if total else None for hit, total in zip(hits, totals, strict=True)]
    draw_class_accuracy(str(figures / f"{prefix}class_accuracy.png"), title, class_names, accuracies)
    draw_confusion_matrix(str(figures / f"{prefix}confusion_matrix.png"), title, class_names, matrix)
