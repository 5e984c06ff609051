"""Claim: on a CPU core, very small models train faster when fused than one after the other; larger ones do not.

    python -m benchmarks.fusing [--repeats 5]

For some shapes and numbers of trials, shows how many times as fast the trainings are when fused
(`vit.timing.fusing_gain`, which times steps of both kinds in turn). It uses one thread, since a trial has one core, and
shows medians of several measurements.
"""

import argparse
import statistics

import torch

from benchmarks.machine import machine_line
from vit.model.config import ViTConfig
from vit.timing.fusing_gain import fusing_gain
from vit.training.recipes import Recipe
from vit.training.runtime import Runtime

TOGETHER = (2, 4, 8, 16)
CASES = {
    "8x8, 4 patches, width 32, depth 2, batch 32": (
        ViTConfig(img_size=8, in_chans=1, patch_size=4, embed_dim=32, depth=2, num_heads=2),
        Recipe(batch_size=32),
    ),
    "the same with Muon": (
        ViTConfig(img_size=8, in_chans=1, patch_size=4, embed_dim=32, depth=2, num_heads=2),
        Recipe(batch_size=32, optimizer="muon"),
    ),
    "8x8, 16 patches, width 32, depth 3, batch 64": (
        ViTConfig(img_size=8, in_chans=1, patch_size=2, embed_dim=32, depth=3, num_heads=2, global_pool="avg"),
        Recipe(batch_size=64),
    ),
    "8x8, 16 patches, width 64, depth 4, batch 64": (
        ViTConfig(img_size=8, in_chans=1, patch_size=2, embed_dim=64, depth=4, num_heads=2, global_pool="avg"),
        Recipe(batch_size=64),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each kind")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    print(machine_line())
    print("| shape | " + " | ".join(f"{count} as one" for count in TOGETHER) + " |")
    print("|---" * (len(TOGETHER) + 1) + "|")
    for name, (config, recipe) in CASES.items():
        gains: dict[int, list[float]] = {count: [] for count in TOGETHER}
        for _ in range(repeats):
            for count, measured in gains.items():
                measured.append(fusing_gain(config, [recipe] * count, Runtime()))
        cells = [f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})" for each in gains.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
