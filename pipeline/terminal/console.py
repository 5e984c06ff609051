"""The console on which the commands print."""

import os
import sys

from rich.console import Console

WIDTH_OF_A_FILE = 120


class _Console(Console):
    """Falls silent where its reader ends first: hours of work must not end with `| tee`, which Ctrl-C ends at once."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def plain_or_live() -> Console:
    """Returns a console as wide as the terminal, or of a fixed width if the output goes into a file or a pipe."""
    console = _Console()
    return console if console.is_terminal else _Console(width=WIDTH_OF_A_FILE)
