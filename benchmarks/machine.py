"""One line on the machine that a figure was measured on."""

import os
import platform
from pathlib import Path


def machine_line() -> str:
    import torch  # takes seconds, which a process that only imports the benchmark should not spend

    cpuinfo = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
    ]
    processor = names[0] if names else platform.processor()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{processor}, {os.cpu_count()} cores, {gpu}, torch {torch.__version__}"
