"""Finds the commands that the README gives its readers."""

import re
import shlex

from tests.integration.commands import ROOT

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if line.strip()
]


def commands_of(module: str) -> list[list[str]]:
    """Returns the module and the arguments of each `python -m module ...` in the README, in order."""
    return [shlex.split(line)[2:] for line in COMMANDS if line.split()[:3] == ["python", "-m", module]]
