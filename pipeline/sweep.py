"""The main job: searches Vision Transformers for a data set, and registers the best.

python -m pipeline.sweep --trials 32
"""

import json
from argparse import Namespace
from pathlib import Path

from pipeline.config import SweepConfig, TrialResources
from pipeline.exits import Parser, UsageError, run_command
from vit.data import DataConfig


def build_parser() -> Parser:
    defaults, data, resources = SweepConfig(), DataConfig(), TrialResources()
    parser = Parser(prog="python -m pipeline.sweep", description="Search Vision Transformers and register the best.")
    what = parser.add_argument_group("data")
    what.add_argument("--dataset", default=data.dataset, help="digits, cifar10, auto, or a folder of images or Parquet")
    what.add_argument("--img-size", type=int, help="resize all images to this many pixels a side")
    what.add_argument("--train-limit", type=int, help="train on this many images only")
    search = parser.add_argument_group("search")
    search.add_argument("--trials", type=int, default=defaults.trials, help="configurations to try")
    search.add_argument("--max-epochs", type=int, help="full length of a trial; default: the space's")
    search.add_argument("--grace-epochs", type=int, help="first rung of ASHA; default: a twelfth of the full length")
    search.add_argument(
        "--reduction-factor", type=int, default=defaults.reduction_factor, help="one in this many passes a rung"
    )
    search.add_argument("--space", help="search space by name; default: by the image size")
    search.add_argument("--seed", type=int, default=defaults.seed, help="same seed, same trials")
    run = parser.add_argument_group("resources")
    run.add_argument("--precision", default=defaults.precision, help="fp32, bf16, or auto: whichever trains faster")
    run.add_argument("--compile", action="store_true", help="train through torch.compile")
    run.add_argument("--cpus-per-trial", type=float, default=resources.cpus_per_trial, help="cores of a trial")
    run.add_argument("--gpus-per-trial", type=float, help="GPUs of a trial, fractions allowed; default: 1 if there are")
    run.add_argument("--max-concurrent", type=int, help="most trials at once; default: as many as fit")
    run.add_argument("--address", help="Ray cluster to join (auto, HOST:PORT); default: start one and stop it")
    where = parser.add_argument_group("records")
    where.add_argument("--tracking-uri", help="MLflow server or database; default: $MLFLOW_TRACKING_URI, ./mlflow.db")
    where.add_argument("--storage", default=defaults.storage, help="folder or URI for the trials' checkpoints")
    where.add_argument("--json", metavar="FILE", help="write the result to this file")
    return parser


def config_of(flags: Namespace) -> SweepConfig:
    return SweepConfig(
        data=DataConfig(flags.dataset, flags.img_size, flags.train_limit),
        trials=flags.trials,
        max_epochs=flags.max_epochs,
        grace_epochs=flags.grace_epochs,
        reduction_factor=flags.reduction_factor,
        space=flags.space,
        seed=flags.seed,
        precision=flags.precision,
        compile=flags.compile,
        resources=TrialResources(flags.cpus_per_trial, flags.gpus_per_trial, flags.max_concurrent),
        address=flags.address,
        tracking_uri=flags.tracking_uri,
        storage=flags.storage,
    )


def main() -> None:
    flags = build_parser().parse_args()
    config = config_of(flags)
    if flags.json is not None and not Path(flags.json).resolve().parent.is_dir():
        raise UsageError(f"--json is {flags.json}, but its folder does not exist")
    # Only now: these take seconds to import, and bad usage should not wait for them.
    from pipeline.tracking_server import prepare_mlflow

    prepare_mlflow()
    from rich.console import Console

    from pipeline.session import open_session
    from pipeline.stages import execute, sweep_graph

    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    with open_session(config, console) as session:
        outputs = sweep_graph(session).run(lambda stage, inputs: execute(session, stage, inputs))
    if flags.json is not None:
        Path(flags.json).write_text(json.dumps(outputs["report"], indent=2))


if __name__ == "__main__":
    run_command(main)
