"""The number formats in which two workers are compared with one."""

import sys
from typing import Any

import pytest
import torch
import torch.multiprocessing as multiprocessing

from benchmarks import ddp


@pytest.mark.parametrize(("fast_bf16", "expected"), [(True, ["fp32", "bf16"]), (False, ["fp32"])])
def test_bf16_is_left_out_where_a_step_in_it_would_take_minutes(
    fast_bf16: bool, expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    precisions: list[str] = []

    def spawn(work: Any, task: tuple[int, int, str, str], nprocs: int) -> None:
        _, _, precision, folder = task
        precisions.append(precision)
        torch.save({"one": [1.0], "two": [2.0], "two without all-reduce": [2.0]}, f"{folder}/speeds.pt")

    monkeypatch.setattr(multiprocessing, "spawn", spawn)
    monkeypatch.setattr(ddp, "has_fast_bf16", lambda device: fast_bf16, raising=False)
    monkeypatch.setattr(sys, "argv", ["benchmarks.ddp"])
    ddp.main()
    assert precisions == expected
    assert ("bf16 is left out" in capsys.readouterr().out) != fast_bf16
