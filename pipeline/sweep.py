"""The main job: searches Vision Transformers for a data set, and registers the best.

python -m pipeline.sweep --trials 32
"""

import json
from argparse import Namespace
from pathlib import Path

from pipeline.config import SweepConfig, TrialResources, refuse_unwritable
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
    )


def main() -> None:
    flags = build_parser().parse_args()
    config = config_of(flags)
    refuse_unwritable("--json", flags.json)
    # Only now: these take seconds to import, and bad usage should not wait for them.
    from pipeline.tracking_server import prepare_mlflow

    prepare_mlflow()
    from pipeline.console import plain_or_live
    from pipeline.report import earlier_summary, keep_summary, print_summary
    from pipeline.session import open_session, under_way
    from pipeline.stages import execute, sweep_graph
    from pipeline.sweep_session import SweepSession

    with open_session(SweepSession, config, plain_or_live()) as session:
        summary = earlier_summary(session)
        if summary is None:
            with under_way(session, dashboard=config.workers_per_trial > 1):
                outputs = sweep_graph(session).run(lambda stage, inputs: execute(session, stage, inputs))
                summary = outputs["report"]
                keep_summary(session, summary)
        else:
            session.say(f"{session.name} has finished before; nothing is computed again")
        print_summary(session.console, summary)
    if flags.json is not None:
        Path(flags.json).write_text(json.dumps(summary, indent=2))


if __name__ == "__main__":
    run_command(main)
