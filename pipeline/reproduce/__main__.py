"""The command that retrains a registered version from its passport, and says whether the result is the same.

python -m pipeline.reproduce models:/vit-digits@champion
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import TrainConfig, resolve_tracking_uri
from pipeline.errors import PipelineError, UsageError
from pipeline.terminal.exits import run_command
from pipeline.terminal.flags import Parser
from pipeline.terminal.result_file import refuse_unwritable_file
from pipeline.tracking.server import existing_store

if TYPE_CHECKING:
    from pipeline.registry.passport import Passport


def build_parser() -> Parser:
    description = "Train a registered version again from its passport, and say whether it came out the same."
    parser = Parser(prog="python -m pipeline.reproduce", description=description)
    parser.add_argument("model", metavar="MODEL", help="models:/NAME@ALIAS or models:/NAME/VERSION")
    parser.add_argument("--dataset", metavar="NAME|PATH", help="where its images are, if not where they were")
    parser.add_argument("--dry-run", action="store_true", help="only say what differs here and now; train nothing")
    parser.add_argument("--tracking-uri", help="MLflow; without it MLFLOW_TRACKING_URI, else sqlite:///mlflow.db")
    parser.add_argument("--storage", default=TrainConfig().storage, help="folder or URI for checkpoints")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here, for programs")
    return parser


def main() -> None:
    flags = build_parser().parse_args()
    refuse_unwritable_file("--json", flags.json)
    result = _run(flags)
    if flags.json is not None:
        flags.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if result.get("as_expected") is False:
        raise PipelineError(result["text"])


def _run(flags: argparse.Namespace) -> dict[str, Any]:
    passport = _passport(flags)
    # Imported only here: these imports take seconds, and errors in usage should be reported without that wait.
    from pipeline.reproduce.actions import say_differences, train_again
    from pipeline.reproduce.session import ReproduceConfig, ReproduceSession
    from pipeline.session.lifecycle import open_session, running_command
    from pipeline.terminal.console import plain_or_live

    config, console = ReproduceConfig.of(passport, flags.dataset, flags.tracking_uri, flags.storage), plain_or_live()
    with open_session(ReproduceSession, config, console) as session:
        found = say_differences(session)
        if flags.dry_run:
            return {"model": flags.model, "differences": found}
        with running_command(session, dashboard=True):
            verdict = train_again(session)
    print(verdict.text)
    return {"model": flags.model, "differences": found, **asdict(verdict)}


def _passport(flags: argparse.Namespace) -> "Passport":
    with existing_store(resolve_tracking_uri(flags.tracking_uri)) as client:
        from pipeline.registry.passport import read_passport
        from pipeline.registry.versions import find_version

        passport = read_passport(client, find_version(client, flags.model))
    if passport is None:
        raise UsageError(f"the model is {flags.model!r}, but must be a version with a passport: this one has none")
    return passport


if __name__ == "__main__":
    run_command(main)
