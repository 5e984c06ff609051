"""The steps of `pipeline.reproduce`: it shows what differs now, retrains, and judges the result."""

from dataclasses import replace

import torch

from pipeline.registry.provenance import CodeState, package_versions
from pipeline.reproduce.differences import differences
from pipeline.reproduce.session import ReproduceSession
from pipeline.reproduce.verdict import Verdict, judge
from pipeline.session.train_session import TRAINING_CODE
from pipeline.tracking.weights import weights_digest
from pipeline.train_actions import train_to_the_end
from pipeline.trials.folder import TrialHistory, trial_folder
from vit.training.machine import Machine


def say_differences(session: ReproduceSession) -> list[str]:
    """Prints and returns what differs from the training that is to be repeated."""
    on_gpu = session.config.gpus_per_worker != 0 and torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    here = Machine.here(device, session.config.workers.most)
    found = _differences(session, replace(here, threads=int(session.config.cpus_per_worker)))
    for line in found or ["nothing differs: code, images, packages and machine are those of the passport"]:
        session.say(line)
    return found


def train_again(session: ReproduceSession) -> Verdict:
    """Retrains, or resumes where an earlier command ended, and compares the result with the passport."""
    _, best = train_to_the_end(session)
    folder = trial_folder(session.trials_folder, 0)
    # The machines on which it really trained: Ray may have placed it elsewhere than expected.
    machines = TrialHistory.read_ended(folder).machines
    found = [line for machine in machines for line in _differences(session, Machine(**machine))]
    return judge(session.passport, weights_digest(folder), best.accuracy, nothing_differs=not found)


def _differences(session: ReproduceSession, machine: Machine) -> list[str]:
    return differences(session.passport, CodeState.now(TRAINING_CODE), package_versions(), machine)
