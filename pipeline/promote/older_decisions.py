"""Decisions from before the ledger: each a tag of the version it was about."""

import json
from dataclasses import dataclass

from mlflow import MlflowClient

from pipeline.registry.versions import search_versions

_TAG = "pipeline.promotion."


@dataclass(frozen=True)
class OlderDecision:
    """What was written down; nothing shows whether it was changed since."""

    event: str
    """`promote`, `refused` or `rollback`."""
    at: str
    """UTC, ISO 8601."""
    version: int
    replaced: int | None
    reason: str


def older_decisions(client: MlflowClient, model_name: str) -> list[OlderDecision]:
    """All of them, oldest first."""
    tags = [item for version in search_versions(client, model_name) for item in version.tags.items()]
    decisions = [_parse(value) for name, value in tags if name.startswith(_TAG)]
    return sorted(decisions, key=lambda decision: decision.at)


def _parse(text: str) -> OlderDecision:
    fields = json.loads(text)
    return OlderDecision(**{name: fields[name] for name in ("event", "at", "version", "replaced", "reason")})
