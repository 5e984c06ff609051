"""Describes the device, and measures its ceilings: matrix products, most of the model's own shapes, and copying."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial

import torch

from benchmarks.gpu.setting import Item, Setting
from benchmarks.gpu.table import Figure, Measured
from benchmarks.gpu.timing import now, timed_calls
from vit.training.precision import faster_precision

LARGE_PRODUCT = "large product"
RATE = "rate"
ASKED = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit", "memory.total")
"""The properties that `nvidia-smi` is asked for."""
SECONDS_OF_LOAD = 2.0


def device_and_ceilings(setting: Setting) -> Iterator[Item]:
    yield Item("device", partial(_device, setting))
    yield Item("precision that `vit` chooses for the published model", partial(_chosen_precision, setting))
    yield Item(LARGE_PRODUCT, partial(_product, setting, *([64 if setting.scale.miniature else 8192] * 3)))
    tokens = (64,) if setting.scale.miniature else (8320, 16640)
    for count in tokens:
        for inputs, outputs in ((192, 576), (192, 768), (768, 192)):
            yield Item(f"product of {count} x {inputs} x {outputs}", partial(_product, setting, count, inputs, outputs))
    yield Item("copy on the device", partial(_copy, setting))


def _device(setting: Setting) -> Measured:
    note = f"torch {torch.__version__}"
    if setting.device.type == "cpu":
        return Measured((Figure("threads", torch.get_num_threads()),), note=note)
    properties = torch.cuda.get_device_properties(setting.device)
    figures = (
        Figure("multiprocessors", properties.multi_processor_count),
        Figure("memory", properties.total_memory / 2**30, "GiB"),
    )
    note = f"{note}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return Measured(figures, note=f"{properties.name}; {note}; {_clocks_under_load(setting)}")


def _clocks_under_load(setting: Setting) -> str:
    """What `nvidia-smi` reports while matrix products are computed."""
    if shutil.which("nvidia-smi") is None:
        return "no nvidia-smi: driver and clocks not known"
    matrix = torch.ones(8192, 8192, dtype=torch.bfloat16, device=setting.device)
    torch.mm(matrix, matrix)  # the first sets the library up
    started = now(setting.device)
    torch.mm(matrix, matrix)
    for _ in range(int(SECONDS_OF_LOAD / (now(setting.device) - started)) + 1):  # keeps running while the host asks
        torch.mm(matrix, matrix)
    gpu = f"--id=GPU-{torch.cuda.get_device_properties(setting.device).uuid}"
    command = ["nvidia-smi", gpu, f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    lines = done.stdout.splitlines() or [done.stderr.strip()]
    answers = lines[0].split(", ")
    return ", ".join(f"{name} {answer}" for name, answer in zip(ASKED, answers, strict=False)) + " (under load)"


def _chosen_precision(setting: Setting) -> Measured:
    model, recipe = setting.recipe("seed")
    chosen = faster_precision(model, recipe.batch_size, setting.device)
    return Measured((Figure("bits", 16 if chosen == "bf16" else 32),), note=chosen)


def _product(setting: Setting, rows: int, inner: int, columns: int) -> Measured:
    """(rows, inner) times (inner, columns) in bf16."""
    left = torch.randn(rows, inner, device=setting.device).bfloat16()
    right = torch.randn(inner, columns, device=setting.device).bfloat16()
    result = torch.empty(rows, columns, dtype=torch.bfloat16, device=setting.device)
    call: Callable[[], object] = partial(torch.mm, left, right, out=result)
    timed = timed_calls(call, setting.device, setting.scale.rounds)
    rate = 2e-12 * rows * inner * columns / timed.seconds
    figures = (Figure(RATE, rate, "TFLOP/s"), Figure("time", 1e6 * timed.seconds, "µs"))
    return Measured(figures, timed.n, f"bf16, {rows} x {inner} x {columns}, from the cache where it fits")


def _copy(setting: Setting) -> Measured:
    count = 2**16 if setting.scale.miniature else 2**30
    source = torch.zeros(count, dtype=torch.uint8, device=setting.device)
    timed = timed_calls(partial(torch.empty_like(source).copy_, source), setting.device, setting.scale.rounds)
    return Measured((Figure("rate", 2e-9 * count / timed.seconds, "GB/s"),), timed.n, "read and written")
