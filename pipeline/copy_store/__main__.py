"""The command that copies a personal tracking store into a team's server.

python -m pipeline.copy_store --from sqlite:///mlflow.db --to postgresql+psycopg2:///mlflow --artifacts /srv/artifacts
"""

import json
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import resolve_tracking_uri
from pipeline.terminal.exits import run_command
from pipeline.terminal.flags import Parser
from pipeline.terminal.result_file import refuse_unwritable_file
from pipeline.tracking.server import prepare_mlflow

if TYPE_CHECKING:
    from pipeline.copy_store.copying import StoreCopy
    from pipeline.copy_store.rows import Counts


def main() -> None:
    flags = _parser().parse_args()
    refuse_unwritable_file("--json", flags.json)
    copied = _copy(flags)
    _show(copied)
    if flags.json is not None:
        Path(flags.json).write_text(json.dumps(asdict(copied), indent=2) + "\n", encoding="utf-8")


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.copy_store",
        description="Copy runs, models and files from your own store into a team's server; all keep their ids. Run it "
        "where the server's database and files are. Given again, also after a kill, it continues and duplicates "
        "nothing.",
    )
    parser.add_argument(
        "--from", dest="source", default="sqlite:///mlflow.db", help="database to copy; it is only read"
    )
    parser.add_argument("--to", dest="target", required=True, help="the server's database, as its --backend-store-uri")
    parser.add_argument("--artifacts", required=True, help="folder or URI, as the server's --artifacts-destination")
    parser.add_argument("--json", metavar="FILE", help="write what was copied to this file")
    return parser


def _copy(flags: Namespace) -> "StoreCopy":
    source = resolve_tracking_uri(flags.source)
    prepare_mlflow()
    # Imported only here: the import takes seconds, for which `--help` and errors in usage should not have to wait.
    from pipeline.copy_store.artifacts import usable_folder
    from pipeline.copy_store.copying import copy_store
    from pipeline.copy_store.tables import opened

    with opened("--from", source) as ours, opened("--to", flags.target) as theirs:
        return copy_store(ours, theirs, usable_folder(flags.artifacts), print)


def _show(copied: "StoreCopy") -> None:
    for name, count in copied.left.items():
        print(f"left behind: {count} rows of {name}, which no training writes")
    kept = {f"rows of {name}": counts.changed for name, counts in copied.rows.items()}
    for what, count in {**kept, "files": copied.changed_files}.items():
        if count:
            print(f"kept: {count} {what} that differ in --to since they were copied")
    rows = copied.rows
    print(
        f"{len(copied.experiments)} experiments, {_all(rows['runs'])} runs, {_all(rows['metrics'])} metric values, "
        f"{_all(rows['model_versions'])} model versions, {copied.files} files ({copied.size / 1e6:.1f} MB): all there, "
        f"{sum(each.added for each in rows.values())} rows new; each row and file was read back"
    )


def _all(counts: "Counts") -> int:
    return counts.added + counts.there


if __name__ == "__main__":
    run_command(main)
