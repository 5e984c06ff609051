"""The command line of this process, in a form that can be shown and run again."""

import shlex
import sys

from pipeline.errors import without_passwords


def command_line(module: str) -> str:
    """Returns `python -m module` with the arguments of this process, without passwords."""
    return without_passwords(shlex.join(["python", "-m", module, *sys.argv[1:]]))
