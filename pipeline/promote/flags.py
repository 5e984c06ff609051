"""Defines and checks the flags of `python -m pipeline.promote`."""

import argparse
import re
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.promote.gate_config import GateConfig
from pipeline.promote.notification import check_target
from pipeline.terminal.flags import Parser
from pipeline.terminal.result_file import refuse_unwritable_file

_LONGEST_REASON = 1000
_DESCRIPTION = """Score the challenger of a registered model and the champion on the same test images, and make the
challenger the champion where the gate's rules let it through; or roll back; or show the history."""


def build_parser() -> Parser:
    parser, limits = Parser(prog="python -m pipeline.promote", description=_DESCRIPTION), GateConfig()
    which = parser.add_argument_group("which model, one of the two at least")
    which.add_argument(
        "--dataset", metavar="NAME|PATH", help="its data set; by a PATH, the test images are taken there"
    )
    which.add_argument("--model", metavar="NAME", help="its name; without it vit-<dataset>")
    what = parser.add_argument_group("what to do, if not to promote").add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="show the gate's verdict, change nothing in the registry")
    what.add_argument(
        "--rollback", action="store_true", help="make the previous champion the champion again; repeat it to undo it"
    )
    what.add_argument(
        "--history", action="store_true", help="show versions and the ledger of decisions, check its chain"
    )
    how = parser.add_argument_group("the decision")
    how.add_argument(
        "--force", action="store_true", help="promote even where rules fail; needs --reason, which the ledger records"
    )
    how.add_argument("--reason", metavar="TEXT", help="why, for the ledger; with --force and --rollback")
    how.add_argument("--to", type=int, metavar="VERSION", help="roll back to this one, which was champion before")
    how.add_argument(
        "--notify",
        metavar="URL|COMMAND",
        help="after a change of champion, POST it as JSON, or run a command with it on stdin",
    )
    rules = parser.add_argument_group("limits of the gate")
    for name, of_what in (
        ("class-margin", "how much lower the accuracy of any one class may be, as a fraction"),
        ("calibration-margin", "how much larger the calibration error may be"),
        ("max-latency-ratio", "largest ratio of the challenger's latency to the champion's"),
        ("max-size-ratio", "largest ratio of the challenger's parameters and bytes to the champion's"),
    ):
        default = getattr(limits, name.replace("-", "_"))
        rules.add_argument(f"--{name}", type=float, default=default, metavar="X", help=of_what)
    rules.add_argument(
        "--robustness",
        action="store_true",
        help="also compare on corrupted images (noise, blur, ...); 15 times the work",
    )
    where = parser.add_argument_group("records")
    where.add_argument("--tracking-uri", help="MLflow server or database; default: $MLFLOW_TRACKING_URI, ./mlflow.db")
    where.add_argument("--json", type=Path, metavar="FILE", help="write the result to this file")
    return parser


def gate_config_of(flags: argparse.Namespace) -> GateConfig:
    names = ("class_margin", "calibration_margin", "max_latency_ratio", "max_size_ratio", "robustness")
    return GateConfig(**{name: getattr(flags, name) for name in names})


def check_flags(flags: argparse.Namespace) -> None:
    """Raises UsageError where a flag makes no sense, alone or together with another."""
    refuse_unwritable_file("--json", flags.json)
    if flags.dataset is None and flags.model is None:
        raise UsageError("one of --dataset and --model must say which model is meant")
    if flags.model is not None and not re.fullmatch("[^/:]+", flags.model):
        raise UsageError(f"--model is {flags.model!r}, but must be a registered model's name, without / and :")
    if flags.notify is not None:
        check_target(flags.notify)
    if flags.to is not None and not flags.rollback:
        raise UsageError(f"--to is {flags.to}, but goes with --rollback only")
    _check_reason(flags)
    for flag in ("dry_run", "history"):
        for other in ("force", "notify"):
            if getattr(flags, flag) and getattr(flags, other):
                raise UsageError(
                    f"--{other} cannot be combined with --{flag.replace('_', '-')}, which makes no decision"
                )
    if flags.rollback and flags.force:
        raise UsageError("--force cannot be combined with --rollback, which does not pass through the gate")


def _check_reason(flags: argparse.Namespace) -> None:
    if flags.force and not (flags.reason or "").strip():
        raise UsageError(
            "--force needs --reason TEXT: why the model is to be champion in spite of the gate, for the ledger"
        )
    if flags.reason is None:
        return
    if not (flags.force or flags.rollback):
        raise UsageError(
            "--reason can only be given with --force or --rollback: otherwise the gate's verdict is the reason"
        )
    if len(flags.reason) > _LONGEST_REASON or not flags.reason.isprintable():
        raise UsageError(f"--reason must be one line of at most {_LONGEST_REASON} printable characters")
