"""How the time of a search was spent, as far as its records show."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.charts.time_charts import NO_TRIAL, SAVING, STARTING, TRAINING, VALIDATING
from pipeline.page.blocks import NotRecordedError
from pipeline.page.recorded_trials import RecordedTrial

_CLOCK_SECONDS = 1.0
"""By how much two times that the same command recorded may disagree."""


@dataclass(frozen=True)
class Segment:
    """A stretch of a trial that it spent in one phase; times are in seconds since 1970."""

    trial: int
    phase: str
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


def refuse_incomplete_times(trials: Sequence[RecordedTrial], search_seconds: float | None) -> None:
    """Refuses records that do not show what each slot did at what time.

    Args:
        trials: the trials of the search.
        search_seconds: how long the search took in the command whose slots and cores are known; None if the search ran
            in an earlier command.

    Raises:
        NotRecordedError: the records do not show it.
    """
    if search_seconds is None:
        raise NotRecordedError("the search ran in an earlier command, and on how many slots is not recorded")
    if any(trial.together > 1 for trial in trials):
        raise NotRecordedError(
            "trials were trained as one (--fuse), and each of them records its share of the time only"
        )
    if any(trial.epochs and trial.epochs[0].ended < trial.started for trial in trials):
        raise NotRecordedError("some trials' runs were recorded again later, and start after their first epoch")
    if _span(trials) > search_seconds + _CLOCK_SECONDS:
        raise NotRecordedError(
            "the search was resumed from an earlier command, and neither that command's slots nor the length of the"
            " pause in between are recorded"
        )


def segments_of(trial: RecordedTrial) -> list[Segment]:
    """Returns the phases of a trial, from its start to its end, without gaps.

    The records tell when each epoch ended, and how long the epoch and its training took. The time between two epochs,
    or between the last epoch and the trial's end, went into saving and reporting. The clocks of several machines may
    disagree: a phase that would end before it begins is left out.
    """
    cuts: list[tuple[str, float]] = []
    for number, epoch in enumerate(trial.epochs):
        begin = epoch.ended - epoch.seconds
        cuts += [(SAVING if number else STARTING, begin), (TRAINING, begin + epoch.training_seconds)]
        cuts.append((VALIDATING, epoch.ended))
    cuts.append((SAVING if trial.epochs else STARTING, trial.ended))
    segments, reached = [], trial.started
    for phase, until in cuts:
        end = min(until, trial.ended)
        if end > reached:
            segments.append(Segment(trial.index, phase, reached, end))
            reached = end
    return segments


def lanes_of(trials: Sequence[RecordedTrial]) -> list[list[RecordedTrial]]:
    """Assigns the trials to as few slots as possible: in a slot, a trial starts after the one before it has ended."""
    lanes: list[list[RecordedTrial]] = []
    for trial in sorted(trials, key=lambda trial: (trial.started, trial.index)):
        free = next((lane for lane in lanes if lane[-1].ended <= trial.started), None)
        if free is None:
            lanes.append([trial])
        else:
            free.append(trial)
    return lanes


def totals_of(trials: Sequence[RecordedTrial], slots: int) -> dict[str, float]:
    """The seconds that all slots together spent in each phase, from the first trial's start to the last one's end."""
    totals = dict.fromkeys((STARTING, TRAINING, VALIDATING, SAVING), 0.0)
    for trial in trials:
        for segment in segments_of(trial):
            totals[segment.phase] += segment.seconds
    return {**totals, NO_TRIAL: max(0.0, slots * _span(trials) - sum(totals.values()))}


def _span(trials: Sequence[RecordedTrial]) -> float:
    """Seconds from the first trial's start to the last one's end."""
    return max(trial.ended for trial in trials) - min(trial.started for trial in trials)


def training_seconds(images: int, batch_size: int, images_per_second: float) -> float:
    """How long the training of an epoch took. It leaves out a last, smaller batch, so those images do not count."""
    batch = min(batch_size, images)
    return images // batch * batch / images_per_second
