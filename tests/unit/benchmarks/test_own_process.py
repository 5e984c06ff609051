"""A measurement in a process of its own: what the process sends is returned, and if it dies, the benchmark ends."""

import os
import sys
from types import ModuleType

import pytest

from benchmarks import data_scale, memory, scale
from benchmarks.own_process import in_its_own_process
from tests.unit.benchmarks.measuring import dies, sends


def test_what_it_sends_comes_from_another_process() -> None:
    first, second, process = in_its_own_process(sends, 1, 2)
    assert (first, second) == (1, 2)
    assert process != os.getpid()


@pytest.mark.parametrize(("module", "name"), [(memory, "measure"), (scale, "measure"), (data_scale, "measure_images")])
def test_a_benchmark_does_not_wait_for_one_that_died(
    module: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, dies)
    monkeypatch.setattr(sys, "argv", [module.__name__])
    with pytest.raises(ChildProcessError, match=r"^the process that measures ended with 3$"):
        module.main()
