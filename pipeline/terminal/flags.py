"""The flags that the training commands share, and a parser that reports bad usage in one line."""

import argparse
from argparse import Namespace
from typing import Any, NoReturn

from pipeline.config import CommandConfig
from pipeline.errors import BAD_USAGE
from pipeline.terminal.exits import exit_with_error
from vit.data.dataset import DataConfig


class _HelpFormatter(argparse.HelpFormatter):
    """Shows a flag's default after its help text, if it has one that is worth showing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, [], argparse.SUPPRESS):
            return action.help
        return f"{action.help} (default: %(default)s)"


class Parser(argparse.ArgumentParser):
    """Reports bad usage as one line, without the usage text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_HelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        exit_with_error(message, BAD_USAGE)


def add_shared_flags(parser: Parser) -> None:
    data, defaults = DataConfig(), CommandConfig()
    what = parser.add_argument_group("data")
    what.add_argument("--dataset", default=data.dataset, help="digits, cifar10, auto, or a folder of images or Parquet")
    what.add_argument("--img-size", type=int, help="resize all images to this many pixels a side")
    what.add_argument("--train-limit", type=int, help="train on this many images only")
    what.add_argument(
        "--no-mirror", action="store_true",
        help="never mirror these images: a mirror image is of another class, as with digits, letters and signs",
    )  # fmt: skip
    how = parser.add_argument_group("training")
    how.add_argument("--seed", type=int, default=defaults.seed, help="same seed, same results")
    how.add_argument(
        "--precision", default=defaults.precision, help="fp32 (TF32 is off), bf16, or auto: whichever trains faster"
    )
    how.add_argument(
        "--tta",
        default=defaults.tta,
        help="flip: a second test accuracy, averaged over each image and its mirror image",
    )
    how.add_argument(
        "--compile", action="store_true",
        help="train through torch.compile, which needs a C++ compiler on a CPU, a C compiler on a GPU",
    )  # fmt: skip
    how.add_argument(
        "--max-failures",
        type=int,
        default=defaults.max_failures,
        help="how often to restart a training whose process died",
    )
    how.add_argument(
        "--stall-minutes",
        type=float,
        default=defaults.stall_minutes,
        help="report what is waiting after this many minutes without progress",
    )
    how.add_argument("--address", help="Ray cluster to join (auto, HOST:PORT); default: start one and stop it")
    where = parser.add_argument_group("records")
    where.add_argument(
        "--export",
        default=defaults.export,
        help="onnx: register the model as ONNX too; needs pip install '.[onnx]'",
    )
    where.add_argument("--tracking-uri", help="MLflow server or database; default: $MLFLOW_TRACKING_URI, ./mlflow.db")
    where.add_argument(
        "--tracking-timeout", type=float, default=defaults.tracking_timeout,
        help="seconds to wait at the end for a tracking server that does not answer",
    )  # fmt: skip
    where.add_argument("--storage", default=defaults.storage, help="folder or URI for checkpoints")
    where.add_argument("--json", metavar="FILE", help="write the result to this file")


def shared_values(flags: Namespace) -> dict[str, Any]:
    """Returns the values of the shared flags as fields of `CommandConfig`."""
    names = (
        "seed", "precision", "tta", "export", "compile", "max_failures", "stall_minutes", "address", "tracking_uri",
        "tracking_timeout", "storage",
    )  # fmt: skip
    data = DataConfig(flags.dataset, flags.img_size, flags.train_limit, mirror=not flags.no_mirror)
    return {"data": data, **{name: getattr(flags, name) for name in names}}
