"""The main job: searches Vision Transformers for a data set, and registers the best.

python -m pipeline.sweep --trials 32
"""

import json
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline.boxes import Box
from pipeline.budget import parse_duration
from pipeline.config import (
    SweepConfig,
    TrialResources,
    experiment_name,
    refuse_unwritable,
    resolve_tracking_uri,
)
from pipeline.drawing import refuse_graph_suffix
from pipeline.exits import Parser, run_command
from pipeline.flags import add_shared_flags, shared_values


def build_parser() -> Parser:
    defaults, resources = SweepConfig(), TrialResources()
    parser = Parser(prog="python -m pipeline.sweep", description="Search Vision Transformers and register the best.")
    search = parser.add_argument_group("search")
    search.add_argument("--trials", type=int, default=defaults.trials, help="configurations to try")
    search.add_argument("--max-epochs", type=int, help="full length of a trial; default: the space's")
    search.add_argument("--grace-epochs", type=int, help="first rung of ASHA; default: a twelfth of the full length")
    search.add_argument(
        "--reduction-factor", type=int, default=defaults.reduction_factor, help="one in this many passes a rung"
    )
    search.add_argument("--space", help="search space by name; default: by the image size")
    final = parser.add_argument_group("confirmation")
    final.add_argument(
        "--finalists", type=int, default=defaults.finalists, help="best trials to train again before one is believed"
    )
    final.add_argument("--seeds", type=int, default=defaults.seeds, help="trainings of each of them")
    final.add_argument(
        "--audit", type=int, default=defaults.audit, metavar="K",
        help="train K of the trials that ASHA stopped to their full length, to see whether it was right",
    )  # fmt: skip
    stages = parser.add_argument_group("stages")
    stages.add_argument("--no-cache", action="store_true", help="run all stages, whatever has finished before")
    stages.add_argument("--from", dest="from_stage", metavar="STAGE", help="run this stage and what rests on it anew")
    stages.add_argument("--until", dest="until_stage", metavar="STAGE", help="run this stage and what it rests on only")
    stages.add_argument(
        "--plan", action="store_true", help="say what would run, why, and what it would take; run nothing"
    )
    stages.add_argument("--budget", metavar="TIME", help="make the sweep small enough for this time, such as 30m or 2h")
    stages.add_argument("--graph", metavar="FILE", type=Path, help="draw the stages as .svg, .mmd or .txt; run nothing")
    stages.add_argument(
        "--why", metavar="TRIAL", type=int, help="say why a trial of the newest sweep ended; run nothing"
    )
    run = parser.add_argument_group("resources")
    run.add_argument(
        "--workers-per-trial", type=int, default=defaults.workers_per_trial, help="processes that train one trial"
    )
    run.add_argument("--cpus-per-trial", type=float, default=resources.cpus_per_trial, help="cores of each worker")
    run.add_argument(
        "--gpus-per-trial", type=float, help="GPUs of each worker, fractions allowed; default: 1 if there are"
    )
    run.add_argument("--max-concurrent", type=int, help="most trials at once; default: as many as fit")
    add_shared_flags(parser)
    return parser


def config_of(flags: Namespace) -> SweepConfig:
    return SweepConfig(
        **shared_values(flags),
        trials=flags.trials,
        max_epochs=flags.max_epochs,
        grace_epochs=flags.grace_epochs,
        reduction_factor=flags.reduction_factor,
        space=flags.space,
        workers_per_trial=flags.workers_per_trial,
        resources=TrialResources(flags.cpus_per_trial, flags.gpus_per_trial, flags.max_concurrent),
        finalists=flags.finalists,
        seeds=flags.seeds,
        audit=flags.audit,
        cache=not flags.no_cache,
        from_stage=flags.from_stage,
        until_stage=flags.until_stage,
    )


def main() -> None:
    started = time.time()
    flags = build_parser().parse_args()
    config = config_of(flags)
    refuse_unwritable("--json", flags.json)
    refuse_unwritable("--graph", flags.graph)
    if flags.graph is not None:
        refuse_graph_suffix(flags.graph)
    # Only now: it takes seconds to import, and bad usage should not wait for it.
    from pipeline.tracking_server import prepare_mlflow

    prepare_mlflow()
    if flags.why is not None:
        print_why(config, flags.why)
        return
    # One Ray for all that the command asks of it.
    with within_budget(config, flags, started) as fitted:
        result = _result(fitted, flags)
    if flags.json is not None:
        Path(flags.json).write_text(json.dumps(result, indent=2))


def _result(config: SweepConfig, flags: Namespace) -> dict[str, Any]:
    if flags.plan:
        return print_plan(config, flags.graph)
    return print_graph(config, flags.graph) if flags.graph is not None else sweep(config)


@contextmanager
def within_budget(config: SweepConfig, flags: Namespace, started: float) -> Iterator[SweepConfig]:
    """The configuration, made small enough if there is a budget; then within a Ray that was asked for it."""
    if flags.budget is None:
        yield config
        return
    parse_duration(flags.budget)  # bad usage should not wait for Ray
    from pipeline.budgeted import fit_to_budget
    from pipeline.cluster import connected
    from pipeline.console import plain_or_live

    with connected(config.address, dashboard=config.workers_per_trial > 1):
        fitted = fit_to_budget(config, flags.budget, started, plain_or_live())
        # What runs has as many trials as there is time for, so that a budget is neither passed nor left unused.
        yield fitted if flags.plan else replace(fitted, trials=config.trials)


def sweep(config: SweepConfig) -> dict[str, Any]:
    """Runs the stages that need to run; prints and gives the result."""
    from pipeline.console import plain_or_live
    from pipeline.orchestration import plan, run_stages
    from pipeline.report import describe_search, print_leaderboard, print_summary
    from pipeline.session import open_session, under_way
    from pipeline.stages import sweep_graph
    from pipeline.sweep_session import SweepSession

    with open_session(SweepSession, config, plain_or_live()) as session:
        planned = plan(session, sweep_graph(session))
        outputs = planned.outputs
        if planned.is_finished:
            for name, verdict in planned.verdicts.items():
                session.say(f"{name}: {verdict.reason}")
        else:
            with under_way(session, dashboard=config.workers_per_trial > 1):
                outputs = run_stages(session, planned)
        if "report" in outputs:
            print_summary(session.console, outputs["report"])
            return dict(outputs["report"])
        result = describe_search(session, outputs["search"]) if "search" in outputs else {}
        if result:
            print_leaderboard(session.console, result["leaderboard"])
        return result


def print_plan(config: SweepConfig, file: Path | None) -> dict[str, Any]:
    """Says what would run, and draws it where a file is named."""
    from pipeline.cluster import connected
    from pipeline.console import plain_or_live
    from pipeline.drawing import write_graph
    from pipeline.orchestration import plan
    from pipeline.outlook import calibrate, foresee, outlook_lines, outlook_values
    from pipeline.session import open_session
    from pipeline.stages import sweep_graph
    from pipeline.sweep_session import SweepSession

    with open_session(SweepSession, config, plain_or_live()) as session, connected(config.address):
        planned = plan(session, sweep_graph(session))
        outlook = foresee(session, planned, calibrate(session))
        for line in outlook_lines(session, planned, outlook):
            session.say(line)
        if file is not None:
            session.say(f"the stages are drawn in {write_graph(file, planned.boxes)}")
        session.forget()
    return outlook_values(planned, outlook)


def print_graph(config: SweepConfig, file: Path) -> dict[str, Any]:
    """Draws the stages."""
    from pipeline.console import plain_or_live
    from pipeline.drawing import write_graph
    from pipeline.session import open_session
    from pipeline.stages import sweep_graph
    from pipeline.sweep_session import SweepSession

    with open_session(SweepSession, config, plain_or_live()) as session:
        boxes = [Box(stage.name, stage.inputs) for stage in sweep_graph(session)]
        session.forget()
        session.say(f"the stages are drawn in {write_graph(file, boxes)}")
    return {"stages": [asdict(box) for box in boxes]}


def print_why(config: SweepConfig, trial: int) -> None:
    """Says why a trial of the data set's newest sweep ended."""
    from pipeline.decisions import explain
    from pipeline.tracking_server import open_client, refuse_missing_database, refuse_unreachable
    from vit.data import load_dataset

    uri = resolve_tracking_uri(config.tracking_uri)
    refuse_unreachable(uri)
    refuse_missing_database(uri)
    name = load_dataset(config.data).name
    print("\n".join(explain(open_client(uri), experiment_name(name), trial)))


if __name__ == "__main__":
    run_command(main)
