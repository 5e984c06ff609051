"""Describes in one line the machine that a figure was measured on."""

import os


def machine_line() -> str:
    # These take seconds to import, which a process that only imports the benchmark should not spend.
    import torch

    from vit.training.machine import processor_name

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{processor_name()}, {os.cpu_count()} cores, {gpu}, torch {torch.__version__}"
