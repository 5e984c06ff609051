"""Measures what only a GPU can show, as one table: speed, limits, and how good the recipes are.

    python -m benchmarks.gpu [--out gpu-results] [--minutes 30] [--parts NAME ...]

Each row is saved as soon as it is measured: in `table.md`, for the docs, and in `results.json`. `--parts` runs only
some parts, and keeps the rows of the others that the folder has from the same machine and images. `--device cpu --tiny`
runs every part in miniature, which shows only that they run.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

PARTS = ("device", "epochs", "golden", "attention", "fused", "limits", "recipes", "search", "pipeline")
NO_CUDA = 2
"""Exit status where there is no GPU."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), metavar="FOLDER", help="for the table")
    parser.add_argument("--minutes", type=float, default=30.0, help="skip what is left after this time")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="everything in miniature, on random images")
    return parser.parse_args()


def measure(arguments: argparse.Namespace) -> None:
    # Imported only here, since --help should not wait for the seconds that these take.
    import torch

    from benchmarks.gpu.attention import attention_backends
    from benchmarks.gpu.ceilings import device_and_ceilings
    from benchmarks.gpu.fused import fused_trainings
    from benchmarks.gpu.images import load_images, random_images
    from benchmarks.gpu.limits import limits
    from benchmarks.gpu.loops import epochs_of_both_loops, golden_losses
    from benchmarks.gpu.pipeline_sweep import sweep_through_pipeline
    from benchmarks.gpu.recipes import recipes_to_their_end
    from benchmarks.gpu.running import run_parts
    from benchmarks.gpu.search import fused_search
    from benchmarks.gpu.setting import FULL, TINY, Setting
    from benchmarks.gpu.table import Table
    from benchmarks.machine import machine_line

    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("python -m benchmarks.gpu: torch finds no CUDA device here", file=sys.stderr)
        sys.exit(NO_CUDA)
    end = time.monotonic() + 60 * arguments.minutes
    images = random_images(64, 16, 16, 8, "--tiny") if arguments.tiny else load_images()
    functions = (
        device_and_ceilings, epochs_of_both_loops, golden_losses, attention_backends, fused_trainings, limits,
        recipes_to_their_end, fused_search, sweep_through_pipeline,
    )  # fmt: skip
    chosen = {name: part for name, part in zip(PARTS, functions, strict=True) if name in arguments.parts}
    header = {
        "measured": time.strftime("%Y-%m-%d"),
        "machine": machine_line(),
        "images": images.source,
        "command": " ".join(["python -m benchmarks.gpu", *sys.argv[1:]]),
    }
    table = Table(arguments.out, header, chosen)
    scale = TINY if arguments.tiny else FULL
    run_parts(chosen, Setting(torch.device(arguments.device), scale, images, table, end))
    print(f"\n{table.markdown()}\n\nsaved in {arguments.out}")


def main() -> None:
    arguments = parse()
    if arguments.tiny:
        measure(arguments)
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # compilers may still write
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # so that compiling takes as long as the first time
        measure(arguments)


if __name__ == "__main__":
    main()
