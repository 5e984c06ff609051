"""The search space over the recipe alone: the model has one shape, and only how it is trained varies.

Question: how good can the model shape of `fast30` become by the way of training alone?
Budget: 32 trials of at most 30 epochs, the published length; ASHA spends about a quarter of that.
Every sweep begins with the published configuration and with `fast30`.
"""

from ray import tune

from tune_spaces.space import Domains, Space
from vit.data.arrays import DataShape
from vit.training.recipes import fast30


def _domains(shape: DataShape) -> Domains:
    mirrored: Domains = {"flip_alternates": tune.choice([False, True])} if shape.mirror_safe else {}
    return {
        "learning_rate": tune.loguniform(5e-4, 8e-3),
        "weight_decay": tune.loguniform(1e-3, 0.3),
        "warmup_epochs": tune.uniform(0.0, 2.0),
        "label_smoothing": tune.uniform(0.0, 0.2),
        "clip_grad": tune.choice([0.0, 1.0]),
        "ema_decay": tune.choice([0.0, 0.99, 0.995, 0.998]),
        "attention_init": tune.choice(["timm", "mimetic"]),
        "position_init": tune.choice(["timm", "sincos"]),
        "patch_init": tune.choice(["timm", "whitening"]),
        "rotation": tune.choice([0.0, 15.0]),
        "crop_padding": tune.choice([0, shape.img_size // 16, shape.img_size // 8]),
        "cutout": tune.choice([0, shape.img_size // 8, shape.img_size // 4]),
        "cutmix": tune.choice([0.0, 0.5]),
        **mirrored,
    }


SPACE = Space(name="recipe", max_epochs=30, domains=_domains, base=fast30)
