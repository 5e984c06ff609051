"""The search space for small images (under 32 pixels): digits, MNIST, thumbnails.

Question: how fine must the patches be, and how small a ViT is enough, where images have few pixels and differ in little
but the shapes that they show?
Budget: 32 trials of at most 45 epochs; ASHA spends about a quarter of that.
"""

from ray import tune

from tune_spaces.space import Domains, Space, patch_sizes
from vit.data.arrays import DataShape
from vit.training.recipes import published_patch_size


def _domains(shape: DataShape) -> Domains:
    patches = patch_sizes(shape.img_size, fewest=4, most=64) or [published_patch_size(shape.img_size)]
    return {
        "patch_size": tune.choice(patches),
        "depth": tune.randint(2, 7),
        "num_heads": tune.choice([2, 3, 4]),
        "head_width": tune.choice([16, 32, 48]),
        "global_pool": tune.choice(["token", "avg"]),
        "stem": tune.choice(["patch", "conv"]),
        "learning_rate": tune.loguniform(3e-4, 5e-3),
        "weight_decay": tune.loguniform(1e-3, 0.3),
        "batch_size": tune.choice([32, 64, 128]),
        "warmup_epochs": tune.choice([0.0, 2.0]),
        "label_smoothing": tune.choice([0.0, 0.1]),
        "rotation": tune.choice([0.0, 8.0, 15.0]),
        "crop_padding": tune.choice([0, 1]),
    }


SPACE = Space(
    name="small",
    max_epochs=45,
    domains=_domains,
)
