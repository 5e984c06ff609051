"""The command that is running, as it may be shown and given again."""

import shlex
import sys

from pipeline.errors import without_passwords


def command_line(module: str) -> str:
    """`python -m module` with the arguments of this process, without passwords."""
    return without_passwords(shlex.join(["python", "-m", module, *sys.argv[1:]]))
