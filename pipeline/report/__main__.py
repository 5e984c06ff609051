"""The command that rebuilds a sweep's page from its records in MLflow, on any machine, without the sweep's folder.

python -m pipeline.report sweep-digits-1a2b3c4d
"""

import json
from argparse import Namespace
from pathlib import Path

from pipeline.config import resolve_tracking_uri
from pipeline.terminal.exits import run_command
from pipeline.terminal.flags import Parser
from pipeline.terminal.result_file import refuse_unwritable_file
from pipeline.tracking.server import existing_store


def build_parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.report", description="Make a sweep's page again, from its records in MLflow."
    )
    parser.add_argument(
        "sweep", nargs="?", metavar="SWEEP", help="its name or run id; default: the newest with a result"
    )
    where = parser.add_argument_group("records")
    where.add_argument("--tracking-uri", help="MLflow server or database; default: $MLFLOW_TRACKING_URI, ./mlflow.db")
    output = parser.add_argument_group("output")
    output.add_argument("--out", type=Path, metavar="FILE", help="the page; default: the sweep's name with .html, here")
    output.add_argument("--json", type=Path, metavar="FILE", help="also write what was made, for programs")
    return parser


def main() -> None:
    flags = build_parser().parse_args()
    refuse_unwritable_file("--out", flags.out)
    refuse_unwritable_file("--json", flags.json)
    _make(flags, resolve_tracking_uri(flags.tracking_uri))


def _make(flags: Namespace, uri: str) -> None:
    with existing_store(uri) as client:
        # Imported only now: these take seconds to import, and a usage error should be reported before that.
        from pipeline.page.sweep_records import read_sweep
        from pipeline.report.sweep_choice import find_sweep

        run = find_sweep(client, flags.sweep)
        name = str(run.info.run_name)
        out: Path = flags.out or Path(Path(f"{name}.html").name)  # the user may have given the run a name with slashes
        refuse_unwritable_file("--out", out)
        records = read_sweep(client, run.info.run_id)
    from pipeline.page.page import render_page, sections_of

    sections = sections_of(records)
    left_out = {section.anchor: section.left_out for section in sections if section.left_out}
    out.write_text(render_page(records.summary, sections), encoding="utf-8")
    for anchor, reason in left_out.items():
        print(f"left out: {anchor}: {reason}")
    print(f"{name}: {out} ({out.stat().st_size / 1e6:.1f} MB)")
    if flags.json:
        result = {"sweep": name, "run_id": run.info.run_id, "page": str(out.resolve()), "left_out": left_out}
        flags.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
