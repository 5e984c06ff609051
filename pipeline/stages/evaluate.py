"""Stage `evaluate`: evaluates the confirmed models on the test images; no other stage does so."""

from pipeline.results.confirmation import TestScore
from pipeline.results.stage_outputs import Confirmed, Evaluated
from pipeline.session.sweep_session import SweepSession
from pipeline.tracking.test_set_reads import count_test_set_reads, record_test_set_read
from pipeline.training.evaluation import evaluate_on_test, record_test


def evaluate_on_test_images(session: SweepSession, confirm: Confirmed) -> Evaluated:
    """Evaluates each training of the confirmed models once on the test images, and records that these were read."""
    data, tracker = session.dataset, session.tracker
    pairs = [(model, run) for model in confirm.models for run in model.runs]
    record_test_set_read(tracker, session.stage_records["evaluate"].key, data.test_digest)
    weights = [session.find_weights(model.index, run) for model, run in pairs]
    results = evaluate_on_test(weights, data.test, session.final_allotment, session.config.tta == "flip")
    scores: dict[str, TestScore] = {}
    for (model, run), result in zip(pairs, results, strict=True):
        counts = result.counts
        record_test(tracker, session.artifacts, data, run.run_id, result, f"trial {model.index}, seed {run.seed}")
        by_class = tuple(counts.class_accuracy)
        scores[run.run_id] = TestScore(counts.correct, counts.total, by_class, result.tta_correct)
    session.artifacts.finish()  # a stage that has finished is not run again, so the runs must have its files by then
    return Evaluated(scores, count_test_set_reads(tracker.client, data.test_digest))
