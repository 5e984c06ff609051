"""Finds the two versions of a registered model that the gate compares: the challenger and the champion."""

from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from pipeline.errors import GateRefusedError
from pipeline.registry.versions import CHALLENGER, CHAMPION, TestFigures, aliases_of


@dataclass(frozen=True)
class Contenders:
    """The challenger and the champion, if there is one; both were measured on the same test images."""

    challenger: ModelVersion
    champion: ModelVersion | None
    test_digest: str

    @property
    def challenger_number(self) -> int:
        return int(self.challenger.version)

    @property
    def champion_number(self) -> int | None:
        return None if self.champion is None else int(self.champion.version)


def find_contenders(client: MlflowClient, model_name: str) -> Contenders:
    """Returns the versions with the aliases `challenger` and `champion`.

    Raises:
        UsageError: there is no such registered model.
        GateRefusedError: there is no challenger, it is the champion already, or the two cannot be compared.
    """
    aliases = aliases_of(client, model_name)
    challenger, champion = aliases.get(CHALLENGER), aliases.get(CHAMPION)
    if challenger is None:
        held = f"version {champion} is the champion" if champion else "there is no champion either"
        raise GateRefusedError(f"{model_name} has no challenger to promote ({held}): run a sweep to get one")
    if challenger == champion:
        raise GateRefusedError(f"version {challenger} of {model_name} is the champion already: run a sweep for another")
    new = client.get_model_version(model_name, str(challenger))
    old = None if champion is None else client.get_model_version(model_name, str(champion))
    return Contenders(new, old, _common_test_digest(model_name, new, old))


def _common_test_digest(model_name: str, new: ModelVersion, old: ModelVersion | None) -> str:
    refused = f"version {new.version} of {model_name} is not promoted:"
    new_figures = TestFigures.from_tags(new.tags)
    if new_figures is None:
        raise GateRefusedError(
            f"{refused} it has no test figures (tag pipeline.test_digest and others): register it through a sweep"
        )
    if old is None:
        return new_figures.test_digest
    old_figures = TestFigures.from_tags(old.tags)
    if old_figures is None:
        raise GateRefusedError(
            f"{refused} the champion, version {old.version}, has no test figures (tag pipeline.test_digest and others):"
            " register it through a sweep, or remove its alias champion"
        )
    # With different test sets, one version's test images may be among the other's training images.
    if new_figures.test_digest != old_figures.test_digest:
        raise GateRefusedError(
            f"{refused} it and the champion, version {old.version}, were measured on different test images"
            f" ({new_figures.test_digest} and {old_figures.test_digest}): run a sweep on the champion's data set, or"
            " give the new one another name"
        )
    return new_figures.test_digest
