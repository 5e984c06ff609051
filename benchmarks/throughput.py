"""Claim: on a CPU `vit` trains the published model at least twice as fast as the published code written out plainly.

Times five ways to train the same model on the same images, in turn, round by round, in one process:

- `vit, compiled`: `vit.fused.compiled_fit.CompiledFit`, the whole step compiled, where there is a C++ compiler.
- `vit`: `vit.training.fit.Fit`. Both of these use the precision that `vit.training.precision` chooses here.
- `plain`: the model as tutorials write it (separate query, key and value layers, attention written out), fp32, in the
  loop as they write it, with torch's default AdamW, fed by the same batch augmentation as `vit`.
- `timm`: timm's `VisionTransformer` of that shape in place of the plain model, in `vit`'s precision, but with the plain
  loop and the default AdamW, where `vit` has its own loop and the fused AdamW. So its difference from `vit` is not due
  to the model alone.
- `torchvision`: the plain model fed the usual way, image by image through PIL transforms and a `DataLoader`.

Before any timing, the plain model's weights are copied into `vit`'s, and from there into timm's: all must give the same
logits. The first round of each way is a warm-up and is not counted. A round is timed from before the shuffle to after
the last step; validation is left out. The loader's workers stay alive between rounds, since a real epoch is too long
for their start to matter.

    python -m benchmarks.throughput [--dataset NAME|PATH] [--rounds 5] [--workers 2] [--json FILE]
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shutil import which

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from benchmarks.machine import machine_line
from vit.data.arrays import ImageArrays
from vit.data.dataset import DataConfig, load_dataset
from vit.data.normalisation import Normalisation, measure_normalisation
from vit.fused.loop import training_loop
from vit.model.config import ViTConfig
from vit.model.vision_transformer import VisionTransformer
from vit.training.augment import augment, draw
from vit.training.precision import Precision, autocast, faster_precision
from vit.training.recipes import PUBLISHED_MODEL, PUBLISHED_RECIPE
from vit.training.runtime import Runtime, Split

BATCHES_PER_ROUND = 4
IMAGES_PER_ROUND = BATCHES_PER_ROUND * PUBLISHED_RECIPE.batch_size
CPU = torch.device("cpu")


class PlainAttention(nn.Module):
    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.head_dim = config.embed_dim // config.num_heads
        self.query = nn.Linear(config.embed_dim, config.embed_dim)
        self.key = nn.Linear(config.embed_dim, config.embed_dim)
        self.value = nn.Linear(config.embed_dim, config.embed_dim)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)

    def _split_heads(self, tokens: Tensor) -> Tensor:
        """Splits (N, length, width) into (N, heads, length, head_dim)."""
        return tokens.view(*tokens.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = (self._split_heads(layer(tokens)) for layer in (self.query, self.key, self.value))
        weights = torch.softmax(query @ key.transpose(-2, -1) / self.head_dim**0.5, dim=-1)
        mixed = (weights @ value).transpose(1, 2).reshape(tokens.shape)
        projected: Tensor = self.proj(mixed)
        return projected


class PlainMlp(nn.Module):
    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        hidden = round(config.embed_dim * config.mlp_ratio)
        self.fc1 = nn.Linear(config.embed_dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, config.embed_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden: Tensor = self.fc2(self.act(self.fc1(tokens)))
        return hidden


class PlainBlock(nn.Module):
    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.attn = PlainAttention(config)
        self.norm2 = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.mlp = PlainMlp(config)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return tokens


class PlainPatchEmbed(nn.Module):
    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(config.in_chans, config.embed_dim, config.patch_size, stride=config.patch_size)

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.proj(images)
        return tokens.flatten(2).transpose(1, 2)


class PlainViT(nn.Module):
    """Maps normalised images (N, in_chans, img_size, img_size) to logits (N, num_classes)."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.patch_embed = PlainPatchEmbed(config)
        self.cls_token = nn.Parameter(torch.randn(1, 1, config.embed_dim) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, config.num_patches + 1, config.embed_dim) * 0.02)
        self.blocks = nn.Sequential(*(PlainBlock(config) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(config.embed_dim, eps=1e-6)
        self.head = nn.Linear(config.embed_dim, config.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patch_embed(images)
        tokens = torch.cat((self.cls_token.expand(len(tokens), -1, -1), tokens), dim=1) + self.pos_embed
        logits: Tensor = self.head(self.norm(self.blocks(tokens))[:, 0])
        return logits


def assert_same_model(config: ViTConfig) -> None:
    """Fails unless the plain model's weights, copied into `vit`'s model, give the same logits."""
    plain, ours = PlainViT(config).eval(), VisionTransformer(config).eval()
    theirs = plain.state_dict()
    parts = ("query", "key", "value")
    # Strict: a parameter that only one of the two has is an error.
    fused = {name: value for name, value in theirs.items() if not any(f".attn.{part}." in name for part in parts)}
    for block in range(config.depth):
        for kind in ("weight", "bias"):
            layers = [theirs[f"blocks.{block}.attn.{part}.{kind}"] for part in parts]
            fused[f"blocks.{block}.attn.qkv.{kind}"] = torch.cat(layers)
    ours.load_state_dict(fused, strict=True)
    assert sum(parameter.numel() for parameter in plain.parameters()) == ours.num_parameters
    timms = timm_model(config).eval()
    timms.load_state_dict(ours.state_dict(), strict=True)
    images = torch.randn(8, config.in_chans, config.img_size, config.img_size)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), plain(images), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours(images), timms(images), rtol=1e-4, atol=1e-5)


def timm_model(config: ViTConfig) -> nn.Module:
    model: nn.Module = TimmVisionTransformer(
        img_size=config.img_size,
        patch_size=config.patch_size,
        in_chans=config.in_chans,
        num_classes=config.num_classes,
        embed_dim=config.embed_dim,
        depth=config.depth,
        num_heads=config.num_heads,
    )
    return model


class PilImages(Dataset[tuple[Tensor, int]]):
    """Gives one image at a time, as torchvision's own data sets do."""

    def __init__(self, arrays: ImageArrays, normalisation: Normalisation) -> None:
        self.arrays = arrays
        self.transform = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.RandomRotation(PUBLISHED_RECIPE.rotation),
                transforms.ToTensor(),
                transforms.Normalize(normalisation.mean, normalisation.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image: Tensor = self.transform(to_pil_image(self.arrays.images[index]))
        return image, int(self.arrays.labels[index])


class AugmentedBatches:
    """Shuffled batches with `vit`'s augmentation, both drawn again in every epoch."""

    def __init__(self, arrays: ImageArrays, normalisation: Normalisation) -> None:
        self.split = Split.of(arrays, CPU)
        self.normalisation = normalisation
        self.generator = torch.Generator().manual_seed(0)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for chosen in torch.randperm(len(self.split.labels)).split(PUBLISHED_RECIPE.batch_size):
            draws = draw(len(chosen), PUBLISHED_MODEL.img_size, PUBLISHED_RECIPE, self.generator)
            yield self.normalisation(augment(self.split.images[chosen], draws)), self.split.labels[chosen]


Round = Callable[[], float]
"""Trains on every image once and returns the seconds that it took."""


def vit_round(config: ViTConfig, arrays: ImageArrays, normalisation: Normalisation, runtime: Runtime) -> Round:
    train = Split.of(arrays, CPU)
    validation = Split(train.images[:1], train.labels[:1])
    loop = training_loop(config, PUBLISHED_RECIPE, runtime, train, validation, normalisation, seed=0)
    return lambda: loop.run_epoch().train_seconds


def loop_round(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], precision: Precision) -> Round:
    """A round of the training loop as tutorials write it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=PUBLISHED_RECIPE.learning_rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=PUBLISHED_RECIPE.epochs)

    def run() -> float:
        started = time.perf_counter()
        model.train()
        loss_sum, correct = 0.0, 0
        for images, labels in batches:
            optimizer.zero_grad()
            with autocast(CPU, precision):
                logits = model(images)
            loss = F.cross_entropy(logits.float(), labels)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
            correct += int((logits.argmax(dim=1) == labels).sum().item())
        scheduler.step()
        return time.perf_counter() - started

    return run


@dataclass(frozen=True)
class Column:
    """Images per second of one way to train, round by round."""

    name: str
    images_per_second: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.images_per_second)


def measure(ways: dict[str, Round], rounds: int) -> list[Column]:
    """Runs the ways in turn, so that other load on the machine affects all alike; one warm-up round comes first."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(rounds + 1):
        for name, train in ways.items():
            rate = IMAGES_PER_ROUND / train()
            if index > 0:
                rates[name].append(rate)
    return [Column(name, tuple(values)) for name, values in rates.items()]


def table(columns: Sequence[Column]) -> str:
    """Markdown: each way's median, and how many times as fast the first way is, with the range over the rounds."""
    first = columns[0]
    lines = ["| | images/s, median (min to max) | the first is faster by (min to max) |", "|---|---|---|"]
    for column in columns:
        rates = column.images_per_second
        ratios = [ours / theirs for ours, theirs in zip(first.images_per_second, rates, strict=True)]
        gain = f"{first.median / column.median:.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
        speed = f"{column.median:.0f} ({min(rates):.0f} to {max(rates):.0f})"
        lines.append(f"| {column.name} | {speed} | {'' if column is first else gain} |")
    return "\n".join(lines)


def machine() -> str:
    return f"{machine_line()}, {torch.get_num_threads()} threads"


def load_images(dataset: str | None) -> tuple[ImageArrays, int, str]:
    """A round's images, the number of classes and the source; random images if no data set is named or available."""
    local = os.environ.get("VIT_DATA_DIR")
    if dataset is None and local and (Path(local) / "cifar10").is_dir():
        dataset = "cifar10"
    if dataset is not None:
        config = DataConfig(dataset=dataset, img_size=PUBLISHED_MODEL.img_size, train_limit=IMAGES_PER_ROUND)
        loaded = load_dataset(config)
        return loaded.train, loaded.num_classes, loaded.name
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES_PER_ROUND, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, IMAGES_PER_ROUND)
    return ImageArrays(images, labels), 10, "RANDOM IMAGES: no $VIT_DATA_DIR/cifar10 and no --dataset"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", help="name or path; CIFAR-10 from $VIT_DATA_DIR, else random images, by default")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds, after one warm-up")
    parser.add_argument("--workers", type=int, default=2, help="processes of the torchvision DataLoader; 0: none")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here, too")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.workers < 0:
        parser.error(f"--rounds is {arguments.rounds} (at least 1), --workers is {arguments.workers} (at least 0)")
    return arguments


def main() -> None:
    arguments = parse()
    arrays, num_classes, source = load_images(arguments.dataset)
    config = replace(PUBLISHED_MODEL, in_chans=arrays.images.shape[3], num_classes=num_classes)
    assert_same_model(config)
    print(f"data: {source}; {arguments.rounds} rounds of {IMAGES_PER_ROUND} images; same model: yes")
    precision = faster_precision(config, PUBLISHED_RECIPE.batch_size, CPU)
    print(f"machine: {machine()}; precision chosen: {precision}", flush=True)
    normalisation = measure_normalisation(arrays.images)
    loader = DataLoader(
        PilImages(arrays, normalisation),
        batch_size=PUBLISHED_RECIPE.batch_size,
        shuffle=True,
        num_workers=arguments.workers,
        persistent_workers=arguments.workers > 0,
    )
    compiled = Runtime(CPU, precision, compile=True)
    ways = {f"vit, {precision}, compiled": vit_round(config, arrays, normalisation, compiled)} if which("g++") else {}
    ways |= {
        f"vit, {precision}": vit_round(config, arrays, normalisation, Runtime(CPU, precision)),
        f"timm, {precision}, plain loop": loop_round(
            timm_model(config), AugmentedBatches(arrays, normalisation), precision
        ),
        "plain, fp32": loop_round(PlainViT(config), AugmentedBatches(arrays, normalisation), "fp32"),
        f"plain, fp32, torchvision DataLoader ({arguments.workers} workers)": loop_round(
            PlainViT(config), loader, "fp32"
        ),
    }
    columns = measure(ways, arguments.rounds)
    print(table(columns))
    if arguments.json:
        result = {"machine": machine(), "data": source, "precision": precision, "workers": arguments.workers}
        arguments.json.write_text(json.dumps({**result, "columns": [asdict(c) for c in columns]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
