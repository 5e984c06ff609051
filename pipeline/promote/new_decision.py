"""Creates decisions for the ledger, filling in who decides and when."""

import secrets
import socket
from datetime import UTC, datetime

from mlflow.entities.model_registry import ModelVersion

from pipeline.promote.ledger import Decision, Event
from pipeline.session.lock import os_user

LONGEST_WHY = 2500
"""The most characters of a reason: the rest of an entry takes fewer than 1,000, and MLflow accepts 6,000."""


def new_decision(
    event: Event,
    to: ModelVersion,
    from_version: int | None,
    why: str,
    to_files: str,
    from_files: str | None = None,
    table: str | None = None,
    gate_run_id: str | None = None,
) -> Decision:
    """Returns a decision made by this process now; see `Decision` for the arguments."""
    return Decision(
        event=event,
        model=str(to.name),
        from_version=from_version,
        to_version=int(to.version),
        why=why if len(why) <= LONGEST_WHY else f"{why[: LONGEST_WHY - 3]}...",
        who=f"{os_user()}@{socket.gethostname()}",
        at=now(),
        to_source=str(to.source),
        to_files=to_files,
        from_files=from_files,
        table=table,
        gate_run_id=gate_run_id,
        nonce=secrets.token_hex(8),
    )


def now() -> str:
    """Returns the current time in UTC, as ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
