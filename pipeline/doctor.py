"""The command that looks for what killed commands left behind, and with --fix mends what can be mended without loss.

python -m pipeline.doctor --fix
"""

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config import CommandConfig, resolve_tracking_uri
from pipeline.diagnosis.finding import Finding, exit_status, mended, totals
from pipeline.errors import PipelineError
from pipeline.terminal.exits import run_command
from pipeline.terminal.flags import Parser
from pipeline.terminal.result_file import refuse_unwritable_file
from pipeline.tracking.server import open_client, prepare_mlflow, refuse_missing_database, refuse_unreachable


def build_parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.doctor", description="Look for what killed commands left behind; --fix mends it."
    )
    storage = CommandConfig().storage
    parser.add_argument("--storage", help=f"folder or URI of the checkpoints; default: {storage}, where there is one")
    parser.add_argument("--tracking-uri", help="MLflow server or database; default: $MLFLOW_TRACKING_URI, ./mlflow.db")
    parser.add_argument("--address", help="Ray cluster (auto, HOST:PORT); default: one that runs here, if any")
    parser.add_argument("--fix", action="store_true", help="mend what can be mended without losing anything")
    parser.add_argument("--json", metavar="FILE", help="write the findings to this file")
    return parser


def main() -> None:
    flags = build_parser().parse_args()
    refuse_unwritable_file("--json", flags.json)
    uri = resolve_tracking_uri(flags.tracking_uri)
    prepare_mlflow()
    refuse_unreachable(uri)
    refuse_missing_database(uri)
    # This is imported only now: it takes seconds, and `--help` and bad usage should not wait for it.
    from mlflow.exceptions import MlflowException

    try:
        findings = _look_and_mend(uri, flags)
    except MlflowException as error:
        raise PipelineError(f"MLflow at {uri}: {error.message}") from error
    except OSError as error:
        raise PipelineError(str(error)) from error
    if flags.json is not None:
        values: dict[str, Any] = {"findings": [finding.to_dict() for finding in findings]}
        Path(flags.json).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    sys.exit(exit_status(findings))


def _look_and_mend(uri: str, flags: Namespace) -> list[Finding]:
    """Prints each finding as soon as it is known, mended first if --fix is given, and returns all findings."""
    findings = []
    for found in _look(uri, flags):
        finding = mended(found) if flags.fix else found
        print(finding.line, flush=True)
        findings.append(finding)
    print(totals(findings))
    return findings


def _look(uri: str, flags: Namespace) -> Iterator[Finding]:
    from pipeline.diagnosis.command_folders import command_folders
    from pipeline.diagnosis.command_runs import CommandRuns
    from pipeline.diagnosis.placement_groups import check_groups
    from pipeline.diagnosis.ray_instances import check_rays, find_cluster
    from pipeline.diagnosis.stale_runs import check_runs
    from pipeline.diagnosis.storage import check_folder
    from pipeline.diagnosis.versions import check_versions

    # Whatever may refuse the flags comes before the first finding, the quickest check first.
    cluster = find_cluster(flags.address)
    folders = command_folders(flags.storage or CommandConfig().storage, must_exist=flags.storage is not None)
    client = open_client(uri)
    records = CommandRuns(client)
    yield from check_rays()
    yield from check_runs(records, {folder.owner: folder.uri for folder in folders if folder.owner is not None})
    for folder in folders:
        yield from check_folder(folder, records)
    yield from check_versions(client)
    if cluster is not None:
        yield from check_groups(cluster, flags.address is not None)


if __name__ == "__main__":
    run_command(main)
