"""The command that trains one model through Ray Train, without a search.

python -m pipeline.train --dataset cifar10 --recipe seed --workers 2
"""

import gc
import json
from argparse import Namespace
from pathlib import Path

from pipeline.config import TrainConfig, WorkerRange
from pipeline.terminal.exits import run_command
from pipeline.terminal.flags import Parser, add_shared_flags, shared_values
from pipeline.terminal.result_file import refuse_unwritable_file
from vit.training.recipes import RECIPES


def build_parser() -> Parser:
    defaults = TrainConfig()
    parser = Parser(prog="python -m pipeline.train", description="Train one Vision Transformer, on several workers.")
    what = parser.add_argument_group("run")
    what.add_argument("--recipe", default=defaults.recipe, help=f"model and recipe by name: {', '.join(RECIPES)}")
    what.add_argument("--epochs", type=int, help="full length; default: the recipe's")
    what.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", dest="settings",
        help="change a field of the model or of the recipe, such as depth=8; may be given several times",
    )  # fmt: skip
    what.add_argument("--register", action="store_true", help="measure it on the test images and make it challenger")
    run = parser.add_argument_group("resources")
    run.add_argument("--workers", default="1", help="N, or FEWEST:MOST to follow a cluster that grows and shrinks")
    run.add_argument("--cpus-per-worker", type=float, default=defaults.cpus_per_worker, help="cores of a worker")
    run.add_argument("--gpus-per-worker", type=float, help="GPUs of a worker; default: 1 if the cluster has GPUs")
    add_shared_flags(parser)
    return parser


def config_of(flags: Namespace) -> TrainConfig:
    return TrainConfig(
        **shared_values(flags),
        recipe=flags.recipe,
        epochs=flags.epochs,
        settings=tuple(flags.settings),
        workers=WorkerRange.parse(flags.workers),
        cpus_per_worker=flags.cpus_per_worker,
        gpus_per_worker=flags.gpus_per_worker,
        register=flags.register,
    )


def main() -> None:
    flags = build_parser().parse_args()
    config = config_of(flags)
    refuse_unwritable_file("--json", flags.json)
    # These are imported only now: that takes seconds, and bad usage should not wait for it.
    from pipeline.tracking.server import prepare_mlflow

    prepare_mlflow()
    from pipeline.session.lifecycle import open_session, running_command
    from pipeline.session.train_session import TrainSession
    from pipeline.terminal.console import plain_or_live
    from pipeline.train_actions import train_and_report

    gc.freeze()  # what was imported stays in use; scanning it once more at the end would take a second
    with open_session(TrainSession, config, plain_or_live()) as session, running_command(session, dashboard=True):
        result = train_and_report(session)
    if flags.json is not None:
        Path(flags.json).write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    run_command(main)
