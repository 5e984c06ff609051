"""A registered model whose versions have figures, and no files."""

import itertools
from dataclasses import dataclass

from mlflow import MlflowClient

from pipeline.registry import gate
from pipeline.registry import versions as registry

_numbers = itertools.count()


@dataclass(frozen=True)
class Versions:
    """A registered model of its own for each test."""

    client: MlflowClient
    name: str

    def add(self, correct: int, digest: str = "sha256:same") -> int:
        """A new challenger that gets `correct` of 100 test images right."""
        measured = registry.TestFigures(digest, correct, test_images=100, val_accuracy=0.5)
        return self.add_bare(measured.to_tags())

    def add_bare(self, tags: dict[str, str]) -> int:
        version = self.client.create_model_version(self.name, source="file:///nowhere", tags=tags)
        self.client.set_registered_model_alias(self.name, registry.CHALLENGER, version.version)
        return int(version.version)

    def promote(self) -> gate.PromotionDecision:
        return gate.promote(self.client, self.name)

    def rollback(self) -> gate.PromotionDecision:
        return gate.rollback(self.client, self.name)

    def aliases(self) -> dict[str, int]:
        aliases = self.client.get_registered_model(self.name).aliases
        return {alias: int(version) for alias, version in aliases.items()}


def new_model(uri: str) -> Versions:
    """One more registered model of a tracking store, without versions."""
    client, name = MlflowClient(uri), f"vit-{next(_numbers)}"
    client.create_registered_model(name)
    return Versions(client, name)
