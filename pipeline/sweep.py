"""The main command: searches for the best Vision Transformer for a data set, and registers it.

python -m pipeline.sweep --trials 32
"""

import gc
import json
import time
from argparse import Namespace
from pathlib import Path
from typing import cast

from pipeline.config import Fuse, SweepConfig, TrialResources
from pipeline.errors import UsageError
from pipeline.figures.graph_text import refuse_graph_suffix
from pipeline.terminal.durations import parse_duration
from pipeline.terminal.exits import run_command
from pipeline.terminal.flags import Parser, add_shared_flags, shared_values
from pipeline.terminal.result_file import refuse_unwritable_file


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
    search.add_argument("--space", help="search space by name, or a .py file of yours; default: by the image size")
    search.add_argument(
        "--search", default=defaults.search, help="how trials are chosen: random, or tpe, by earlier trials' results"
    )
    final = parser.add_argument_group("confirmation")
    final.add_argument(
        "--finalists",
        type=int,
        default=defaults.finalists,
        help="how many of the best trials are retrained, to confirm the winner",
    )
    final.add_argument("--seeds", type=int, default=defaults.seeds, help="trainings of each finalist")
    final.add_argument(
        "--audit", type=int, default=defaults.audit, metavar="K",
        help="train K of the trials that ASHA stopped to their full length, to see whether it was right",
    )  # fmt: skip
    stages = parser.add_argument_group("stages")
    stages.add_argument("--no-cache", action="store_true", help="run all stages, whatever has finished before")
    stages.add_argument(
        "--from", dest="from_stage", metavar="STAGE", help="rerun this stage and those that depend on it"
    )
    stages.add_argument(
        "--until", dest="until_stage", metavar="STAGE", help="run only this stage and those that it depends on"
    )
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
        "--gpus-per-trial",
        type=float,
        help="GPUs of each worker, fractions allowed; default: 1 if the cluster has GPUs",
    )  # fmt: skip
    run.add_argument("--max-concurrent", type=int, help="most trials at once; default: as many as fit")
    run.add_argument(
        "--fuse", default=defaults.fuse, metavar="auto|off|N",
        help="train up to N trials of one shape as one model; auto: where that is measured to be faster",
    )  # fmt: skip
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
        search=flags.search,
        workers_per_trial=flags.workers_per_trial,
        resources=TrialResources(flags.cpus_per_trial, flags.gpus_per_trial, flags.max_concurrent),
        finalists=flags.finalists,
        seeds=flags.seeds,
        audit=flags.audit,
        fuse=_parse_fuse(flags.fuse),
        cache=not flags.no_cache,
        from_stage=flags.from_stage,
        until_stage=flags.until_stage,
    )


def _parse_fuse(text: str) -> Fuse:
    if text in ("auto", "off"):
        return cast(Fuse, text)
    if not text.isdecimal():
        raise UsageError(f"--fuse is {text!r}, but must be auto, off or a number of at least 2")
    return int(text)


def main() -> None:
    started = time.time()
    flags = build_parser().parse_args()
    config = config_of(flags)
    for name in ("json", "plan", "budget", "graph"):
        if flags.why is not None and getattr(flags, name):
            raise UsageError(f"--why is {flags.why}, but cannot be given together with --{name}")
    refuse_unwritable_file("--json", flags.json)
    refuse_unwritable_file("--graph", flags.graph)
    if flags.graph is not None:
        refuse_graph_suffix(flags.graph)
    if flags.budget is not None:
        parse_duration(flags.budget)
    # These are imported only now: that takes seconds, and bad usage should not wait for it.
    from pipeline.tracking.server import prepare_mlflow

    prepare_mlflow()
    from pipeline.sweep_actions import carry_out, print_why

    gc.freeze()  # what was imported stays in use; scanning it once more at the end would take a second
    if flags.why is not None:
        print_why(config, flags.why)
        return
    result = carry_out(config, flags.budget, started, plan_only=flags.plan, graph=flags.graph)
    if flags.json is not None:
        Path(flags.json).write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    run_command(main)
