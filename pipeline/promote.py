"""Command: gate the challenger of a registered model and make it the champion, roll back, or show the history."""

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import refuse_unwritable_file, resolve_tracking_uri
from pipeline.errors import PipelineError, UsageError
from pipeline.terminal.exits import run_command
from pipeline.terminal.flags import Parser
from pipeline.tracking.server import open_client, prepare_mlflow, refuse_missing_database, refuse_unreachable

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipeline.registry.gate import PromotionDecision
    from pipeline.registry.versions import RegisteredVersion, TestFigures


def main() -> None:
    arguments = _parser().parse_args()
    run_command(lambda: _run(arguments))


def _parser() -> Parser:
    parser = Parser(prog="python -m pipeline.promote", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--dataset", metavar="NAME|PATH", help="promote the model of this data set")
    which.add_argument("--model", metavar="NAME", help="promote this registered model")
    parser.add_argument("--tracking-uri", help="MLflow; without it MLFLOW_TRACKING_URI, else sqlite:///mlflow.db")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--rollback", action="store_true", help="back to the champion before; again undoes it")
    action.add_argument("--history", action="store_true", help="show versions and decisions, change nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here, for programs")
    return parser


def _run(arguments: argparse.Namespace) -> None:
    refuse_unwritable_file("--json", arguments.json)
    if arguments.model is not None and not re.fullmatch("[^/:]+", arguments.model):
        raise UsageError(f"--model is {arguments.model!r}, but must be a registered model's name, without / and :")
    uri = resolve_tracking_uri(arguments.tracking_uri)
    prepare_mlflow()
    refuse_unreachable(uri)
    refuse_missing_database(uri)
    # Only now: it takes seconds, which `--help` and bad usage should not.
    from mlflow.exceptions import MlflowException

    client = open_client(uri)
    try:
        result = _act(client, arguments)
    except MlflowException as error:
        raise PipelineError(f"MLflow at {uri}: {error.message}") from error
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _act(client: "MlflowClient", arguments: argparse.Namespace) -> dict[str, Any]:
    """Does what the arguments say, prints it, and returns it for `--json`."""
    from pipeline.registry.gate import history, promote, rollback
    from pipeline.registry.versions import list_versions, model_name_of

    model_name = model_name_of(arguments.dataset) if arguments.model is None else arguments.model
    if arguments.history:
        versions, decisions = list_versions(client, model_name), history(client, model_name)
        _show_history(model_name, versions, decisions)
        shown = {"versions": [asdict(each) for each in versions], "history": [asdict(each) for each in decisions]}
        return {"model": model_name, **shown}
    decision = rollback(client, model_name) if arguments.rollback else promote(client, model_name)
    _show_decision(model_name, decision)
    return {"model": model_name, **asdict(decision)}


def _show_decision(model_name: str, decision: "PromotionDecision") -> None:
    print(f"{model_name} version {decision.version} is the champion: {decision.reason}")
    print(f"  version {decision.version}: {_figures(decision.measured)}")
    if decision.replaced is not None:
        print(f"  version {decision.replaced}, now previous: {_figures(decision.champion_measured)}")
    print(f'  mlflow.pyfunc.load_model("models:/{model_name}@champion")')


def _show_history(model_name: str, versions: "list[RegisteredVersion]", decisions: "list[PromotionDecision]") -> None:
    print(f"Versions of {model_name}:")
    for version in versions:
        aliases = f" [{', '.join(version.aliases)}]" if version.aliases else ""
        print(f"  version {version.version}{aliases}: {_figures(version.measured)}")
    print("Decisions:")
    for decision in decisions:
        print(f"  {decision.at[:19]}Z {decision.event} version {decision.version}: {decision.reason}")


def _figures(measured: "TestFigures | None") -> str:
    if measured is None:
        return "no test figures"
    return (
        f"{measured.test_correct} of {measured.test_images} test images right"
        f" ({measured.test_correct / measured.test_images:.2%}), validation accuracy {measured.val_accuracy:.2%}"
    )


if __name__ == "__main__":
    main()
