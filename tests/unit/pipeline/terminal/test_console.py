"""Tests that a command goes on where nobody reads what it prints any more."""

import subprocess
import sys
from pathlib import Path

from tests.deadline import DEADLINE

ROOT = Path(__file__).parents[4]
PROGRAM = """
import sys
from pathlib import Path
from pipeline.terminal.console import plain_or_live
console = plain_or_live()
console.out("begun")
sys.stdin.readline()
console.out("nobody reads this")
console.out("nor this")
Path(sys.argv[1]).write_text("done")
"""


def test_it_goes_on_when_its_reader_has_ended(tmp_path: Path) -> None:
    line, pipe = [sys.executable, "-c", PROGRAM, str(tmp_path / "end")], subprocess.PIPE
    with subprocess.Popen(line, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "begun\n"
        process.stdout.close()
        process.stdin.write("go on\n")
        process.stdin.flush()
        said = process.stderr.read()
        assert (process.wait(DEADLINE), said) == (0, "")
    assert (tmp_path / "end").read_text() == "done"
