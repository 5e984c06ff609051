"""A training that can resume after its process has died: every epoch is in its folder before it is reported.

It is the same for a trial in its Tune actor and for each worker of Ray Train, and depends on neither.
"""

from dataclasses import dataclass
from typing import Any

import torch

from pipeline.training.training_folder import Found, TrainingFolder
from pipeline.trials.folder import TrialHistory
from tune_spaces.trial_spec import TrialSpec
from vit.data.arrays import ImageArrays
from vit.data.normalisation import Normalisation
from vit.fused.loop import training_loop
from vit.training.machine import Machine
from vit.training.parallel import Workers
from vit.training.precision import Precision
from vit.training.runtime import Runtime, Split


@dataclass(frozen=True)
class TrainingData:
    """The images to train on, and the validation images by which models are chosen; test images are not included."""

    train: ImageArrays
    validation: ImageArrays
    normalisation: Normalisation
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class TrainingContext:
    """What all trainings of a command share besides the data."""

    folder: str
    """Path or URI under which each training has its own folder."""
    precision: Precision
    compile: bool
    gpus: float = 0
    """How many GPUs each training was given; below 1, a share of one. A process may see other trainings' GPUs too."""

    @property
    def device(self) -> torch.device:
        return torch.device("cuda" if self.gpus else "cpu")

    @property
    def shares_gpu(self) -> bool:
        """Whether other trainings may run on the same GPU."""
        return 0 < self.gpus < 1


@dataclass(frozen=True)
class LoadedData:
    """Training data on this process's device."""

    train: Split
    validation: Split
    normalisation: Normalisation
    class_names: tuple[str, ...]

    @staticmethod
    def of(data: TrainingData, device: torch.device) -> "LoadedData":
        train, validation = Split.of(data.train, device), Split.of(data.validation, device)
        return LoadedData(train, validation, data.normalisation, data.class_names)


class Training:
    """A training of one configuration with its folder; it resumes from the folder's last epoch if there is one.

    If there are several workers, only the first writes the folder, and it reads the folder for all: the others may see
    older contents for a while.
    """

    def __init__(
        self, spec: TrialSpec, data: LoadedData, context: TrainingContext, runtime: Runtime, workers: Workers
    ) -> None:
        images = (data.train, data.validation, data.normalisation)
        self._fit = training_loop(spec.model, spec.recipe, runtime, *images, spec.seed, workers)
        writes = workers.rank == 0
        self._folder = TrainingFolder(spec, context.folder, data.class_names, writes)
        found = workers.first(self._folder.read() if writes else Found(None, []), runtime.device)
        if found.state is not None:
            self._fit.load_state_dict(found.state["fit"])
        machine = None if self.is_done else Machine.here(runtime.device, workers.size)
        self._folder.begin(self._fit, found, data.normalisation, machine)

    @property
    def history(self) -> TrialHistory:
        return self._folder.history

    @property
    def is_done(self) -> bool:
        return self._fit.epochs_done >= self._fit.recipe.epochs

    def run_epoch(self) -> dict[str, Any]:
        """Trains an epoch, saves it, and returns its entry in the history.

        Raises:
            NonFiniteLossError: the training diverged.
            OSError: the folder cannot be written; what it held before is still there.
        """
        return self._folder.add(self._fit.run_epoch(), self._fit)

    def record_divergence(self, reason: str) -> None:
        """Records in the history why the training diverged, for the process that follows the folder."""
        self._folder.record_divergence(reason)


def is_out_of_memory(error: Exception) -> bool:
    """Whether the model was too large for the device's or the machine's memory, which a mere retry does not change."""
    said = ("can't allocate memory", "CUDA error: out of memory")  # torch's words for the machine's memory; CUDA's own
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in str(error) for words in said)
