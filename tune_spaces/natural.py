"""Natural images of 32 pixels and more: CIFAR-10 and its kin.

Question: what does the published ViT lack most on few natural images: a convolutional stem, another shape, another
step size, or regularisation?
Budget: 32 trials of at most 30 epochs, the published length; ASHA spends about a quarter of that.
"""

from ray import tune

from tune_spaces.space import Domains, Space, patch_sizes
from vit.data.arrays import DataShape
from vit.training.recipes import published_patch_size


def _domains(shape: DataShape) -> Domains:
    # 200 patches at most: attention and memory grow with their number (14 x 14 patches of 224-pixel images are 196).
    patches = patch_sizes(shape.img_size, fewest=16, most=200) or [published_patch_size(shape.img_size)]
    return {
        "patch_size": tune.choice(patches),
        "depth": tune.randint(4, 10),
        "num_heads": tune.choice([3, 4, 6]),
        "head_width": tune.choice([32, 48, 64]),
        "global_pool": tune.choice(["token", "avg"]),
        "stem": tune.choice(["patch", "conv"]),
        "drop_path_rate": tune.choice([0.0, 0.1]),
        "learning_rate": tune.loguniform(2e-4, 3e-3),
        "weight_decay": tune.loguniform(1e-3, 0.3),
        "batch_size": tune.choice([64, 128, 256]),
        "warmup_epochs": tune.choice([0.0, 1.0]),
        "label_smoothing": tune.choice([0.0, 0.1]),
        "clip_grad": tune.choice([0.0, 1.0]),
        "rotation": tune.choice([0.0, 15.0]),
        "crop_padding": tune.choice([0, shape.img_size // 8]),
    }


SPACE = Space(
    name="natural",
    question="what does the published ViT lack most on few natural images?",
    max_epochs=30,
    domains=_domains,
)
