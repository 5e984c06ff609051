"""A search space for comparing search methods: small ViTs for 32-pixel images, which a CPU core trains in seconds."""

from ray import tune

from tune_spaces.space import Domains, Space
from vit.data.arrays import DataShape


def _domains(shape: DataShape) -> Domains:
    return {
        "patch_size": tune.choice([4, 8]),
        "depth": tune.randint(2, 6),
        "num_heads": tune.choice([2, 3, 4]),
        "head_width": tune.choice([16, 32]),
        "global_pool": tune.choice(["token", "avg"]),
        "optimizer": tune.choice(["adamw", "muon"]),
        "learning_rate": tune.loguniform(1e-4, 2e-2),
        "weight_decay": tune.loguniform(1e-3, 0.3),
        "batch_size": tune.choice([32, 64, 128]),
        "label_smoothing": tune.choice([0.0, 0.1]),
        "attention_init": tune.choice(["timm", "mimetic"]),
        "position_init": tune.choice(["timm", "sincos"]),
        "patch_init": tune.choice(["timm", "whitening"]),
        "rotation": tune.choice([0.0, 15.0]),
    }


SPACE = Space(name="cheap", max_epochs=4, domains=_domains)
