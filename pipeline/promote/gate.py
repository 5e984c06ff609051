"""Runs the gate: scores both versions on the same test images and judges them by the rules, but changes no alias."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient

from pipeline.promote.contenders import Contenders
from pipeline.promote.gate_config import GateConfig
from pipeline.promote.gate_run import gate_run
from pipeline.promote.loaded_model import load_model
from pipeline.promote.model_copy import GATE_FOLDER, copy_model
from pipeline.promote.new_decision import now
from pipeline.promote.rules import judge
from pipeline.promote.scoring import score
from pipeline.promote.test_images import TestImages
from pipeline.promote.verdict import Verdict
from pipeline.tracking.test_set_reads import count_test_set_reads


@dataclass(frozen=True)
class GateResult:
    """A verdict, and where it is kept."""

    verdict: Verdict
    table: str
    """`sha256:<hex>` of the verdict's JSON file."""
    run_id: str


def run_gate(client: MlflowClient, contenders: Contenders, test: TestImages, config: GateConfig) -> GateResult:
    """Scores both versions, judges the challenger by the rules, and keeps the verdict in an MLflow run of kind `gate`.

    Raises:
        GateRefusedError: a version's files are gone or cannot be used.
        TrackingError: the tracking store does not answer.
    """
    model_name = str(contenders.challenger.name)
    versions = [version for version in (contenders.challenger, contenders.champion) if version is not None]
    numbers = (contenders.challenger_number, contenders.champion_number)
    with gate_run(client.tracking_uri, model_name, numbers, test.digest) as run:
        models = [load_model(copy_model(client, version, run.folder), test) for version in versions]
        scores = score(models, test, config.robustness)
        new, old = scores[0], scores[1] if len(scores) > 1 else None
        rules = tuple(judge(new, old, test.class_names, config))
        reads = count_test_set_reads(client, test.digest)
        verdict = Verdict(model_name, now(), new, old, test, reads, config, rules)
        return GateResult(verdict, run.keep(verdict), run.run_id)


def keep_with_version(client: MlflowClient, contenders: Contenders, verdict: Verdict) -> None:
    """Stores the verdict beside the challenger's files, where these belong to a logged model of MLflow."""
    model_id = str(contenders.challenger.source).removeprefix("models:/")
    if not model_id.startswith("m-"):
        return
    with tempfile.TemporaryDirectory() as folder:
        time = verdict.at.partition("+")[0].replace("-", "").replace(":", "")
        verdict.write(Path(folder, GATE_FOLDER, f"{time}Z"))
        client.log_model_artifacts(model_id, folder)
