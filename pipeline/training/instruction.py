"""What the driver tells a group of workers, by files in the group's folder: which training, and how far.

So a decision takes effect at an epoch's end, no worker is ever killed for it, and workers that have ended one training
take the next.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.training.training import TrainingContext
from pipeline.trials.folder import trial_folder
from tune_spaces.trial_spec import TrialSpec
from vit.files.storage import Folder

INSTRUCTION_FILE = "instruction.json"
"""Gone where there is nothing more to do."""
STARTS_FILE = "starts.json"
"""How often the workers have come up."""
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Instruction:
    """The training that the workers are to do, and the epoch to whose end they may go; there they wait."""

    spec: TrialSpec
    context: TrainingContext
    until: int

    @property
    def folder(self) -> Folder:
        """Of the training."""
        return trial_folder(self.context.folder, self.spec.index)

    def write(self, group_folder: Folder) -> None:
        values = {"trial": self.spec.to_dict(), "context": asdict(self.context), "until": self.until}
        group_folder.write(INSTRUCTION_FILE, json.dumps(values).encode())

    @staticmethod
    def read(group_folder: Folder) -> "Instruction | None":
        """None where there is nothing more to do."""
        try:
            values: dict[str, Any] = json.loads(group_folder.read(INSTRUCTION_FILE))
        except FileNotFoundError:
            return None
        return Instruction(TrialSpec.from_dict(values["trial"]), TrainingContext(**values["context"]), values["until"])


def count_starts(group_folder: Folder) -> int:
    """How often a group's workers have come up."""
    try:
        return int(json.loads(group_folder.read(STARTS_FILE)))
    except FileNotFoundError:
        return 0


def add_start(group_folder: Folder) -> None:
    group_folder.write(STARTS_FILE, json.dumps(count_starts(group_folder) + 1).encode())
