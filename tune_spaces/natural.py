"""The search space for natural images of 32 pixels and more, such as CIFAR-10.

Question: which shape, which initialisation and which regularisation let a small ViT learn most from few natural images?
Budget: 32 trials of at most 30 epochs, the published length; ASHA spends about a quarter of that.
Every sweep begins with the published configuration and with `fast30-conv`, the best known recipe for few epochs. It has
no CutMix here, which only long trainings gain from.
"""

from dataclasses import replace

from ray import tune

from tune_spaces.space import Domains, Space, patch_sizes
from vit.data.arrays import DataShape
from vit.model.config import ViTConfig
from vit.training.recipes import Recipe, fast30_conv, published_patch_size


def _domains(shape: DataShape) -> Domains:
    # 200 patches at most: attention and memory grow with their number (14 x 14 patches of 224-pixel images are 196).
    patches = patch_sizes(shape.img_size, fewest=16, most=200) or [published_patch_size(shape.img_size)]
    mirrored: Domains = {"flip_alternates": tune.choice([False, True])} if shape.mirror_safe else {}
    return {
        "patch_size": tune.choice(patches),
        "depth": tune.randint(4, 10),
        "num_heads": tune.choice([3, 4, 6]),
        "head_width": tune.choice([32, 48, 64]),
        "global_pool": tune.choice(["token", "avg"]),
        "stem": tune.choice(["patch", "conv"]),
        "drop_path_rate": tune.choice([0.0, 0.1]),
        "optimizer": tune.choice(["adamw", "muon"]),
        "learning_rate": tune.loguniform(5e-4, 8e-3),
        "schedule": tune.choice(["cosine", "linear"]),
        "weight_decay": tune.loguniform(1e-3, 0.3),
        "batch_size": tune.choice([64, 128, 256]),
        "warmup_epochs": tune.choice([0.0, 1.0]),
        "label_smoothing": tune.choice([0.0, 0.1]),
        "clip_grad": tune.choice([0.0, 1.0]),
        "ema_decay": tune.choice([0.0, 0.99, 0.995]),
        "attention_init": tune.choice(["timm", "mimetic"]),
        "position_init": tune.choice(["timm", "sincos"]),
        "patch_init": tune.choice(["timm", "whitening"]),
        "rotation": tune.choice([0.0, 15.0]),
        "crop_padding": tune.choice([0, shape.img_size // 8]),
        "cutout": tune.choice([0, shape.img_size // 4]),
        "cutmix": tune.choice([0.0, 0.5]),
        **mirrored,
    }


def _best_known(shape: DataShape) -> tuple[ViTConfig, Recipe]:
    model, recipe = fast30_conv(shape)
    return model, replace(recipe, cutmix=0.0)


SPACE = Space(name="natural", max_epochs=30, domains=_domains, base=_best_known)
