"""Describes the machine that trains, since on another one the same training may differ in the last bits."""

import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from vit.training.precision import torch_version


@dataclass(frozen=True)
class Machine:
    """What decides the last bits of a training, besides its configuration, its images and this project's code."""

    processor: str
    instructions: str
    """The widest vector instructions that torch uses there, such as `AVX512`."""
    threads: int
    """The threads of each worker."""
    workers: int
    gpu: str | None
    torch_version: str

    @staticmethod
    def here(device: torch.device, workers: int) -> "Machine":
        """The machine of this process, which is one of `workers`; the others are assumed to have the same."""
        return Machine(
            processor_name(),
            torch.backends.cpu.get_cpu_capability(),
            torch.get_num_threads(),
            workers,
            torch.cuda.get_device_name(device) if device.type == "cuda" else None,
            torch_version(),
        )

    def __str__(self) -> str:
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        gpu = self.gpu or "no GPU"
        return f"{workers} with {threads}, {self.processor} ({self.instructions}), {gpu}, torch {self.torch_version}"


def processor_name() -> str:
    """The name of the processor, as the system reports it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
