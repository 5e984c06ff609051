"""The command that compares trained models: settings, figures, accuracy by class, and a test on the same images.

python -m pipeline.compare vit-digits@champion vit-digits@challenger
"""

import json
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import resolve_tracking_uri
from pipeline.errors import UsageError
from pipeline.terminal.exits import run_command
from pipeline.terminal.flags import Parser
from pipeline.terminal.result_file import refuse_unwritable_file
from pipeline.tracking.server import existing_store

if TYPE_CHECKING:
    from mlflow import MlflowClient


def build_parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.compare",
        description="Compare trained models: settings, figures, accuracy by class, and a test on the same images.",
    )
    parser.add_argument(
        "models", nargs="+", metavar="MODEL",
        help="two or more: a run's id or name, NAME@ALIAS, NAME/VERSION, or the number of a sweep's trial",
    )  # fmt: skip
    parser.add_argument("--sweep", metavar="NAME|ID", help="whose trials the numbers are; default: the newest")
    parser.add_argument("--tracking-uri", help="MLflow server or database; default: $MLFLOW_TRACKING_URI, ./mlflow.db")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="also write the tables here, as Markdown")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here, for programs")
    return parser


def main() -> None:
    flags = build_parser().parse_args()
    if len(set(flags.models)) < 2:
        raise UsageError(f"{' '.join(flags.models)} is one model, but there must be at least two to compare")
    for flag, file in (("--out", flags.out), ("--json", flags.json)):
        refuse_unwritable_file(flag, file)
    if flags.out is not None and flags.out.suffix.lower() != ".md":
        raise UsageError(f"--out is {flags.out}, but must end in .md")
    with existing_store(resolve_tracking_uri(flags.tracking_uri)) as client:
        _compare(client, flags)


def _compare(client: "MlflowClient", flags: Namespace) -> None:
    # Imported only here: these imports take seconds, and errors in usage should be reported without that wait.
    from pipeline.compare.comparison import compare
    from pipeline.compare.evidence import gather
    from pipeline.compare.subjects import SubjectFinder
    from pipeline.compare.tables import print_sections, sections, to_markdown
    from pipeline.terminal.console import plain_or_live

    models = [gather(client, subject) for subject in SubjectFinder(client).find(flags.models, flags.sweep)]
    comparison = compare(models)
    shown = list(sections(models, comparison))
    print_sections(plain_or_live(), shown)
    if flags.out is not None:
        flags.out.write_text(to_markdown(shown), encoding="utf-8")
    if flags.json is not None:
        runs = [{"name": model.name, "run_id": model.run_id, "run_name": model.run_name} for model in models]
        flags.json.write_text(json.dumps({"runs": runs, **asdict(comparison)}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
