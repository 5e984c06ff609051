"""The page's sections on the run itself: its stages, and where the time went."""

from collections.abc import Mapping, Sequence

from pipeline.charts.style import Values
from pipeline.charts.time_charts import PHASES, time_totals, timeline
from pipeline.page.blocks import Block, Chart, Drawing, NotRecordedError, Row, Table, Text, need
from pipeline.page.number_texts import MISSING, duration, percent
from pipeline.page.recorded_trials import RecordedTrial
from pipeline.page.stage_drawing import draw_stages
from pipeline.page.sweep_records import SweepRecords
from pipeline.page.time_use import lanes_of, refuse_incomplete_times, segments_of, totals_of

MOST_LANES = 40
"""The most lanes that the timeline shows; the totals are of all lanes."""


def stages(records: SweepRecords) -> list[Block]:
    found = need(records.summary, "stages")
    rows = [
        Row(
            (
                stage["name"],
                ", ".join(stage["inputs"]) or MISSING,
                stage["outcome"],
                stage["reason"],
                duration(stage["seconds"]),
                stage["run_id"] or MISSING,
            )
        )
        for stage in found
    ]
    head = ("stage", "inputs", "outcome", "why", "time", "MLflow run")
    return [Drawing(draw_stages(found)), Table(head, rows, words=(0, 1, 2, 3, 5), fold="Why each ran, or did not")]


def time_spent(records: SweepRecords) -> list[Block]:
    trials, seconds = records.trials, need(records.summary, "seconds")
    if not any(trial.epochs for trial in trials):
        raise NotRecordedError("the trials' runs are gone from MLflow")
    refuse_incomplete_times(trials, seconds["stages"].get("search"))
    lanes = lanes_of(trials)
    slots = max(seconds["concurrent_trials"], len(lanes))
    totals = totals_of(trials, slots)
    whole = sum(totals.values())
    rows = [Row((phase, duration(totals[phase]), percent(totals[phase] / whole, 1))) for phase in PHASES]
    return [
        Text(
            f"The search: {len(trials)} trials in {slots} slots on {seconds['cluster_cores']:g} cores. Starting is "
            "the time from a trial's start to the beginning of its first epoch; saving and reporting is the time "
            "between two epochs or after the last one; no trial is the time that a slot was idle, waiting for the last "
            "trials or for the baseline, which trains beside the search. A separate thread sends the records to "
            "MLflow; how long that takes is not recorded."
        ),
        Chart(time_totals(_totals_bar(totals)), "The search's time by what it was spent on"),
        _timeline(lanes, min(trial.started for trial in trials)),
        Table(("spent on", "time", "share"), rows, words=(0,), fold="The same as numbers"),
        Text(f"The stages' own times stand at their boxes; Ray took {duration(_ray(seconds))} to start.", soft=True),
    ]


def _totals_bar(totals: Mapping[str, float]) -> Values:
    whole = sum(totals.values())
    return [
        {"phase": phase, "seconds": round(totals[phase], 2), "share": round(totals[phase] / whole, 4), "order": number}
        for number, phase in enumerate(PHASES)
    ]


def _timeline(lanes: Sequence[Sequence[RecordedTrial]], began: float) -> Chart:
    names = [f"slot {number}" for number in range(1, min(len(lanes), MOST_LANES) + 1)]
    segments: Values = [
        {
            "lane": name, "trial": segment.trial, "phase": segment.phase, "begin": round(segment.begin - began, 2),
            "end": round(segment.end - began, 2),
        }
        for name, lane in zip(names, lanes, strict=False)
        for trial in lane
        for segment in segments_of(trial)
    ]  # fmt: skip
    return Chart(timeline(segments, names), "What each slot did when", min_width=520)


def _ray(seconds: Mapping[str, Mapping[str, float]]) -> float | None:
    return seconds["stages"].get("ray")
