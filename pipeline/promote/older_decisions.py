"""Reads the decisions from before the ledger, each of which is a tag of the version it was about."""

import json
from dataclasses import dataclass

from mlflow import MlflowClient

from pipeline.registry.versions import search_versions

_TAG = "pipeline.promotion."


@dataclass(frozen=True)
class OlderDecision:
    """A decision as it was recorded; nothing shows whether the record was changed since."""

    event: str
    """`promote`, `refused` or `rollback`."""
    at: str
    """UTC, ISO 8601."""
    version: int
    replaced: int | None
    reason: str


def older_decisions(client: MlflowClient, model_name: str) -> list[OlderDecision]:
    """Returns all decisions from before the ledger, oldest first."""
    tags = [item for version in search_versions(client, model_name) for item in version.tags.items()]
    decisions = [_parse(value) for name, value in tags if name.startswith(_TAG)]
    return sorted(decisions, key=lambda decision: decision.at)


def _parse(text: str) -> OlderDecision:
    fields = json.loads(text)
    return OlderDecision(**{name: fields[name] for name in ("event", "at", "version", "replaced", "reason")})
