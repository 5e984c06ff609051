"""The stages of a sweep, one file each; `sweep_graph` combines them into a graph.

`running_trials` and `full_length_trainings` are not stages, but code that several stages share.

A stage is a function of the session and of other stages' outputs, which are passed by the names of those stages.

Imported by: `sweep_actions`.
Imports: `vit`, `tune_spaces`, `errors`, `trials`, `results`, `terminal`, `tracking`, `graph`, `training`, `search`,
`registry`, `session`, `planning`, `report`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pipeline.graph.code_digest import code_digests
from pipeline.graph.graph import Graph
from pipeline.graph.stage import PlainValue, Stage
from pipeline.registry.model_files import lost_version
from pipeline.results.audit_verdict import AuditVerdict
from pipeline.results.confirmation import ConfirmedModel
from pipeline.results.leaderboard import choose_finalists
from pipeline.results.stage_outputs import Confirmed, Evaluated, Prepared, Registered, Searched
from pipeline.session.sweep_session import SweepSession
from pipeline.stages.audit import audit_stops
from pipeline.stages.baseline import train_baseline
from pipeline.stages.confirm import confirm_finalists
from pipeline.stages.evaluate import evaluate_on_test_images
from pipeline.stages.prepare import prepare_data
from pipeline.stages.register import register_winner
from pipeline.stages.report import write_report
from pipeline.stages.search import search_configurations
from pipeline.tracking.weights import first_lost_weights

SHARED_CODE = ("pipeline.tracking.weights", "pipeline.training.precision", "tune_spaces.space")
"""Modules that the session uses for several stages and that affect their outputs."""


def sweep_graph(session: SweepSession) -> Graph:
    """The graph of all stages of a sweep, with everything that each stage's output depends on."""
    config, data = session.config, session.dataset
    settings = session.search_settings
    shared = ("seed", "full length", "precision", "compile", "mirrored", "torch")
    finals: dict[str, PlainValue] = {**{name: settings[name] for name in shared}, "seeds": config.seeds}
    audits = [
        _stage(session, "audit", ("prepare", "search"), audit_stops, AuditVerdict, {"audited trials": config.audit})
    ] if config.audit else []  # fmt: skip
    stages = [
        _stage(
            session, "prepare", (), prepare_data, Prepared, {"images": data.digest, "precision": settings["precision"]},
            misfit=_other_precision,
        ),
        _stage(session, "search", ("prepare",), search_configurations, Searched, settings, _lost_trials),
        _stage(session, "baseline", ("prepare",), train_baseline, ConfirmedModel, finals, _lost_runs),
        _stage(
            session, "confirm", ("prepare", "search", "baseline"), confirm_finalists, Confirmed,
            {**finals, "finalists": config.finalists}, _lost_models, _failed_models,
        ),
        _stage(
            session, "evaluate", ("confirm",), evaluate_on_test_images, Evaluated,
            {"test images": data.test_digest, "test-time augmentation": config.tta},
        ),
        _stage(
            session, "register", ("confirm", "evaluate"), register_winner, Registered,
            {"model": session.model_name, "export": config.export}, _lost_version,
        ),
        *audits,
        _stage(
            session, "report",
            ("prepare", "search", "confirm", "evaluate", "register", *(stage.name for stage in audits)),
            write_report, dict, {},
        ),
    ]  # fmt: skip
    return Graph(stages)


def _stage(
    session: SweepSession,
    name: str,
    inputs: tuple[str, ...],
    run: Callable[..., Any],
    output_type: type,
    settings: Mapping[str, PlainValue],
    missing: Callable[[SweepSession, Any], str | None] = lambda session, output: None,
    misfit: Callable[[SweepSession, Any], str | None] = lambda session, output: None,
) -> Stage:
    """A stage of the session, which `run` gets as its first argument.

    The code that decides the stage's output is that of `run`'s module, of `SHARED_CODE`, and of what these import.
    """
    code = code_digests(run.__module__, *SHARED_CODE)
    checks = (partial(missing, session), partial(misfit, session))
    return Stage(name, inputs, partial(run, session), output_type, settings, code, *checks)


def _other_precision(session: SweepSession, prepared: Prepared) -> str | None:
    kept = session.kept_precision
    if kept in (None, prepared.precision):
        return None
    return f"this folder trains in {kept}, not in {prepared.precision}"


def _lost_trials(session: SweepSession, searched: Searched) -> str | None:
    finalists = choose_finalists(searched.ranked, session.config.finalists)  # the others are only reported
    return first_lost_weights(session.tracker.client, [trial.run_id for trial in finalists])


def _lost_runs(session: SweepSession, model: ConfirmedModel) -> str | None:
    return first_lost_weights(session.tracker.client, [run.run_id for run in model.runs])


def _lost_models(session: SweepSession, confirmed: Confirmed) -> str | None:
    runs = [run.run_id for model in confirmed.models for run in model.runs]
    return first_lost_weights(session.tracker.client, runs)


def _failed_models(session: SweepSession, confirmed: Confirmed) -> str | None:
    failed = [str(model.index) for model in confirmed.models if model.has_failed]
    return f"a training of trial {', '.join(failed)} failed" if failed else None


def _lost_version(session: SweepSession, registered: Registered) -> str | None:
    return lost_version(session.tracker.client, session.model_name, registered.version, registered.run_id)
