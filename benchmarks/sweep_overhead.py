"""Claim: a search of 32 trials on digits takes at most 1.25 times its trials' pure training time divided by the cores.

    python -m benchmarks.sweep_overhead

Runs the sweep in a fresh folder to the end of its search, and reads the times that it records itself. Ray's start-up is
shown separately. The trainings that would follow are left out, since they use Ray Train, which has its own start-up.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import machine_line

DIGITS = ["--trials", "32", "--dataset", "digits", "--until", "search"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="whole sweeps to run")
    parser.add_argument("flags", nargs="*", default=DIGITS, help="of the sweep")
    arguments = parser.parse_args()
    print(machine_line())
    print(f"python -m pipeline.sweep {' '.join(arguments.flags)}, {arguments.rounds} round(s)")
    stage_ratios, command_ratios = [], []
    for _ in range(arguments.rounds):
        command, result = _sweep(arguments.flags)
        seconds = result["seconds"]
        stages = dict(seconds["stages"])
        ray = stages.pop("ray")
        ideal = seconds["training"] / seconds["concurrent_trials"]
        stage_ratios.append(sum(stages.values()) / ideal)
        command_ratios.append((command - ray) / ideal)
        stages_text = ", ".join(f"{name} {value:.1f} s" for name, value in stages.items())
        print(
            f"command {command:.1f} s: Ray's start {ray:.1f} s, {stages_text}; "
            f"training / {seconds['concurrent_trials']} ="
            f" {ideal:.1f} s; ASHA {result['asha']['share']:.1%} of the full grid"
        )
    print(f"all stages / pure training: {statistics.median(stage_ratios):.2f} (median of {arguments.rounds})")
    print(f"whole command without Ray's start / pure training: {statistics.median(command_ratios):.2f}")


def _sweep(flags: list[str]) -> tuple[float, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pipeline.sweep", *flags, "--json", "result.json"]
        started = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        result: dict[str, Any] = json.loads((Path(folder) / "result.json").read_text())
    return seconds, result


if __name__ == "__main__":
    main()
