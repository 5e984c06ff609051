"""The gate between challenger and champion, the way back, and the history of both."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from mlflow import MlflowClient

from pipeline.errors import GateRefusedError, UsageError
from pipeline.registry.versions import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    TestFigures,
    aliases_of,
    measured_of,
    search_versions,
)

_DECISION_TAG = "pipeline.promotion."


@dataclass(frozen=True)
class PromotionDecision:
    """What happened to the champion, or did not, when, and why. It is kept as a tag of the version it is about."""

    event: Literal["promote", "refused", "rollback"]
    at: str
    """UTC, ISO 8601 to the microsecond."""
    version: int
    replaced: int | None
    """The champion before; None for the first champion, and where nothing was replaced since the gate refused."""
    reason: str
    measured: TestFigures | None
    """Of `version`."""
    champion_measured: TestFigures | None
    """Of the champion that it was compared with."""


def promote(client: MlflowClient, model_name: str) -> PromotionDecision:
    """Makes the challenger the champion if it classifies more of the same test images right, or if there is none.

    Raises:
        UsageError: no such registered model.
        GateRefusedError: no challenger, or the gate said no; a comparison is written down on the version.
    """
    aliases = aliases_of(client, model_name)
    challenger, champion = aliases.get(CHALLENGER), aliases.get(CHAMPION)
    if challenger is None:
        held = f"version {champion} is the champion" if champion else "there is no champion either"
        raise GateRefusedError(f"{model_name} has no challenger to promote ({held}): run a sweep to get one")
    if challenger == champion:
        raise GateRefusedError(f"version {challenger} of {model_name} is the champion already: run a sweep for another")
    decision = _compare(client, model_name, challenger, champion)
    if decision.event == "refused":
        _record(client, model_name, decision)
        raise GateRefusedError(f"version {challenger} of {model_name} is not promoted: {decision.reason}")
    # In this order a command that is killed in between leaves a champion, and the way back to the one before.
    if champion is not None:
        client.set_registered_model_alias(model_name, PREVIOUS, str(champion))
    client.set_registered_model_alias(model_name, CHAMPION, str(challenger))
    _record(client, model_name, decision)
    if aliases_of(client, model_name).get(CHALLENGER) == challenger:  # else a sweep has registered another meanwhile
        client.delete_registered_model_alias(model_name, CHALLENGER)
    return decision


def _compare(client: MlflowClient, model_name: str, challenger: int, champion: int | None) -> PromotionDecision:
    new = measured_of(client, model_name, challenger)
    old = measured_of(client, model_name, champion)
    is_better, reason = _passes_gate(new, old, champion)
    if is_better:
        return PromotionDecision("promote", _now(), challenger, champion, reason, new, old)
    return PromotionDecision("refused", _now(), challenger, None, reason, new, old)


def _passes_gate(new: TestFigures | None, old: TestFigures | None, champion: int | None) -> tuple[bool, str]:
    """Whether the challenger passes, and why."""
    if new is None:
        return False, "it has no test figures (tag pipeline.test_digest and others): register it through a sweep"
    if champion is None:
        return True, f"first champion, with {new}"
    if old is None:
        return False, (
            f"the champion, version {champion}, has no test figures (tag pipeline.test_digest and others):"
            " register it through a sweep, or remove its alias champion"
        )
    if new.test_digest != old.test_digest:
        return False, (
            f"it and the champion, version {champion}, were measured on different test images ({new.test_digest[:15]}"
            f" and {old.test_digest[:15]}): run a sweep on the champion's data set, or give the new one another name"
        )
    is_better = new.test_correct > old.test_correct
    more = "more" if is_better else "not more"
    return is_better, f"{new}, {more} than the {old.test_correct} of the champion, version {champion}"


def rollback(client: MlflowClient, model_name: str) -> PromotionDecision:
    """Gives the alias champion back to the version before; a second roll-back undoes the first.

    Raises:
        UsageError: no such registered model, or no other champion before this one.
    """
    aliases = aliases_of(client, model_name)
    champion, previous = aliases.get(CHAMPION), aliases.get(PREVIOUS)
    cut_off = _cut_off_rollback(client, model_name, champion, previous)
    if cut_off is not None:
        client.set_registered_model_alias(model_name, PREVIOUS, str(cut_off.replaced))
        return cut_off
    if champion is None or previous is None or champion == previous:
        raise UsageError(f"--rollback: {model_name} had no champion before the present one, so there is no way back")
    new, old = (measured_of(client, model_name, version) for version in (previous, champion))
    reason = f"rolled back from version {champion}"
    decision = PromotionDecision("rollback", _now(), previous, champion, reason, new, old)
    # The record first: by it a command that is killed in between is brought to its end when it is given again.
    _record(client, model_name, decision)
    client.set_registered_model_alias(model_name, CHAMPION, str(previous))
    client.set_registered_model_alias(model_name, PREVIOUS, str(champion))
    return decision


def _cut_off_rollback(
    client: MlflowClient, model_name: str, champion: int | None, previous: int | None
) -> PromotionDecision | None:
    """The roll-back that was killed between its two aliases, which then both name the same version."""
    if champion is None or champion != previous:
        return None
    last = next(reversed(history(client, model_name)), None)
    return last if last is not None and (last.event, last.version) == ("rollback", champion) else None


def history(client: MlflowClient, model_name: str) -> list[PromotionDecision]:
    """Every decision about the model's versions, oldest first. Raises UsageError where there is no such model."""
    aliases_of(client, model_name)  # a search for a model that does not exist finds nothing, and says nothing
    all_tags = [item for version in search_versions(client, model_name) for item in version.tags.items()]
    decisions = [_decision_from_json(value) for tag, value in all_tags if tag.startswith(_DECISION_TAG)]
    return sorted(decisions, key=lambda decision: decision.at)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _record(client: MlflowClient, model_name: str, decision: PromotionDecision) -> None:
    # A tag's name takes no colon.
    tag = f"{_DECISION_TAG}{datetime.fromisoformat(decision.at):%Y%m%dT%H%M%S.%fZ}"
    client.set_model_version_tag(model_name, str(decision.version), tag, json.dumps(asdict(decision)))


def _decision_from_json(text: str) -> PromotionDecision:
    fields = json.loads(text)
    for name in ("measured", "champion_measured"):
        fields[name] = fields[name] and TestFigures(**fields[name])
    return PromotionDecision(**fields)
