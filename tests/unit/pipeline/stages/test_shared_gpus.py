"""Tests of stages that others wait for where trials share GPUs: the others continue even if such a stage fails."""

from collections.abc import Sequence
from typing import NoReturn

import pytest

from pipeline.cluster.allotment import Allotment
from pipeline.results.stage_outputs import Prepared, Searched
from pipeline.session.sweep_session import SweepSession
from pipeline.stages import baseline as baseline_stage
from pipeline.stages.audit import audit_stops
from pipeline.stages.baseline import train_baseline
from pipeline.trials.observers import Observer
from pipeline.trials.records import BestEpoch, EpochRecord, TrialResult
from vit.data.normalisation import Normalisation

PREPARED = Prepared(Normalisation((0.5,), (0.25,)), "fp32", duplicates=0, validation_duplicates=0)


class FullStoreError(Exception):
    """Stands in for the error of a full object store of Ray."""


def refuse(*anything: object, **more: object) -> NoReturn:
    raise FullStoreError


def test_a_baseline_that_cannot_begin_keeps_the_search_from_nothing(
    session: SweepSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session._allotment = Allotment(1, 0.5, concurrent=4)
    session.hold_slots_for_baseline()
    monkeypatch.setattr(session, "share", refuse)
    with pytest.raises(FullStoreError):
        train_baseline(session, PREPARED)
    assert (session.baseline_trains.is_set(), session.baseline_ended.is_set(), session.free_slots) == (True, True, 4)


def test_the_search_begins_once_the_baseline_has_its_workers(
    session: SweepSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch is no sign of that: it may be an earlier command's, and takes long otherwise."""
    session._allotment = Allotment(1, 0.5, concurrent=4)
    session.hold_slots_for_baseline()
    seen: list[bool] = []

    def train(
        session: SweepSession, configurations: object, *others: object, observers: Sequence[Observer], **more: object
    ) -> NoReturn:
        for observer in observers:
            observer.epoch_done(session.specs[0], EpochRecord(1, {}))
            seen.append(session.baseline_trains.is_set())
            observer.workers_started(session.specs[0])
            seen.append(session.baseline_trains.is_set())
        raise FullStoreError

    monkeypatch.setattr(session, "share", lambda data: None)
    monkeypatch.setattr(baseline_stage, "train_to_full_length", train)
    with pytest.raises(FullStoreError):
        train_baseline(session, PREPARED)
    assert seen == [False, True]


def test_an_audit_that_fails_lets_the_finalists_go(session: SweepSession, monkeypatch: pytest.MonkeyPatch) -> None:
    session.audit_ended.clear()
    monkeypatch.setattr(session, "share", refuse)
    result = TrialResult(session.specs[1], "asha", BestEpoch(1, 0.5, 1.0), 1, 1.0, (), "run")
    with pytest.raises(FullStoreError):
        audit_stops(session, PREPARED, Searched((result,), "fp32"))
    assert session.audit_ended.is_set()
