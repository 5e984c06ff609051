"""The command that classifies images with a registered model.

python -m pipeline.predict --model models:/vit-cifar10@champion photos/ --out predictions.parquet
"""

import json
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from pipeline.config import resolve_tracking_uri
from pipeline.errors import PipelineError, UsageError
from pipeline.predict.inputs import ImageSource, find_images
from pipeline.predict.output import FORMATS, refuse_unfit
from pipeline.terminal.console import plain_or_live
from pipeline.terminal.exits import run_command
from pipeline.terminal.flags import Parser
from pipeline.terminal.interrupt import Interrupt
from pipeline.terminal.result_file import refuse_unwritable_file
from pipeline.tracking.server import open_client, prepare_mlflow, refuse_missing_database, refuse_unreachable


def build_parser() -> Parser:
    parser = Parser(prog="python -m pipeline.predict", description="Classify images with a registered model.")
    parser.add_argument(
        "images", nargs="+", metavar="FOLDER|PARQUET|GLOB",
        help="image files, Parquet files in the Hugging Face hub's layout, folders of either, or patterns",
    )  # fmt: skip
    what = parser.add_argument_group("model and result")
    what.add_argument(
        "--model",
        required=True,
        metavar="URI",
        help="models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/model or a path",
    )
    what.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="FILE",
        help=f"the predictions, a row an image: {' or '.join(FORMATS)}",
    )
    what.add_argument("--top-k", type=int, default=0, metavar="K", help="also list the K most probable classes")
    where = parser.add_argument_group("resources and records")
    where.add_argument("--address", help="Ray cluster to join (auto, HOST:PORT); default: start one and stop it")
    where.add_argument("--tracking-uri", help="MLflow server or database; default: $MLFLOW_TRACKING_URI, ./mlflow.db")
    where.add_argument("--json", type=Path, metavar="FILE", help="write what was done to this file")
    return parser


def main() -> None:
    flags = build_parser().parse_args()
    if flags.top_k < 0:
        raise UsageError(f"--top-k is {flags.top_k}, but must be at least 0")
    for flag, file in (("--out", flags.out), ("--json", flags.json)):
        refuse_unwritable_file(flag, file)
    refuse_unfit(flags.out)
    sources = find_images(flags.images, flags.out)
    prepare_mlflow()
    if not Path(flags.model).exists():
        uri = resolve_tracking_uri(flags.tracking_uri)
        refuse_unreachable(uri)
        refuse_missing_database(uri)
        open_client(uri)
    result = _predict(flags, sources)
    if flags.json is not None:
        flags.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if result["broken"] == result["images"]:
        raise PipelineError(f"none of the {result['images']} images could be read: {flags.out} says why")


def _predict(flags: Namespace, sources: list[ImageSource]) -> dict[str, Any]:
    """Classifies the images, shows the progress, and returns the result as plain values."""
    # Imported only here: these imports take seconds, and errors in usage should be reported without that wait.
    from pipeline.cluster.connection import connected
    from pipeline.predict.fetching import fetch_model
    from pipeline.predict.prediction import classify
    from pipeline.predict.progress import PredictionProgress

    started, console, total = time.monotonic(), plain_or_live(), sum(source.images for source in sources)
    model = fetch_model(flags.model)
    classes, shape = len(model.served.class_names), "x".join(map(str, model.served.image_shape))
    if flags.top_k > classes:
        raise UsageError(f"--top-k is {flags.top_k}, but must be at most the {classes} classes of the model")
    console.out(f"{total:,} images for {flags.model}: {classes} classes, images of {shape}", highlight=False)
    with connected(flags.address), Interrupt().handled():
        tally = classify(sources, model.served, flags.top_k, flags.out, PredictionProgress(console, total))
    for reason in tally.reasons:
        console.out(f"warning: {reason}", highlight=False)
    read = f"{tally.images - tally.broken:,} images classified, {tally.broken:,} could not be read"
    console.out(f"{read}: {flags.out}", highlight=False)
    return {
        "model": flags.model, "model_id": model.model_id, "run_id": model.run_id, "out": str(flags.out),
        "images": tally.images, "broken": tally.broken, "seconds": time.monotonic() - started,
    }  # fmt: skip


if __name__ == "__main__":
    run_command(main)
