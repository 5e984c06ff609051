"""Makes decisions for the ledger, without a gate."""

from pipeline.promote.ledger import Decision, Event


def decision(to: int, from_version: int | None = None, event: Event = "promoted", model: str = "vit-x") -> Decision:
    """Returns a decision by a fixed user at a fixed time; decisions on other versions also have another nonce."""
    return Decision(
        event=event,
        model=model,
        from_version=from_version,
        to_version=to,
        why="naïve: better",
        who="ann@host",
        at="2026-11-25T10:00:00+00:00",
        to_source=f"models:/m-{to}",
        to_files=f"sha256:{to}",
        from_files=None,
        table="sha256:t",
        gate_run_id="r",
        nonce=f"{to:016d}",
    )
