"""Where a search's time went, as far as its records tell."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.charts.time_charts import NO_TRIAL, SAVING, STARTING, TRAINING, VALIDATING
from pipeline.page.recorded_trials import RecordedTrial


@dataclass(frozen=True)
class Segment:
    """A stretch of a trial; in seconds since 1970."""

    trial: int
    phase: str
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


def segments_of(trial: RecordedTrial) -> list[Segment]:
    """What a trial did, from its start to its end, without gaps.

    An epoch is known by its end and by how long it and its training took; what lies between two of them, or between the
    last and the trial's end, went into saving and reporting. Clocks of several machines may disagree: what would end
    before it begins is left out.
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
    """The trials by slot, each after the one before it has ended; as few slots as that takes."""
    lanes: list[list[RecordedTrial]] = []
    for trial in sorted(trials, key=lambda trial: (trial.started, trial.index)):
        free = next((lane for lane in lanes if lane[-1].ended <= trial.started), None)
        if free is None:
            lanes.append([trial])
        else:
            free.append(trial)
    return lanes


def totals_of(trials: Sequence[RecordedTrial], slots: int) -> dict[str, float]:
    """Seconds by phase, of all slots together, from the first trial's start to the last one's end."""
    totals = dict.fromkeys((STARTING, TRAINING, VALIDATING, SAVING), 0.0)
    for trial in trials:
        for segment in segments_of(trial):
            totals[segment.phase] += segment.seconds
    whole = slots * (max(trial.ended for trial in trials) - min(trial.started for trial in trials))
    return {**totals, NO_TRIAL: max(0.0, whole - sum(totals.values()))}


def training_seconds(images: int, batch_size: int, images_per_second: float) -> float:
    """How long an epoch trained: its images, but for a last, smaller batch, at so many a second."""
    batch = min(batch_size, images)
    return images // batch * batch / images_per_second
