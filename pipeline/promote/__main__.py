"""The command that promotes the challenger of a registered model through the gate, rolls back, or shows the history."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from pipeline.config import resolve_tracking_uri
from pipeline.errors import GateRefusedError, PipelineError
from pipeline.promote.flags import build_parser, check_flags, gate_config_of
from pipeline.promote.notification import notify
from pipeline.terminal.exits import run_command
from pipeline.tracking.server import existing_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipeline.promote.ledger import LedgerEntry


def main() -> None:
    flags = build_parser().parse_args()
    run_command(lambda: _run(flags))


def _run(flags: argparse.Namespace) -> None:
    check_flags(flags)
    gate_config_of(flags)
    with existing_store(resolve_tracking_uri(flags.tracking_uri)) as client:
        # Imported only here: the import takes seconds, which `--help` and wrong usage should not cost.
        from pipeline.registry.versions import model_name_of

        act = _show_history if flags.history else _roll_back if flags.rollback else _promote
        act(client, flags.model or model_name_of(flags.dataset), flags)


def _promote(client: "MlflowClient", model_name: str, flags: argparse.Namespace) -> None:
    from pipeline.promote.promotion import decision_of, promote
    from pipeline.promote.verdict_table import show_verdict

    reason = flags.reason if flags.force else None
    done = promote(client, model_name, gate_config_of(flags), print, flags.dataset, reason, flags.dry_run)
    show_verdict(done.verdict)
    _write_json(flags, {"model": model_name, **done.to_dict()})
    if done.refusal is not None:
        raise GateRefusedError(done.refusal)
    if done.entry is None:
        print(f"dry run: {model_name} version {done.verdict.challenger.version} would be promoted; nothing was changed")
        return
    _tell(done.entry, decision_of(done.entry), flags)


def _roll_back(client: "MlflowClient", model_name: str, flags: argparse.Namespace) -> None:
    from pipeline.promote.promotion import decision_of
    from pipeline.promote.rollback import roll_back

    entry = roll_back(client, model_name, print, flags.to, flags.reason)
    decision = decision_of(entry)
    _write_json(flags, {"model": model_name, "decision": decision})
    _tell(entry, decision, flags)


def _show_history(client: "MlflowClient", model_name: str, flags: argparse.Namespace) -> None:
    from pipeline.promote.history import read_history

    history = read_history(client, model_name)
    for line in history.lines:
        print(line)
    _write_json(flags, history.to_dict())
    if history.broken is not None:
        raise PipelineError(history.broken)


def _tell(entry: "LedgerEntry", decision: dict[str, Any], flags: argparse.Namespace) -> None:
    said = entry.decision
    print(f"{said.model} version {said.to_version} is the champion ({said.event}): {said.why}")
    if said.from_version is not None:
        print(f"  version {said.from_version} is now previous")
    print(f'  mlflow.pyfunc.load_model("models:/{said.model}@champion")')
    if flags.notify is not None:
        notify(flags.notify, decision)


def _write_json(flags: argparse.Namespace, result: dict[str, Any]) -> None:
    if flags.json is not None:
        flags.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
