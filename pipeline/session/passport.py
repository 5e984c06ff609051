"""Makes the passport of a model version from the session that registers it."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pipeline.registry.passport import DataFacts, Figures, Origin, Passport
from pipeline.registry.provenance import CodeState, package_versions
from pipeline.registry.versions import TestFigures
from pipeline.results.confirmation import FullLengthRun, TestScore
from pipeline.session.session import Session
from pipeline.session.train_session import TRAINING_CODE
from pipeline.statistics.intervals import accuracy_interval
from pipeline.tracking.test_set_reads import count_test_set_reads
from pipeline.tracking.trial_runs import MACHINES_TAG
from tune_spaces.trial_spec import TrialSpec
from vit.data.sources import lasting_name
from vit.training.machine import Machine
from vit.training.precision import Precision


def make_passport(
    session: Session[Any], origin: Origin, spec: TrialSpec, precision: Precision, run: FullLengthRun, score: TestScore
) -> Passport:
    """Returns the passport of a training that has been measured on the test images."""
    tags = session.tracker.client.get_run(run.run_id).data.tags
    return Passport(
        model_name=session.model_name,
        origin=origin,
        spec=spec,
        precision=precision,
        compile=session.config.compile,
        data=_data(session),
        figures=_figures(session, run, score),
        code=CodeState.now(TRAINING_CODE),
        packages=package_versions(),
        # A training from before machines were recorded has no such tag.
        machines=tuple(Machine(**fields) for fields in json.loads(tags.get(MACHINES_TAG, "[]"))),
        weights_digest=run.weights_digest,
        registered_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _data(session: Session[Any]) -> DataFacts:
    data, config = session.dataset, session.config.data
    lasting = replace(config, dataset=data.name if config.dataset == "auto" else lasting_name(config.dataset))
    return DataFacts(data.name, lasting, data.digest, len(data.train), len(data.validation), data.class_names)


def _figures(session: Session[Any], run: FullLengthRun, score: TestScore) -> Figures:
    data = session.dataset
    validation_images = len(data.validation)
    return Figures(
        TestFigures(data.test_digest, score.correct, score.total, run.best.accuracy),
        accuracy_interval(round(run.best.accuracy * validation_images), validation_images),
        accuracy_interval(score.correct, score.total),
        score.class_accuracy,
        score.tta_accuracy,
        count_test_set_reads(session.tracker.client, data.test_digest),
    )
