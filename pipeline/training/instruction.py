"""Passes the driver's instructions to a group of workers by files in its folder: which training, and how far.

This way a decision takes effect at the end of an epoch, no worker is ever killed for it, and workers that have finished
one training continue with the next.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.training.training import TrainingContext
from pipeline.trials.folder import trial_folder
from tune_spaces.trial_spec import TrialSpec
from vit.files.storage import Folder

INSTRUCTION_FILE = "instruction.json"
"""The file is removed when there is nothing more to do."""
STARTS_FILE = "starts.json"
"""Holds how many times the workers have started."""
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Instruction:
    """The training that the workers are to do, and the last epoch that they may train; after it they wait."""

    spec: TrialSpec
    context: TrainingContext
    until: int

    @property
    def folder(self) -> Folder:
        """The training's folder."""
        return trial_folder(self.context.folder, self.spec.index)

    def write(self, group_folder: Folder) -> None:
        values = {"trial": self.spec.to_dict(), "context": asdict(self.context), "until": self.until}
        group_folder.write(INSTRUCTION_FILE, json.dumps(values).encode())

    @staticmethod
    def read(group_folder: Folder) -> "Instruction | None":
        """Reads the instruction in a group's folder; None if there is nothing more to do."""
        try:
            values: dict[str, Any] = json.loads(group_folder.read(INSTRUCTION_FILE))
        except FileNotFoundError:
            return None
        return Instruction(TrialSpec.from_dict(values["trial"]), TrainingContext(**values["context"]), values["until"])


def count_starts(group_folder: Folder) -> int:
    """Returns how many times a group's workers have started."""
    try:
        return int(json.loads(group_folder.read(STARTS_FILE)))
    except FileNotFoundError:
        return 0


def add_start(group_folder: Folder) -> None:
    group_folder.write(STARTS_FILE, json.dumps(count_starts(group_folder) + 1).encode())
