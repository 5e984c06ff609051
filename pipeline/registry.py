"""Model versions: registering, the gate between challenger and champion, roll-back, and the history of it all."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.config import experiment_name
from pipeline.exits import GateRefusedError, UsageError
from vit.image_files import folder_name
from vit.storage import Folder

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
_DECISION_TAG = "pipeline.promotion."


@dataclass(frozen=True)
class Measured:
    """How good a version was found to be before it was registered. It is kept as the version's tags."""

    test_digest: str
    """`Dataset.test_digest`: results on different test images do not compare."""
    test_correct: int
    test_images: int
    val_accuracy: float
    """Fraction, of the validation images."""

    def to_tags(self) -> dict[str, str]:
        figures = {**asdict(self), "test_accuracy": self.test_correct / self.test_images}
        return {f"pipeline.{name}": str(value) for name, value in figures.items()}

    @classmethod
    def from_tags(cls, tags: dict[str, str]) -> "Measured | None":
        """None for a version that something else than this pipeline registered."""
        try:
            return cls(
                test_digest=tags["pipeline.test_digest"],
                test_correct=int(tags["pipeline.test_correct"]),
                test_images=int(tags["pipeline.test_images"]),
                val_accuracy=float(tags["pipeline.val_accuracy"]),
            )
        except (KeyError, ValueError):
            return None

    def __str__(self) -> str:
        return f"{self.test_correct} of {self.test_images} test images right"


@dataclass(frozen=True)
class Decision:
    """What happened to the champion, or did not, when, and why. It is kept as a tag of the version it is about."""

    event: Literal["promote", "refused", "rollback"]
    at: str
    """UTC, ISO 8601 to the microsecond."""
    version: int
    replaced: int | None
    """The champion before; None for the first champion, and where nothing was replaced since the gate refused."""
    reason: str
    measured: Measured | None
    """Of `version`."""
    champion_measured: Measured | None
    """Of the champion that it was compared with."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version as the registry has it now."""

    version: int
    aliases: tuple[str, ...]
    measured: Measured | None
    run_id: str


def model_name_of(dataset: str) -> str:
    """The registered model of a data set, given by name or by the path of its folder.

    Raises:
        UsageError: empty, or `auto`: that is one data set on this machine and maybe another on the next.
    """
    if dataset in ("", "auto"):
        raise UsageError(f"--dataset is {dataset!r}, but must name the data set here, such as digits or cifar10")
    return experiment_name(folder_name(dataset))


def register(
    client: MlflowClient,
    model_name: str,
    run_id: str,
    weights: Folder,
    example_images: np.ndarray,
    measured: Measured,
    tags: dict[str, str],
    description: str,
) -> int:
    """Logs the model to the run, registers it as a new version and makes it the challenger.

    A command that died in between, or that is given again, registers nothing twice.

    Args:
        client: of `pipeline.tracking_server.open_client`, whose URI is MLflow's global one.
        model_name: the registered model; made if there is none.
        run_id: the run that trained the weights.
        weights: what `vit.checkpoint` saved: weights and card.
        example_images: uint8 (N, H, W, C), N >= 2: the signature's shape and the example in the UI.
        measured: what the gate will compare.
        tags: more tags of the version, by their full names, such as `pipeline.dataset`.
        description: of the version, in the registry's pages.

    Returns:
        The version's number.

    Raises:
        CheckpointError: the weights cannot be read.
    """
    tags = {**tags, **measured.to_tags(), "pipeline.run_id": run_id}
    version = _version_of(client, model_name, run_id, measured)
    if version is None:
        version = _new_version(client, model_name, run_id, weights, example_images, tags, description)
    client.set_registered_model_alias(model_name, CHALLENGER, str(version.version))
    return int(version.version)


def _version_of(client: MlflowClient, model_name: str, run_id: str, measured: Measured) -> ModelVersion | None:
    found = [version for version in _search_versions(client, model_name) if version.run_id == run_id]
    return next((version for version in found if Measured.from_tags(version.tags) == measured), None)


def _new_version(
    client: MlflowClient,
    model_name: str,
    run_id: str,
    weights: Folder,
    example_images: np.ndarray,
    tags: dict[str, str],
    description: str,
) -> ModelVersion:
    # It imports torch, which promoting and showing do without.
    from pipeline.served_model import log_served_model
    from vit.checkpoint import load_model

    model, card = load_model(weights)
    model_id = log_served_model(client, client.get_run(run_id), model, card, example_images)
    try:
        client.create_registered_model(model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return client.create_model_version(
        model_name,
        source=f"models:/{model_id}",
        run_id=run_id,
        model_id=model_id,
        tags=tags,
        description=description,
    )


def promote(client: MlflowClient, model_name: str) -> Decision:
    """Makes the challenger the champion if it classifies more of the same test images right, or if there is none.

    Raises:
        UsageError: no such registered model.
        GateRefusedError: no challenger, or the gate said no; a comparison is written down on the version.
    """
    aliases = _aliases(client, model_name)
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
    client.delete_registered_model_alias(model_name, CHALLENGER)
    return decision


def _compare(client: MlflowClient, model_name: str, challenger: int, champion: int | None) -> Decision:
    new = _measured(client, model_name, challenger)
    old = _measured(client, model_name, champion)
    is_better, reason = _judge(new, old, champion)
    if is_better:
        return Decision("promote", _now(), challenger, champion, reason, new, old)
    return Decision("refused", _now(), challenger, None, reason, new, old)


def _judge(new: Measured | None, old: Measured | None, champion: int | None) -> tuple[bool, str]:
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


def rollback(client: MlflowClient, model_name: str) -> Decision:
    """Gives the alias champion back to the version before; a second roll-back undoes the first.

    Raises:
        UsageError: no such registered model, or no other champion before this one.
    """
    aliases = _aliases(client, model_name)
    champion, previous = aliases.get(CHAMPION), aliases.get(PREVIOUS)
    if champion is None or previous is None or champion == previous:
        raise UsageError(f"--rollback: {model_name} had no champion before the present one, so there is no way back")
    new, old = (_measured(client, model_name, version) for version in (previous, champion))
    reason = f"rolled back from version {champion}"
    decision = Decision("rollback", _now(), previous, champion, reason, new, old)
    client.set_registered_model_alias(model_name, CHAMPION, str(previous))
    client.set_registered_model_alias(model_name, PREVIOUS, str(champion))
    _record(client, model_name, decision)
    return decision


def history(client: MlflowClient, model_name: str) -> list[Decision]:
    """Every decision about the model's versions, oldest first. Raises UsageError where there is no such model."""
    _aliases(client, model_name)  # a search for a model that does not exist finds nothing, and says nothing
    all_tags = [item for version in _search_versions(client, model_name) for item in version.tags.items()]
    decisions = [_decision_from_json(value) for tag, value in all_tags if tag.startswith(_DECISION_TAG)]
    return sorted(decisions, key=lambda decision: decision.at)


def list_versions(client: MlflowClient, model_name: str) -> list[RegisteredVersion]:
    """Every version of the model, oldest first. Raises UsageError where there is no such model."""
    aliases = _aliases(client, model_name)
    versions = []
    for found in _search_versions(client, model_name):
        number = int(found.version)
        its_aliases = tuple(sorted(alias for alias, version in aliases.items() if version == number))
        versions.append(RegisteredVersion(number, its_aliases, Measured.from_tags(found.tags), found.run_id or ""))
    return versions


def _search_versions(client: MlflowClient, model_name: str) -> list[ModelVersion]:
    found = client.search_model_versions(f"name='{model_name}'")
    return sorted(found, key=lambda version: int(version.version))


def _aliases(client: MlflowClient, model_name: str) -> dict[str, int]:
    try:
        model = client.get_registered_model(model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UsageError(f"there is no registered model {model_name}: run a sweep, or give another --model") from error
    return {alias: int(version) for alias, version in model.aliases.items()}


def _measured(client: MlflowClient, model_name: str, version: int | None) -> Measured | None:
    if version is None:
        return None
    return Measured.from_tags(client.get_model_version(model_name, str(version)).tags)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _record(client: MlflowClient, model_name: str, decision: Decision) -> None:
    # A tag's name takes no colon.
    tag = f"{_DECISION_TAG}{datetime.fromisoformat(decision.at):%Y%m%dT%H%M%S.%fZ}"
    client.set_model_version_tag(model_name, str(decision.version), tag, json.dumps(asdict(decision)))


def _decision_from_json(text: str) -> Decision:
    fields = json.loads(text)
    for name in ("measured", "champion_measured"):
        fields[name] = fields[name] and Measured(**fields[name])
    return Decision(**fields)
