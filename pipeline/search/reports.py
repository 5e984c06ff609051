"""Builds the reports that a trial's process sends to the driver, through Ray Tune if that runs the search."""

from typing import Any

from pipeline.errors import last_line, storage_failure
from pipeline.training.training import is_out_of_memory
from pipeline.trials.records import Outcome
from vit.training.fit import NonFiniteLossError

ACCURACY = "val/accuracy"


def epoch_report(
    entry: dict[str, Any], epochs: int, refused: list[str], trains_to: int, next_leg: int = 1
) -> dict[str, Any]:
    """The report of an epoch.

    Args:
        entry: the epoch's entry in the trial's history.
        epochs: the trial's full length.
        refused: checkpoints that could not be read, each with its path.
        trains_to: the epoch to which the trial has been trained, or will be without waiting for a decision.
        next_leg: how many epochs after that one it will then train without waiting for another decision.
    """
    number = entry["epoch"]
    decides = {"pauses": number >= trains_to, "next_leg": next_leg, "done": number >= epochs}
    return {**entry, ACCURACY: entry["metrics"][ACCURACY], "refused": refused, **decides}


def early_end_report(outcome: Outcome, reason: str, epochs: int) -> dict[str, Any]:
    """The report of a trial that ends by itself after `epochs` epochs, before its full length."""
    # Tune refuses a report without the searcher's metric, so it holds the worst possible accuracy.
    return {"epoch": epochs + 1, ACCURACY: 0.0, "ended": {"outcome": outcome, "error": reason}, "done": True}


def waiting_report(epochs: int) -> dict[str, Any]:
    """The report of a trial with `epochs` epochs whose workers have not started yet: the driver may stop it."""
    return {"epoch": epochs, ACCURACY: 0.0, "waits": True, "pauses": False, "done": False}


def death_text(error: object) -> str:
    """The message for a process that died: the last line of Ray's error."""
    return last_line(error) or "the trial's process died"


def error_report(error: Exception, epochs: int) -> dict[str, Any]:
    """The report of a trial that an error ended after `epochs` epochs.

    Raises:
        Exception: the error itself, if another process may succeed.
    """
    if isinstance(error, NonFiniteLossError):
        return early_end_report("diverged", str(error), epochs)
    failure = storage_failure(error)
    if failure is not None:
        return early_end_report("interrupted", failure, epochs)
    if is_out_of_memory(error):
        return early_end_report("failed", f"out of memory: {error}", epochs)
    raise error
