"""Tests every part of `make gpu`, in miniature and on the CPU."""

import json
import math
import shutil
from pathlib import Path

import pytest

from benchmarks.gpu.__main__ import PARTS
from tests.integration.commands import run_to_end

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU"),
]


def test_every_part_runs_in_miniature(tmp_path: Path) -> None:
    flags = ("--device", "cpu", "--tiny", "--out", "results")
    # Two threads of a tiny model would mostly wait for each other while other tests run at the same time.
    done = run_to_end("benchmarks.gpu", tmp_path, *flags, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "results" / "results.json").read_text())["rows"]
    assert [row for row in rows if row["status"] == "failed"] == []
    skipped = {row["what"] for row in rows if row["status"] == "skipped"}
    assert skipped == {f"{kernel}, {tokens} tokens" for kernel in ("efficient", "cudnn") for tokens in (64, 65)}
    for row in rows:
        assert row["status"] == "skipped" or row["figures"]
        assert all(math.isfinite(figure["value"]) for figure in row["figures"])
    assert list(dict.fromkeys(row["part"] for row in rows)) == list(PARTS)
    golden = [figure for row in rows if row["part"] == "golden" for figure in row["figures"]]
    assert max(figure["value"] for figure in golden) < 1e-3
    table = (tmp_path / "results" / "table.md").read_text()
    assert table.count("\n| ") == len(rows) + 1
    assert table in done.stdout + "\n"
